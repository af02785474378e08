//! Passing a request on to the server that writes, in the name of its author, upgrades included.

use std::sync::{Mutex, PoisonError};

use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tokio::io::copy_bidirectional;

use crate::access::Identity;
use crate::access::headers::REMOTE;
use crate::failure::Failure;
use crate::passage::Peer;
use crate::store::etcd::Candidate;
use crate::tls::{self, Authority};

/// From where the request came first.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What is said of one connection only (RFC 9110 §7.6.1), and what proves to one server who asks.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::HOST,
    header::AUTHORIZATION,
];

/// The way to the server that writes.
pub(super) struct Pass {
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
    /// Where it was when it was last asked.
    leader: Mutex<Option<String>>,
}

impl Pass {
    pub(super) fn new(authority: &Authority) -> Result<Self, api::Error> {
        let own = authority.issue_server_client(Timestamp::now())?;
        let config = tls::client_config(authority.certificate(), Some(&own), b"")?;
        let mut config = (*config).clone();
        // The connector says itself what it speaks.
        config.alpn_protocols.clear();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            leader: Mutex::default(),
        })
    }

    /// What the server that writes answers.
    pub(super) async fn on(
        &self,
        candidate: &Candidate,
        author: &Identity,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let leader = self.leader(candidate).await?;
        let upgrade = request.headers_mut().remove(header::UPGRADE);
        let upgrade = upgrade.filter(|_| request.version() == Version::HTTP_11);
        let client_side = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let mut request = turned(&leader, author, request)?;
        if let Some(upgrade) = upgrade {
            let headers = request.headers_mut();
            headers.insert(header::UPGRADE, upgrade);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let response = self.client.request(request).await;
        let mut response = response.map_err(|error| {
            self.set_leader(None);
            let why = api::chain(&error);
            match error.is_connect() {
                true => {
                    Failure::unavailable(format!("the server that writes is not reached: {why}"))
                }
                // Perhaps it was done.
                false => Failure::new(
                    504,
                    "Timeout",
                    format!("the server that writes went away: {why}"),
                ),
            }
        })?;
        match client_side {
            Some(client_side) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let server_side = hyper::upgrade::on(&mut response);
                tokio::spawn(joined(client_side, server_side));
            }
            _ => {
                NOT_PASSED_ON.iter().for_each(|name| {
                    response.headers_mut().remove(name);
                });
            }
        }
        Ok(response)
    }

    async fn leader(&self, candidate: &Candidate) -> Result<String, Failure> {
        let known = self
            .leader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = candidate.leader().await.map_err(|error| {
            let why = api::chain(&error);
            Failure::unavailable(format!("it is not known which server writes: {why}"))
        })?;
        let found = found.ok_or_else(|| Failure::unavailable("no server writes just now"))?;
        self.set_leader(Some(found.clone()));
        Ok(found)
    }

    fn set_leader(&self, leader: Option<String>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }
}

/// The request as the other server sees it.
fn turned(
    leader: &str,
    author: &Identity,
    request: Request<Incoming>,
) -> Result<Request<Incoming>, Failure> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri: Result<Uri, _> = format!("{leader}{path}").parse();
    head.uri = uri.map_err(|why| Failure::internal(format!("{leader:?} is no address: {why}")))?;
    head.version = Version::HTTP_11;
    let from = head.extensions.remove::<Peer>();
    head.extensions.clear();
    NOT_PASSED_ON.iter().for_each(|name| {
        head.headers.remove(name);
    });
    REMOTE.write(author, &mut head.headers)?;
    say_from(&mut head.headers, from);
    Ok(Request::from_parts(head, body))
}

/// Says from where it came first.
fn say_from(headers: &mut HeaderMap, from: Option<Peer>) {
    headers.remove(&FORWARDED_FOR);
    let from = from.and_then(|Peer(ip)| HeaderValue::try_from(ip.to_string()).ok());
    if let Some(from) = from {
        headers.insert(FORWARDED_FOR, from);
    }
}

/// What another server has passed on comes from where that one says.
pub(crate) fn say_whence(request: &mut Request<Incoming>) {
    let from = request.headers().get(&FORWARDED_FOR);
    let from = from.and_then(|from| from.to_str().ok()?.parse().ok());
    match from {
        Some(from) => request.extensions_mut().insert(Peer(from)),
        None => request.extensions_mut().remove(),
    };
}

/// Carries what both sides say, until one ends.
async fn joined(client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was not done");
            return;
        }
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!(%error, "what was joined broke");
    }
}
