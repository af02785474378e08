//! From the stored form of an object to the version that a client asks for, and back.
//!
//! Another `apiVersion` and other names of fields are written by rule, and everything else by the webhook of the
//! definition ([`webhook`]). Where the forms are the same, nothing is copied.

mod known;
mod webhook;

use std::sync::Arc;

use serde_json::Value;

use crate::failure::Failure;
use crate::object::Object;
use crate::resource::{Conversion, Resource, Version};
use crate::schema::Schema;

pub(crate) use known::Known;
pub(crate) use webhook::{Converter, problems};

/// The object in the served version.
pub(crate) async fn served(
    resource: &Resource,
    version: &Version,
    object: &Arc<Object>,
) -> Result<Arc<Object>, Failure> {
    let mut served = all_served(resource, version, std::slice::from_ref(object)).await?;
    Ok(served.swap_remove(0))
}

/// The objects in the served version.
pub(crate) async fn all_served(
    resource: &Resource,
    version: &Version,
    objects: &[Arc<Object>],
) -> Result<Vec<Arc<Object>>, Failure> {
    let api_version = resource.api_version(&version.name);
    let mut served = objects.to_vec();
    let mut other: Vec<&mut Arc<Object>> = served
        .iter_mut()
        .filter(|object| !is_served(version, &api_version, &object.value))
        .collect();
    if other.is_empty() {
        return Ok(served);
    }
    let values: Vec<Value> = other.iter().map(|object| object.value.clone()).collect();
    let values = match &resource.converter {
        Some(converter) => {
            let schema = version.schema.as_deref();
            converter.convert(&api_version, schema, values).await?
        }
        None => values
            .into_iter()
            .map(|value| by_rule(resource, version, value))
            .collect(),
    };
    for (object, value) in other.iter_mut().zip(values) {
        **object = Arc::new(object.with(value));
    }
    Ok(served)
}

/// The document as it is stored.
pub(crate) async fn stored(
    resource: &Resource,
    version: &Version,
    served: Value,
) -> Result<Value, Failure> {
    match &resource.converter {
        Some(converter) if served["apiVersion"] != resource.stored_as.as_str() => {
            let stored = resource.stored_version();
            let schema = stored.and_then(|stored| stored.schema.as_deref());
            let stored = &resource.stored_as;
            let mut values = converter.convert(stored, schema, vec![served]).await?;
            Ok(values.swap_remove(0))
        }
        _ => Ok(stored_by_rule(resource, version, served)),
    }
}

/// A document of one served version in another one.
pub(crate) async fn between(
    resource: &Resource,
    (from, to): (&Version, &Version),
    value: Value,
) -> Result<Value, Failure> {
    if from.name == to.name {
        return Ok(value);
    }
    match &resource.converter {
        Some(converter) => {
            let (api_version, schema) = (resource.api_version(&to.name), to.schema.as_deref());
            let mut values = converter.convert(&api_version, schema, vec![value]).await?;
            Ok(values.swap_remove(0))
        }
        None => Ok(by_rule(resource, to, stored_by_rule(resource, from, value))),
    }
}

/// Whether a stored document has the form of the version already.
fn is_served(version: &Version, api_version: &str, stored: &Value) -> bool {
    matches!(version.conversion, Conversion::None) && stored["apiVersion"] == api_version
}

/// A stored document in the served version, where no webhook is needed.
fn by_rule(resource: &Resource, version: &Version, mut stored: Value) -> Value {
    stored["apiVersion"] = resource.api_version(&version.name).into();
    match version.conversion {
        Conversion::None => {}
        Conversion::Rename(names) => {
            rename(&mut stored, names, |(stored, served)| (stored, served))
        }
        Conversion::Remake(_, serve) => serve(&mut stored),
    }
    in_form(version.schema.as_deref(), &mut stored);
    stored
}

/// A document of a served version as it is stored, where no webhook is needed.
fn stored_by_rule(resource: &Resource, version: &Version, mut served: Value) -> Value {
    let is_other = served["apiVersion"] != resource.stored_as.as_str();
    served["apiVersion"] = resource.stored_as.clone().into();
    match version.conversion {
        Conversion::None => {}
        Conversion::Rename(names) => {
            rename(&mut served, names, |(stored, served)| (served, stored))
        }
        Conversion::Remake(store, _) => store(&mut served),
    }
    if is_other {
        let stored = resource.stored_version();
        in_form(
            stored.and_then(|stored| stored.schema.as_deref()),
            &mut served,
        );
    }
    served
}

/// Brings a document that came from another version into the form of this one.
fn in_form(schema: Option<&Schema>, value: &mut Value) {
    if let Some(schema) = schema {
        schema.prune(value, &mut Vec::new());
        schema.fill(value);
    }
}

/// The path in stored objects of a path in served ones.
pub(crate) fn stored_path(conversion: Conversion, path: &str) -> String {
    renamed(conversion, path, |(stored, served)| (served, stored))
}

/// The path in served objects of a path in stored ones.
pub(crate) fn served_path(conversion: Conversion, path: &str) -> String {
    renamed(conversion, path, |(stored, served)| (stored, served))
}

fn renamed(conversion: Conversion, path: &str, direction: fn(Names) -> Names) -> String {
    let Conversion::Rename(names) = conversion else {
        return path.to_owned();
    };
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let found = names
        .iter()
        .map(|pair| direction(*pair))
        .find(|(from, _)| *from == first);
    format!("{}{rest}", found.map_or(first, |(_, to)| to))
}

type Names = (&'static str, &'static str);

fn rename(value: &mut Value, names: &[Names], direction: fn(Names) -> Names) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    for pair in names {
        let (from, to) = direction(*pair);
        if let Some(content) = fields.remove(from) {
            fields.insert(to.to_owned(), content);
        }
    }
}
