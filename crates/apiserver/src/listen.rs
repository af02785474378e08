//! The doors of the server: a unix socket for its owner, and TLS on TCP for everyone with a certificate.
//!
//! A door finds out who is on the other side ([`Identity`]), asks for the service of that identity and serves HTTP/1.1 or
//! HTTP/2, with upgrades. Who comes by TLS without a certificate is anonymous, and whom the socket does not know is answered
//! 401. What an identity may do is decided by the service.
//! How many connections there are and how long a client may take to say what it wants is limited, too, in all and per
//! address. Tokens are the service's, which tells who is known by one; there are no proxies' headers here.

mod addresses;
mod connection;

#[cfg(test)]
mod tests;

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::addresses::Addresses;
use self::connection::Client;
pub use self::connection::{Service, UNKNOWN_REQUESTS_MAX};
use crate::access::Identity;
use crate::passage::Peer;
use crate::tls::Subject;

/// Connections of one door at a time; the next one waits to be accepted.
pub const CONNECTIONS_MAX: usize = 32_768;
/// How long a client may take for its TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long answers that are under way may still take when the door closes; watches never end by themselves.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Who uses the unix socket.
const OWNER: &str = "system:owner";
/// Mode of the unix socket.
const SOCKET_MODE: u32 = 0o600;

/// A door that is open. Dropping it closes it at once; [`Listening::stop`] lets answers finish.
pub struct Listening {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Where the door is, if it is on TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes no more connections, lets answers finish for a short while and closes what is left.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "a door ended badly");
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(socket) = &self.socket {
            // Gone already is just as good.
            let _ = fs::remove_file(socket);
        }
    }
}

/// Opens a unix socket that only the server's user and root can use. `service` is asked once per connection.
///
/// # Errors
/// When the socket cannot be made, or a living server listens there.
pub async fn unix<S: Service>(
    path: &Path,
    service: impl Fn(Identity) -> S + Send + Sync + 'static,
) -> Result<Listening> {
    let listener = bind_socket(path)
        .await
        .map_err(|e| cannot_listen(path.display(), e))?;
    let owner = rustix::process::geteuid().as_raw();
    let mut listening = start(UnixDoor { listener, owner }, service);
    listening.socket = Some(path.to_owned());
    Ok(listening)
}

/// Opens TLS on TCP. `service` is asked once per connection, with who the certificate that was shown was issued to.
///
/// # Errors
/// When the address cannot be used.
pub async fn tls<S: Service>(
    address: SocketAddr,
    config: Arc<ServerConfig>,
    service: impl Fn(Identity) -> S + Send + Sync + 'static,
) -> Result<Listening> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| cannot_listen(address, e))?;
    let bound = listener
        .local_addr()
        .map_err(|e| cannot_listen(address, e))?;
    let mut listening = start(
        TlsDoor {
            listener,
            acceptor: TlsAcceptor::from(config),
        },
        service,
    );
    listening.address = Some(bound);
    Ok(listening)
}

/// What is particular to one sort of door.
trait Door: Send + 'static {
    /// A connection before anything is known of it.
    type Raw: Send + 'static;
    /// A connection that carries HTTP.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and from where it comes.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, Option<IpAddr>)>> + Send;

    /// Finds out who it is; `None` when they show nothing.
    fn greet(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = io::Result<(Option<Identity>, Self::Stream)>> + Send + 'static;
}

struct UnixDoor {
    listener: UnixListener,
    owner: u32,
}

impl Door for UnixDoor {
    type Raw = UnixStream;
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<IpAddr>)> {
        Ok((self.listener.accept().await?.0, None))
    }

    fn greet(
        &self,
        stream: UnixStream,
    ) -> impl Future<Output = io::Result<(Option<Identity>, UnixStream)>> + Send + 'static {
        let owner = self.owner;
        async move {
            let uid = stream.peer_cred()?.uid();
            Ok((
                (uid == owner || uid == 0).then(|| Identity::admin(OWNER)),
                stream,
            ))
        }
    }
}

struct TlsDoor {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Door for TlsDoor {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((stream, Some(peer.ip().to_canonical())))
    }

    fn greet(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = io::Result<(Option<Identity>, Self::Stream)>> + Send + 'static {
        let acceptor = self.acceptor.clone();
        async move {
            // Answers are written whole; waiting for more to send only delays watches.
            raw.set_nodelay(true)?;
            let stream = timeout(HANDSHAKE_PATIENCE, acceptor.accept(raw)).await??;
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let subject = certificates.first().and_then(Subject::of);
            let identity = subject.map_or_else(Identity::anonymous, Identity::certified);
            Ok((Some(identity), stream))
        }
    }
}

fn start<D: Door, S: Service>(
    door: D,
    service: impl Fn(Identity) -> S + Send + Sync + 'static,
) -> Listening {
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(accept_all(door, Arc::new(service), stopping));
    Listening {
        address: None,
        socket: None,
        stop,
        task,
    }
}

/// Accepts until told to stop; all connections are tasks of this one and end with it.
async fn accept_all<D: Door, S: Service>(
    door: D,
    service: Arc<impl Fn(Identity) -> S + Send + Sync + 'static>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let addresses = Addresses::default();
    loop {
        while connections.try_join_next().is_some() {}
        let raw = tokio::select! {
            raw = door.accept(), if connections.len() < CONNECTIONS_MAX => raw,
            Some(_) = connections.join_next() => continue,
            () = connection::told_to_stop(&mut stopping) => break,
        };
        match raw {
            Ok((raw, peer)) => {
                let Some(guest) = addresses.enter(peer) else {
                    tracing::debug!(?peer, "too many connections from one address");
                    continue;
                };
                let served = serve(
                    door.greet(raw),
                    peer,
                    Arc::clone(&service),
                    stopping.clone(),
                );
                connections.spawn(async move {
                    let _guest = guest;
                    served.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(door);
    let all_end = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_PATIENCE, all_end).await.is_err() {
        tracing::debug!("closing connections that are still open");
    }
}

async fn serve<S: Service, T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    greeting: impl Future<Output = io::Result<(Option<Identity>, T)>>,
    peer: Option<IpAddr>,
    service: Arc<impl Fn(Identity) -> S>,
    stopping: watch::Receiver<bool>,
) {
    match greeting.await {
        Ok((identity, stream)) => {
            let client = Client {
                peer: peer.map(Peer),
                is_known: identity
                    .as_ref()
                    .is_some_and(|it| *it != Identity::anonymous()),
            };
            let service = identity.map(|identity| service(identity));
            connection::serve(stream, client, service, stopping).await;
        }
        Err(error) => tracing::debug!(%error, "a client did not finish its greeting"),
    }
}

/// Binds beside the path and renames, so that the socket is never there with a wider mode.
async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens there",
        ));
    }
    let unfinished = path.with_extension("new");
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(SOCKET_MODE))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

fn cannot_listen(place: impl std::fmt::Display, source: io::Error) -> Error {
    Error::caused(
        ErrorKind::Unavailable,
        format!("cannot listen on {place}"),
        source,
    )
}
