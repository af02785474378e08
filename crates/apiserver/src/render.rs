//! How objects are written down for a client: whole, as metadata only, or as rows of a table.
//!
//! The `Accept` header decides. Whole objects are sent as they were serialised once.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::body;
use crate::convert;
use crate::engine::Clock;
use crate::failure::Failure;
use crate::object::Object;
use crate::query::IncludeObject;
use crate::request::Request;
use crate::resource::{Offered, Resource, Version};
use crate::server::Server;
use crate::table;

/// The version of tables and metadata, and the one before, which clients still ask for.
const META: &str = "meta.k8s.io/v1";
const META_BEFORE: &str = "meta.k8s.io/v1beta1";

/// What the client wants to see of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// `PartialObjectMetadata` of meta.k8s.io.
    Metadata,
    /// `Table` of meta.k8s.io.
    Table,
}

/// How the objects of one request are written.
#[derive(Clone)]
pub(crate) struct Render {
    pub(crate) form: Form,
    pub(crate) pretty: bool,
    pub(crate) include: IncludeObject,
    /// The version in which tables and metadata are written, which are the same in all.
    meta: &'static str,
    /// Ages in tables are counted up to its now.
    clock: Clock,
    resource: Arc<Resource>,
    version: String,
}

impl Render {
    /// How to answer that request.
    pub(crate) fn of(
        server: &Server,
        request: &Request,
        headers: &HeaderMap,
    ) -> Result<Self, Failure> {
        let include = request.query.include_object;
        let (form, meta) = form(headers)?;
        // An answer has no metadata and no columns.
        if request.resource.traits.offered == Offered::Asking && form != Form::Whole {
            return Err(not_acceptable());
        }
        if include.is_some() && form != Form::Table {
            return Err(Failure::bad_request(
                "includeObject is only honoured for tables",
            ));
        }
        Ok(Self {
            form,
            pretty: request.query.pretty,
            include: include.unwrap_or(IncludeObject::Metadata),
            meta,
            clock: server.clock().clone(),
            resource: request.form().clone(),
            version: request.form_version().name.clone(),
        })
    }

    fn version(&self) -> &Version {
        self.resource
            .version(&self.version)
            .expect("the request was made with a served version")
    }

    /// The objects as this writes them down: in the version of the request, unless only their metadata is seen.
    pub(crate) async fn served(
        &self,
        objects: &[Arc<Object>],
    ) -> Result<Vec<Arc<Object>>, Failure> {
        match self.form {
            Form::Metadata => Ok(objects.to_vec()),
            Form::Whole | Form::Table => {
                convert::all_served(&self.resource, self.version(), objects).await
            }
        }
    }

