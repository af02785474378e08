//! How the command line finds the server: a kubeconfig, or the owner's unix socket.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::UnixStream;
use tower::{BoxError, service_fn};

/// Where a server keeps its state unless told otherwise.
pub const SERVER_STATE: &str = "/var/lib/groma/server";
/// Where laboratories are kept unless told otherwise.
pub const LABORATORIES: &str = "/var/lib/groma/labs";
/// The owner's socket in a server's state folder.
const SOCKET: &str = "groma.sock";

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

    /// The namespace of what is asked for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A client of the server.
    pub async fn client(&self) -> anyhow::Result<Client> {
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

async fn with(kubeconfig: &Path) -> anyhow::Result<Client> {
    let what = || format!("cannot use the credentials in {}", kubeconfig.display());
    let read = Kubeconfig::read_from(kubeconfig).with_context(what)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(what)?;
    Client::try_from(config).with_context(what)
}

/// A client that opens a connection for each request: a command makes few.
fn over(socket: &Path) -> anyhow::Result<Client> {
    if !socket.exists() {
        bail!("there is no server at {}", socket.display());
    }
    let socket = socket.to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let socket = socket.clone();
        async move { send(&socket, request).await }
    });
    Ok(Client::new(service, "default"))
}

async fn send(socket: &Path, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection, which the last reader of the answer closes.
    tokio::spawn(connection);
    request
        .headers_mut()
        .insert(http::header::HOST, http::HeaderValue::from_static("groma"));
    Ok(sender.send_request(request).await?)
}
