//! One HTTP GET over a connection of its own, with one time limit for the whole of it.
//!
//! A fresh connection per request is on purpose: it is what meets a firewall's rules and a limiter's buckets.

use crate::Error;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// The largest answer that is read.
const BODY_MAX: usize = 64 * 1024;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks for one page.
///
/// # Errors
/// When no connection could be made, or no whole answer came within `timeout`.
pub async fn get(address: SocketAddr, path: &str, timeout: Duration) -> Result<Answer, Error> {
    tokio::time::timeout(timeout, exchange(address, path))
        .await
        .unwrap_or_else(|_| Err(Error::Answer(format!("{address} within {timeout:?}"))))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<Answer, Error> {
    let connecting = TcpStream::connect(address).await;
    let stream = connecting.map_err(Error::system(format!("connect to {address}")))?;
    let bad = |e: hyper::Error| Error::Answer(format!("{address}: {e}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(bad)?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|e| Error::Answer(format!("{address}{path}: {e}")))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(bad)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|e| Error::Answer(format!("{address}: {e}")))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer { status, body })
    };
    // The connection only moves while it is polled; it ends with the answer.
    tokio::pin!(connection);
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
