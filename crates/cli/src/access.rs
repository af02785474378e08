//! How the command line finds the server: a kubeconfig, or the owner's unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tower::{BoxError, service_fn};

/// Where a server keeps its state unless told otherwise.
pub const SERVER_STATE: &str = "/var/lib/groma/server";
/// Where laboratories are kept unless told otherwise.
pub const LABORATORIES: &str = "/var/lib/groma/labs";
/// The owner's socket in a server's state folder, and the credentials beside it.
const SOCKET: &str = "groma.sock";
const KUBECONFIG: &str = "kubeconfig";

/// How long the server may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Which server, and which namespace.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// Credentials; otherwise $KUBECONFIG, then the socket of the server on this machine
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// The unix socket of a server on this machine
    #[arg(long, global = true, conflicts_with = "kubeconfig")]
    socket: Option<PathBuf>,
    /// The namespace
    #[arg(long, short, global = true, default_value = "default")]
    namespace: String,
}

impl Access {
    /// Through this socket.
    pub fn socket(path: PathBuf) -> Self {
        Self {
            kubeconfig: None,
            socket: Some(path),
            namespace: "default".to_owned(),
        }
    }

    /// With these credentials.
    pub fn kubeconfig(path: PathBuf) -> Self {
        Self {
            kubeconfig: Some(path),
            socket: None,
            namespace: "default".to_owned(),
        }
    }

    /// The namespace of what is asked for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The file with the credentials; those beside the socket of a server on this machine if none are given.
    pub fn credentials(&self) -> PathBuf {
        let variable = std::env::var_os("KUBECONFIG").map(PathBuf::from);
        let beside = |socket: &Path| socket.with_file_name(KUBECONFIG);
        match &self.socket {
            Some(socket) => beside(socket),
            None => {
                let own = || Path::new(SERVER_STATE).join(KUBECONFIG);
                self.kubeconfig.clone().or(variable).unwrap_or_else(own)
            }
        }
    }

    /// A client of the server.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.server().await.map(|server| server.client)
    }

    /// A client, and how the server is reached.
    pub async fn server(&self) -> anyhow::Result<Server> {
        if let Some(socket) = &self.socket {
            return over(socket);
        }
        let variable = std::env::var_os("KUBECONFIG").map(PathBuf::from);
        if let Some(path) = self.kubeconfig.clone().or(variable) {
            return with(&path).await;
        }
        let socket = Path::new(SERVER_STATE).join(SOCKET);
        if !socket.exists() {
            bail!(
                "no server was found: give --kubeconfig or set KUBECONFIG, or start one with `groma serve` or `groma lab up` \
                 ({} does not exist)",
                socket.display()
            );
        }
        over(&socket)
    }
}

/// A server as a command reaches it.
pub struct Server {
    /// Speaks to it.
    pub client: Client,
    address: String,
}

impl Server {
    /// An error that says what to do about it when the server could not be reached.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut causes = error.chain().map(|cause| cause.downcast_ref());
        if !causes.any(|cause| {
            matches!(
                cause,
                Some(kube::Error::Service(_) | kube::Error::HyperError(_))
            )
        }) {
            return error;
        }
        let (address, root) = (&self.address, error.root_cause());
        let starting = root.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::TimedOut
            )
        });
        let advice = match starting {
            true => "; it may be starting: try again, or see whether it runs",
            false => "",
        };
        anyhow!("cannot reach the server at {address}: {root}{advice}")
    }
}

async fn with(kubeconfig: &Path) -> anyhow::Result<Server> {
    let what = || format!("cannot use the credentials in {}", kubeconfig.display());
    let read = Kubeconfig::read_from(kubeconfig).with_context(what)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(what)?;
    Ok(Server {
        address: config.cluster_url.to_string(),
        client: Client::try_from(config).with_context(what)?,
    })
}

/// A server whose client opens a connection for each request: a command makes few.
fn over(socket: &Path) -> anyhow::Result<Server> {
    if !socket.exists() {
        bail!("there is no server at {}", socket.display());
    }
    let (address, socket) = (socket.display().to_string(), socket.to_owned());
    let service = service_fn(move |request: Request<Body>| {
        let socket = socket.clone();
        async move { send(&socket, request).await }
    });
    Ok(Server {
        address,
        client: Client::new(service, "default"),
    })
}

async fn send(socket: &Path, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection, which the last reader of the answer closes.
    tokio::spawn(connection);
    request
        .headers_mut()
        .insert(http::header::HOST, http::HeaderValue::from_static("groma"));
    // What is followed begins at once too, however long it lasts then.
    Ok(timeout(ANSWER, sender.send_request(request)).await??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(error: kube::Error) -> String {
        let server = Server {
            client: Client::new(
                service_fn(|_: Request<Body>| async {
                    Err::<Response<Body>, _>(io::Error::other("never asked"))
                }),
                "default",
            ),
            address: "https://groma:1".to_owned(),
        };
        let error = anyhow::Error::from(error).context("cannot create site/mad");
        crate::explained(&server.explain(error))
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_what_to_do() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
        assert_eq!(
            explained(kube::Error::Service(refused.into())),
            "cannot reach the server at https://groma:1: nobody listens; it may be starting: try again, or see whether it \
             runs"
        );
        assert_eq!(
            explained(kube::Error::Service("the certificate is too old".into())),
            "cannot reach the server at https://groma:1: the certificate is too old"
        );
        let unclear = kube::Error::LinesCodecMaxLineLengthExceeded;
        assert!(explained(unclear).starts_with("cannot create site/mad: "));
    }
}
