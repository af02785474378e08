//! The agent's half of a door: it dials, asks for the upgrade, and then serves.
//!
//! What the agent serves is given to it as a service. It sees `GET /namespaces/NS/instances/NAME/log?…`,
//! `POST /namespaces/NS/instances/NAME/exec?…` (the body is the input, the answer's body the output, both as they
//! come) and whatever users ask below `hosts/NAME/proxy`. Dialling again after the end is the caller's business.

use std::convert::Infallible;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::server::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::PROTOCOL;

/// Requests under way through one door.
pub const STREAMS_MAX: u32 = 256;
/// How often a silent server is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer that; then the agent dials again.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long the server may take to agree to the upgrade.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a refusal that are read for its message.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// Opens the door of `host` over a connection to the API server and serves until the connection ends.
/// The connection is TLS with the host's certificate, and speaks HTTP/1.1 (see [`crate::tls::client_config`]).
///
/// # Errors
/// When the server refuses the door, with its reason, and when the connection breaks.
pub async fn serve<T, S, B>(connection: T, host: &str, service: S) -> Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let opened = timeout(UPGRADE_PATIENCE, open(connection, host)).await;
    let opened = opened
        .map_err(|_| unavailable(format!("cannot open the door of host {host}: no answer")))??;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    let served = builder
        .serve_connection(opened, TowerToHyperService::new(service))
        .await;
    served.map_err(|error| broken(host, error))
}

/// Asks for the upgrade.
async fn open<T>(connection: T, host: &str) -> Result<Upgraded>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, connection) = http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| broken(host, error))?;
    let ask = async move {
        let request = Request::get(format!("/apis/groma.dev/v1alpha1/hosts/{host}/door"))
            .header(header::HOST, "groma")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|error| {
            Error::caused(
                ErrorKind::Invalid,
                format!("cannot open the door of host {host:?}"),
                error,
            )
        })?;
        let response = client
            .send_request(request)
            .await
            .map_err(|error| broken(host, error))?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => hyper::upgrade::on(response)
                .await
                .map_err(|error| broken(host, error)),
            _ => Err(refused(host, response).await),
        }
    };
    // The connection must be driven while it is asked; it ends with the upgrade or with the answer.
    let (opened, _) = tokio::join!(ask, connection.with_upgrades());
    opened
}

/// What the server said instead of agreeing.
async fn refused(host: &str, response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX)
        .collect()
        .await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let why = document["message"]
        .as_str()
        .unwrap_or("no reason was given");
    let kind = ErrorKind::of_http(i32::from(status.as_u16()));
    Error::new(
        kind,
        format!("cannot open the door of host {host}: {status}: {why}"),
    )
}

fn broken(host: &str, error: hyper::Error) -> Error {
    Error::caused(
        ErrorKind::Unavailable,
        format!("the door of host {host} broke"),
        error,
    )
}

fn unavailable(what: String) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}
