//! OpenAPI v3: an index of documents by group and version, each with a hash that clients cache by.
//!
//! `kubectl apply` reads them to learn how to patch and validate, `kubectl explain` to print fields. A document is made
//! from the schemas of the definitions and, for built-in resources, from their Rust types. They describe what is
//! served and nothing is checked by them. OpenAPI v2 and protobuf are not offered.

mod paths;
mod schemas;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::body::{self, Body};
use crate::failure::Failure;
use crate::registry::Registry;
use crate::resource::{Resource, Version};

/// Where the index is; documents are below it.
pub(crate) const ROOT: &str = "/openapi/v3";
/// A document whose hash was named in the request never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Any other answer must be asked for again, with its tag.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Every document of a server, made once.
pub(crate) struct Documents {
    index: Document,
    by_group_version: BTreeMap<String, Document>,
}

struct Document {
    hash: String,
    json: Bytes,
}

/// A resource in one of its versions.
type Served<'a> = (&'a Resource, &'a Version);

impl Documents {
    /// The documents of everything that is served.
    pub(crate) fn new(registry: &Registry) -> Self {
        let mut groups: BTreeMap<String, Vec<Served<'_>>> = BTreeMap::new();
        for resource in registry.all() {
            for version in &resource.versions {
                groups
                    .entry(group_version(resource, version))
                    .or_default()
                    .push((resource, version));
            }
        }
        let made = groups
            .into_iter()
            .map(|(path, served)| (path, Document::of(&document(&served))));
        let by_group_version: BTreeMap<String, Document> = made.collect();
        let url = |(path, document): (&String, &Document)| {
            let url = format!("{ROOT}/{path}?hash={}", document.hash);
            (path.clone(), json!({"serverRelativeURL": url}))
        };
        let paths: Map<String, Value> = by_group_version.iter().map(url).collect();
        Self {
            index: Document::of(&json!({"paths": paths})),
            by_group_version,
        }
    }

    /// Answers a request for the index or for a document.
    ///
    /// # Errors
    /// 404 for what is no document.
    pub(crate) fn answer(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let rest = path
            .strip_prefix(ROOT)
            .ok_or_else(Failure::no_such_path)?
            .trim_matches('/');
        let document = match rest {
            "" => &self.index,
            path => self
                .by_group_version
                .get(path)
                .ok_or_else(Failure::no_such_path)?,
        };
        let named = query
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("hash="));
        match named {
            Some(named) if named != document.hash => Ok(moved(rest, &document.hash)),
            named => Ok(document.answer(headers, named.is_some())),
        }
    }
}

impl Document {
    fn of(value: &Value) -> Self {
        let json = Bytes::from(value.to_string());
        let hash = Sha256::digest(&json)
            .iter()
            .fold(String::new(), |mut hash, byte| {
                write!(hash, "{byte:02X}").expect("writing to a string cannot fail");
                hash
            });
        Self { hash, json }
    }

    fn answer(&self, headers: &HeaderMap, forever: bool) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        let kept = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let is_kept = kept
            .flat_map(|value| value.split(','))
            .any(|kept| matches!(kept.trim(), "*") || kept.trim() == tag);
        let mut response = match is_kept {
            true => body::typed(304, "application/json", Bytes::new()),
            false => body::json(200, self.json.clone()),
        };
        let tag = HeaderValue::try_from(tag).expect("a hash in quotes is a header value");
        response.headers_mut().insert(header::ETAG, tag);
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            if forever { FOREVER } else { ASK_AGAIN },
        );
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

/// The index that the client has is old: here is what it wants now.
fn moved(path: &str, hash: &str) -> Response<Body> {
    let mut response = body::typed(301, "text/plain; charset=utf-8", Bytes::new());
    let url = HeaderValue::try_from(format!("{ROOT}/{path}?hash={hash}"));
    let url = url.expect("paths of served groups are plain text");
    response.headers_mut().insert(header::LOCATION, url);
    response
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn group_version(resource: &Resource, version: &Version) -> String {
    match resource.group.as_str() {
        "" => format!("api/{}", version.name),
        group => format!("apis/{group}/{}", version.name),
    }
}

fn document(served: &[Served<'_>]) -> Value {
    let mut schemas = schemas::Schemas::default();
    let mut paths = Map::new();
    for (resource, version) in served {
        schemas.add(resource, version);
        paths.extend(paths::of(resource, version));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Groma", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}

/// What ties operations and schemas to a kind.
fn group_version_kind(resource: &Resource, version: &Version, kind: &str) -> Value {
    json!({"group": resource.group, "version": version.name, "kind": kind})
}
