//! Objects as rows of a `Table` of meta.k8s.io/v1, which `kubectl get` asks for and prints.
//!
//! Which columns there are is decided here: the printer columns of a definition or, for built-in resources, what
//! kubectl users know. It changes no object and reads no storage; the form of an answer is [`crate::render`]'s.

mod age;
mod builtin;
mod columns;
mod jsonpath;
mod kubernetes;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::columns::Column;
use crate::query::IncludeObject;
use crate::render;
use crate::resource::{Resource, Version};

/// The table of some objects of one resource. A row carries as much of its object as `include` says; ages are counted
/// up to `now`. The metadata is that of the list.
pub(crate) fn table(
    (resource, version): (&Resource, &Version),
    objects: &[Value],
    metadata: Value,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let columns = columns::of(resource, version);
    let row = |object: &Value| {
        let cells: Vec<Value> = columns
            .iter()
            .map(|column| column.cell(object, now))
            .collect();
        json!({"cells": cells, "object": included(object, include)})
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns.iter().map(Column::definition).collect::<Vec<_>>(),
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

fn included(object: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => render::partial(object),
        IncludeObject::Object => object.clone(),
    }
}
