//! What is served besides objects: health, metrics, version, discovery and OpenAPI.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Response, header};
use serde_json::{Value, json};

use crate::authentication::account;
use crate::body::{self, Body};
use crate::failure::Failure;
use crate::query::{Allowed, Query};
use crate::server::Server;
use crate::{backup, discovery, health, metrics, openapi};

/// The version of Kubernetes whose protocol is spoken; clients compare it with their own.
const KUBERNETES: (&str, &str) = ("1", "36");
/// The paths that `/` lists, besides groups.
const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/backup",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

/// The path as it is counted: clients ask for any.
pub(crate) fn known(path: &str) -> &'static str {
    let path = path.trim_end_matches('/');
    PATHS.iter().find(|known| **known == path).unwrap_or(&"")
}

pub(crate) fn answer(server: &Server, head: &Parts) -> Result<Response<Body>, Failure> {
    if head.method != Method::GET {
        return Err(Failure::method_not_allowed());
    }
    let text = head.uri.query().unwrap_or_default();
    let path = head.uri.path().trim_end_matches('/');
    if openapi::is_document(path) {
        Query::parse(text, Allowed::Document)?;
        return server.documents().answer(path, text, &head.headers);
    }
    if let Some(check) = health::Asked::of(path) {
        return check.answer(server, text);
    }
    let query = Query::parse(text, Allowed::Other)?;
    let json = |document: Value| Ok(body::json(200, body::text(&document, query.pretty)));
    match path {
        "" => json(json!({"paths": PATHS})),
        "/backup" => backup::answer(server),
        metrics::PATH => Ok(server.metrics().answer(server)),
        "/version" => json(version()),
        "/.well-known/openid-configuration" => json(account::configuration(host(head))).map(cached),
        "/openid/v1/jwks" => {
            let keys = server.account_key().set().to_string();
            Ok(cached(body::typed(200, "application/jwk-set+json", keys)))
        }
        path => discovery::answer(&server.registry(), path, query.pretty, &head.headers)
            .unwrap_or_else(|| Err(Failure::no_such_path())),
    }
}

/// The name by which the client has reached the server.
fn host(head: &Parts) -> &str {
    let named = head
        .headers
        .get(header::HOST)
        .and_then(|it| it.to_str().ok());
    let named = head.uri.authority().map(Authority::as_str).or(named);
    named.unwrap_or("localhost")
}

/// An answer that may be kept for an hour, as in Kubernetes.
fn cached(mut response: Response<Body>) -> Response<Body> {
    let hour = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, hour);
    response
}

fn version() -> Value {
    let (major, minor) = KUBERNETES;
    let crate_version = env!("CARGO_PKG_VERSION");
    json!({
        "major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0+groma-{crate_version}"),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