    /// One object, [`served`](Self::served) before.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        let value = match self.form {
            Form::Whole if !self.pretty => return object.value.text().clone(),
            Form::Whole => object.value.clone(),
            Form::Metadata => self.partial(&object.value),
            Form::Table => self.table(
                std::slice::from_ref(&*object.value),
                meta_of_one(&object.value),
            ),
        };
        Bytes::from(body::text(&value, self.pretty))
    }

    /// One object in a watch, [`served`](Self::served) before.
    pub(crate) fn event(&self, object: &Object, first: bool) -> Bytes {
        if self.form != Form::Table {
            return self.object(object);
        }
        let of_one = std::slice::from_ref(&*object.value);
        let table = self.table(of_one, meta_of_one(&object.value));
        Bytes::from(body::text(&headed(table, first), self.pretty))
    }

    /// A list of objects, [`served`](Self::served) before, with the list's metadata.
    pub(crate) fn list(&self, objects: &[Arc<Object>], metadata: Value) -> Bytes {
        let whole = |object: &Arc<Object>| object.value.clone();
        let (api_version, kind, items): (_, _, Vec<Value>) = match self.form {
            Form::Whole if !self.pretty => {
                return self.joined(objects, &metadata);
            }
            Form::Whole => {
                let api_version = self.resource.api_version(&self.version);
                (
                    api_version,
                    self.resource.list_kind.clone(),
                    objects.iter().map(whole).collect(),
                )
            }
            Form::Metadata => {
                let items = objects
                    .iter()
                    .map(|object| self.partial(&object.value))
                    .collect();
                (
                    self.meta.to_owned(),
                    "PartialObjectMetadataList".to_owned(),
                    items,
                )
            }
            Form::Table => {
                let values: Vec<Value> = objects.iter().map(whole).collect();
                return Bytes::from(body::text(&self.table(&values, metadata), self.pretty));
            }
        };
        let list =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items});
        Bytes::from(body::text(&list, self.pretty))
    }

    /// The list without parsing or copying its objects twice.
    fn joined(&self, objects: &[Arc<Object>], metadata: &Value) -> Bytes {
        let api_version = Value::from(self.resource.api_version(&self.version));
        let kind = Value::from(self.resource.list_kind.as_str());
        let head = format!(
            r#"{{"kind":{kind},"apiVersion":{api_version},"metadata":{metadata},"items":["#
        );
        let length = objects
            .iter()
            .map(|object| object.value.text().len() + 1)
            .sum::<usize>();
        let mut text = Vec::with_capacity(head.len() + length + 2);
        text.extend_from_slice(head.as_bytes());
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(object.value.text());
        }
        text.extend_from_slice(b"]}");
        Bytes::from(text)
    }

    fn table(&self, values: &[Value], metadata: Value) -> Value {
        let mut table = table::table(
            (&self.resource, self.version()),
            values,
            metadata,
            self.include,
            (self.clock)(),
        );
        table["apiVersion"] = self.meta.into();
        table
    }

    fn partial(&self, value: &Value) -> Value {
        let mut partial = partial(value);
        partial["apiVersion"] = self.meta.into();
        partial
    }

    /// A document that stands for a bookmark: a version and nothing else.
    pub(crate) fn bookmark(&self, metadata: Value, first: bool) -> Value {
        let api_version = self.resource.api_version(&self.version);
        let whole =
            json!({"apiVersion": api_version, "kind": self.resource.kind, "metadata": metadata});
        match self.form {
            Form::Whole => whole,
            Form::Metadata => self.partial(&whole),
            Form::Table => {
                // It is shown even to those who want no objects: what it is stands in its metadata.
                let shown = self.partial(&whole);
                let metadata = meta_of_one(&whole);
                let mut table = self.table(&[whole], metadata);
                if self.include == IncludeObject::None {
                    table["rows"][0]["object"] = shown;
                }
                headed(table, first)
            }
        }
    }
}

/// A table in a watch: only the first one says what its columns are.
fn headed(mut table: Value, first: bool) -> Value {
    if !first {
        table["columnDefinitions"] = Value::Null;
    }
    table
}

fn meta_of_one(value: &Value) -> Value {
    json!({"resourceVersion": value["metadata"]["resourceVersion"]})
}

pub(crate) fn partial(value: &Value) -> Value {
    json!({"apiVersion": META, "kind": "PartialObjectMetadata", "metadata": value["metadata"]})
}

/// The first form of the `Accept` header that can be given, and the version of tables and metadata in it.
fn form(headers: &HeaderMap) -> Result<(Form, &'static str), Failure> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("*/*");
    let offered = accept.split(',').find_map(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*" | "") {
            return None;
        }
        let parameter = |name: &str| {
            choice
                .split(';')
                .map(str::trim)
                .find_map(|p| p.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let meta = match parameter("v").as_deref() {
            None | Some("v1") => META,
            Some("v1beta1") => META_BEFORE,
            Some(_) if parameter("as").is_none() => META,
            Some(_) => return None,
        };
        let form = match parameter("as").as_deref() {
            None => Form::Whole,
            Some("Table") => Form::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata,
            Some(_) => return None,
        };
        Some((form, meta))
    });
    offered.ok_or_else(not_acceptable)
}

fn not_acceptable() -> Failure {
    let message = "only the following media types are accepted: application/json, \
        application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    Failure::new(406, "NotAcceptable", message)
}
