//! What is served besides objects: health, version and discovery.

use http::Response;
use http::request::Parts;
use serde_json::json;

use crate::body::{self, Body};
use crate::failure::Failure;
use crate::openapi;
use crate::server::Server;

pub(crate) fn answer(server: &Server, head: &Parts) -> Result<Response<Body>, Failure> {
    if head.method != http::Method::GET {
        return Err(Failure::method_not_allowed());
    }
    match head.uri.path().trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => {
            Ok(body::typed(200, "text/plain; charset=utf-8", "ok"))
        }
        "/version" => Ok(body::json(
            200,
            json!({"major": "1", "minor": "36"}).to_string(),
        )),
        path if path.starts_with(openapi::ROOT) => {
            server
                .documents()
                .answer(path, head.uri.query().unwrap_or_default(), &head.headers)
        }
        _ => Err(Failure::no_such_path()),
    }
}
