//! OpenAPI v3: an index of documents by group and version, each with a hash that clients cache by; and all of it as one
//! document of v2, in JSON and in protobuf.
//!
//! `kubectl apply` reads them to learn how to patch and validate, `kubectl explain` to print fields. A document is made
//! from the schemas of the definitions and, for built-in resources, from their Rust types. They describe what is
//! served and nothing is checked by them. Each version is made when somebody asks for it. Documents of v3 are not offered
//! in protobuf.

mod paths;
mod proto;
mod schemas;
mod v2;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use crate::body::{self, Body};
use crate::failure::Failure;
use crate::registry::Registry;
use crate::resource::{Resource, Version};
use crate::tag;

/// Where the index is; documents are below it.
const ROOT: &str = "/openapi/v3";
/// Where the one document of version 2 is.
const V2: &str = "/openapi/v2";
/// The form in which kubectl asks for it, and the name by which that is sent.
const PROTO: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// A document whose hash was named in the request never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Any other answer must be asked for again, with its tag.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Every document of a server, each made once, when it is first asked for.
pub(crate) struct Documents {
    registry: Arc<Registry>,
    v3: OnceLock<Groups>,
    v2: OnceLock<Document>,
    /// The document of version 2 in protobuf.
    proto: OnceLock<Bytes>,
}

/// The documents of version 3.
struct Groups {
    index: Document,
    by_group_version: BTreeMap<String, Document>,
}

struct Document {
    hash: String,
    json: Bytes,
}

/// Whether that path is one of theirs.
pub(crate) fn is_document(path: &str) -> bool {
    [ROOT, V2].iter().any(|root| path.starts_with(root))
}

/// A resource in one of its versions.
type Served<'a> = (&'a Arc<Resource>, &'a Version);

impl Groups {
    fn new(registry: &Registry) -> Self {
        let made = served(registry).into_iter();
        let made = made.map(|(path, served)| (path, Document::of(&document(&served))));
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
}

impl Documents {
    /// The documents of everything that is served.
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            v3: OnceLock::new(),
            v2: OnceLock::new(),
            proto: OnceLock::new(),
        }
    }

    fn groups(&self) -> &Groups {
        self.v3.get_or_init(|| Groups::new(&self.registry))
    }

    fn whole(&self) -> &Document {
        self.v2.get_or_init(|| {
            let served = served(&self.registry).into_values();
            Document::of(&v2::document(served.map(|served| document(&served))))
        })
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
        if path == V2 {
            return self.v2(headers);
        }
        let rest = path
            .strip_prefix(ROOT)
            .ok_or_else(Failure::no_such_path)?
            .trim_matches('/');
        let document = match rest {
            "" => &self.groups().index,
            path => self
                .groups()
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

    /// The one document of version 2, in the form that the client asks for.
    fn v2(&self, headers: &HeaderMap) -> Result<Response<Body>, Failure> {
        let accept = headers.get(header::ACCEPT);
        let accept = accept.and_then(|accept| accept.to_str().ok());
        let mut asked = accept.unwrap_or("*/*").split(',').map(|choice| {
            let media = choice.split(';').next().unwrap_or_default();
            media.trim().to_owned()
        });
        let is_json =
            |media: &str| matches!(media, "" | "*/*" | "application/*" | "application/json");
        let form = asked.find(|media| is_json(media) || PROTO.contains(&media.as_str()));
        let form = form.ok_or_else(|| {
            let message = format!("only application/json and {} are offered", PROTO[1]);
            Failure::new(406, "NotAcceptable", message)
        })?;
        let document = self.whole();
        if is_json(&form) {
            return Ok(document.answer(headers, false));
        }
        let proto = self.proto.get_or_init(|| {
            let value: Value = serde_json::from_slice(&document.json).unwrap_or_default();
            Bytes::from(proto::encode(&value))
        });
        Ok(document.answer_as(headers, false, (PROTO[1], proto)))
    }
}

impl Document {
    fn of(value: &Value) -> Self {
        let json = Bytes::from(value.to_string());
        let hash = tag::hash(&json);
        Self { hash, json }
    }

    fn answer(&self, headers: &HeaderMap, forever: bool) -> Response<Body> {
        self.answer_as(headers, forever, ("application/json", &self.json))
    }

    /// The document in another form, or that the client has it already.
    fn answer_as(
        &self,
        headers: &HeaderMap,
        forever: bool,
        form: (&'static str, &Bytes),
    ) -> Response<Body> {
        let mut response = tag::answer(headers, &self.hash, form);
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            if forever { FOREVER } else { ASK_AGAIN },
        );
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

/// What is served, by the paths of groups and versions.
fn served(registry: &Registry) -> BTreeMap<String, Vec<Served<'_>>> {
    let mut groups: BTreeMap<String, Vec<Served<'_>>> = BTreeMap::new();
    for resource in registry.all() {
        for version in &resource.versions {
            groups
                .entry(group_version(resource, version))
                .or_default()
                .push((resource, version));
        }
    }
    groups
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
