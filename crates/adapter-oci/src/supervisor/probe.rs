//! Checks from inside a container's network namespace: a connection, an HTTP request, a program.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use api::wdm::{Probe, ProbeAction};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use linux::netns;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::disk::Folder;
use crate::exec;
use crate::host::OciConfig;

/// The pause between two checks of a container that is expected to be ready at any moment.
pub(super) const PROBE_AGAIN: Duration = Duration::from_millis(100);

/// How long a container may take to answer when it is given new files by a request.
const POST_LIMIT: Duration = Duration::from_secs(10);

/// How much of a refusal is kept, in bytes.
const ANSWER_MAX: usize = 512;

/// The way into a container's network.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    pub(super) config: OciConfig,
    pub(super) folder: Folder,
    pub(super) namespace: String,
    pub(super) address: IpAddr,
}

impl Prober {
    /// Makes one check; says why if it fails.
    pub(super) async fn check(&self, probe: &Probe) -> Result<(), String> {
        let limit = Duration::from(probe.timeout_seconds);
        let check = async {
            match &probe.action {
                ProbeAction::Tcp { port } => self.connect(*port).await.map(drop),
                ProbeAction::Http { port, path } => self.get(*port, path).await,
                ProbeAction::Exec { command } => self.exec(command).await,
            }
        };
        timeout(limit, check)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    /// Waits until a probe has failed too often, one check after the other; says why the last one did.
    pub(super) async fn failed(&self, probe: &Probe) -> String {
        let mut failures = 0;
        loop {
            match self.check(probe).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    failures += 1;
                    if failures >= probe.failure_threshold {
                        return why;
                    }
                }
            }
            sleep(probe.period_seconds.into()).await;
        }
    }

    /// Sends an empty POST, which must be answered with success.
    pub(super) async fn post(&self, port: u16, path: &str) -> Result<(), String> {
        let answer = timeout(POST_LIMIT, self.request(Method::POST, port, path)).await;
        let (status, body) =
            answer.map_err(|_| format!("no answer to POST {path} within {POST_LIMIT:?}"))??;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("POST {path} was answered with {status} {body}")
                .trim_end()
                .to_owned()),
        }
    }

    async fn get(&self, port: u16, path: &str) -> Result<(), String> {
        let (status, body) = self.request(Method::GET, port, path).await?;
        match status.is_success() || status.is_redirection() {
            true => Ok(()),
            false => Err(format!("GET {path} was answered with {status} {body}")
                .trim_end()
                .to_owned()),
        }
    }

    async fn exec(&self, command: &[String]) -> Result<(), String> {
        let text = |error: io::Error| format!("cannot run {command:?}: {error}");
        match exec::check(&self.config, &self.folder, command)
            .await
            .map_err(text)?
        {
            (0, _) => Ok(()),
            (status, said) => Err(format!("exit status {status} {said}").trim_end().to_owned()),
        }
    }

    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let address = SocketAddr::new(self.address, port);
        let text = |error: &(dyn std::error::Error + 'static)| {
            format!("cannot connect to {address}: {}", api::chain(error))
        };
        let namespace = netns::open(&self.namespace).map_err(|error| text(&error))?;
        let namespace =
            namespace.ok_or_else(|| format!("there is no namespace {}", self.namespace))?;
        let socket = namespace
            .tcp_socket(address)
            .map_err(|error| text(&error))?;
        socket.connect(address).await.map_err(|error| text(&error))
    }

    async fn request(
        &self,
        method: Method,
        port: u16,
        path: &str,
    ) -> Result<(StatusCode, String), String> {
        let text = |error: hyper::Error| format!("no answer from port {port}: {error}");
        let stream = TokioIo::new(self.connect(port).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(text)?;
        let request = request(method, path)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(text)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection may end with its last byte; the answer is complete all the same.
            _ = connection => exchange.await,
        }
    }
}

fn request(method: Method, path: &str) -> Result<Request<Empty<Bytes>>, String> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, HeaderValue::from_static("localhost"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .map_err(|error| format!("path `{path}` cannot be asked for: {error}"))
}
