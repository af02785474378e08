//! Dropping the fields that a schema does not know.

use serde_json::{Map, Value};

use crate::schema::{Additional, OBJECT_FIELDS, Schema};

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
                prune(items, item, &format!("{path}[{index}]"), unknown);
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
        if !known {
            unknown.push(join(path, name));
        }
        known
    });
}

pub(crate) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}
