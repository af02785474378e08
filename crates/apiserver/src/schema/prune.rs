//! Dropping the fields that a schema does not know.

use serde_json::{Map, Value};

use crate::schema::{Additional, OBJECT_FIELDS, Schema};

/// Longest path that is written down, about.
const PATH_BYTES_MAX: usize = 1024;
/// Most unknown fields that are remembered of one document.
const UNKNOWN_MAX: usize = 256;

/// A whole object: its frame is known without a schema, and metadata has rules of its own.
pub(super) fn root(schema: &Schema, value: &mut Value, unknown: &mut Vec<String>) {
    fields(schema, value, "", true, unknown);
}

fn prune(schema: &Schema, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(_) => fields(schema, value, path, schema.embedded, unknown),
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, item) in list.iter_mut().enumerate() {
                prune(items, item, &indexed(path, index), unknown);
            }
        }
        _ => {}
    }
}

fn fields(schema: &Schema, value: &mut Value, path: &str, framed: bool, unknown: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    let is_frame = |name: &str| framed && OBJECT_FIELDS.contains(&name);
    drop_unknown(schema, map, path, is_frame, unknown);
    for (name, content) in map.iter_mut().filter(|(name, _)| !is_frame(name)) {
        if let Some(known) = schema.field(name) {
            prune(known, content, &join(path, name), unknown);
        }
    }
}

fn drop_unknown(
    schema: &Schema,
    map: &mut Map<String, Value>,
    path: &str,
    is_frame: impl Fn(&str) -> bool,
    unknown: &mut Vec<String>,
) {
    if schema.preserve_unknown || !matches!(schema.additional, Additional::Unknown) {
        return;
    }
    map.retain(|name, _| {
        let known = is_frame(name) || schema.properties.contains_key(name);
        if !known && unknown.len() < UNKNOWN_MAX {
            unknown.push(join(path, name));
        }
        known
    });
}

/// The path of a field. What is longer than a person reads is cut, so that names cost no more than once.
pub(crate) fn join(path: &str, name: &str) -> String {
    let end = name.floor_char_boundary(PATH_BYTES_MAX);
    match path {
        "" => name[..end].to_owned(),
        path if path.len() >= PATH_BYTES_MAX => path.to_owned(),
        path => format!("{path}.{}", &name[..end]),
    }
}

/// The path of an item of a list, cut likewise.
pub(crate) fn indexed(path: &str, index: usize) -> String {
    match path.len() >= PATH_BYTES_MAX {
        true => path.to_owned(),
        false => format!("{path}[{index}]"),
    }
}
