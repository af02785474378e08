//! Passing a request on to the server that writes, in the name of its author, upgrades included.

use std::time::Duration;

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
use tokio::time::sleep;

use crate::access::Identity;
use crate::access::passed;
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

/// How long the other server may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether it still writes, while it does not answer.
const LOOK: Duration = Duration::from_secs(2);

type Https = Client<HttpsConnector<HttpConnector>, Incoming>;

/// The way to the server that writes.
pub(super) struct Pass {
    /// One connection for all.
    client: Https,
    /// A connection for each.
    upgrading: Https,
}

impl Pass {
    pub(super) fn new(authority: &Authority) -> Result<Self, api::Error> {
        let own = authority.issue_server_client(Timestamp::now())?;
        let config = tls::client_config(authority.certificate(), Some(&own), b"")?;
        let mut config = (*config).clone();
        // The connector says itself what it speaks.
        config.alpn_protocols.clear();
        let connector = || {
            let mut http = HttpConnector::new();
            http.enforce_http(false);
            http.set_connect_timeout(Some(CONNECT_PATIENCE));
            let https = HttpsConnectorBuilder::new().with_tls_config(config.clone());
            (https.https_only(), http)
        };
        let ((all, to_all), (one, to_one)) = (connector(), connector());
        let mut builder = Client::builder(TokioExecutor::new());
        Ok(Self {
            upgrading: builder.build(one.enable_http1().wrap_connector(to_one)),
            client: builder
                .http2_only(true)
                .build(all.enable_http2().wrap_connector(to_all)),
        })
    }

    /// What the server that writes answers.
    pub(super) async fn on(
        &self,
        candidate: &Candidate,
        author: &Identity,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let unknown = || Failure::unavailable("no server writes just now");
        let leader = leader(candidate).await?.ok_or_else(unknown)?;
        let upgrade = request.headers_mut().remove(header::UPGRADE);
        let upgrade = upgrade.filter(|_| request.version() == Version::HTTP_11);
        let client_side = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let mut request = turned(&leader, author, request)?;
        let asked = match upgrade {
            None => self.client.request(request),
            Some(upgrade) => {
                *request.version_mut() = Version::HTTP_11;
                let headers = request.headers_mut();
                headers.insert(header::UPGRADE, upgrade);
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                self.upgrading.request(request)
            }
        };
        let mut response = tokio::select! {
            response = asked => response.map_err(|error| unanswered(&error))?,
            // It may be there and not answer, for as long as connections last.
            () = gone(candidate, &leader) => return Err(perhaps_done()),
        };
        match client_side {
            Some(client_side) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let server_side = hyper::upgrade::on(&mut response);
                tokio::spawn(joined(client_side, server_side));
            }
            _ => NOT_PASSED_ON.iter().for_each(|name| {
                response.headers_mut().remove(name);
            }),
        }
        Ok(response)
    }
}

async fn leader(candidate: &Candidate) -> Result<Option<String>, Failure> {
    candidate.leader().await.map_err(|error| {
        tracing::warn!(
            error = api::chain(&error),
            "it is not known which server writes"
        );
        Failure::unavailable("it is not known which server writes")
    })
}

/// Returns when another server writes than that one, or none.
async fn gone(candidate: &Candidate, known: &str) {
    loop {
        sleep(LOOK).await;
        if let Ok(found) = leader(candidate).await
            && found.as_deref() != Some(known)
        {
            return;
        }
    }
}

fn unanswered(error: &hyper_util::client::legacy::Error) -> Failure {
    tracing::warn!(
        error = api::chain(error),
        "the server that writes does not answer"
    );
    match error.is_connect() {
        true => Failure::unavailable("the server that writes is not reached"),
        false => perhaps_done(),
    }
}

fn perhaps_done() -> Failure {
    let why = "the server that writes went away; whether it was done is not known";
    Failure::new(504, "Timeout", why)
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
    head.version = Version::HTTP_2;
    let from = head.extensions.remove::<Peer>();
    head.extensions.clear();
    NOT_PASSED_ON.iter().for_each(|name| {
        head.headers.remove(name);
    });
    passed::write(author, &mut head.headers)?;
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
