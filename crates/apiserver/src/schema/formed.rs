//! Whether pruning and filling would leave a document as it is, found without changing or copying it: a server that starts
//! asks this of every object.

use serde_json::{Map, Value};

use crate::schema::fill::whole;
use crate::schema::{Additional, Kind, OBJECT_FIELDS, Schema};

/// A whole object, as [`prune::root`](super::prune::root) and [`fill`](super::fill::fill) see it.
pub(super) fn root(schema: &Schema, value: &Value) -> bool {
    match value {
        Value::Object(map) => fields(schema, map, Some(true)),
        value => is_formed(schema, value, true),
    }
}

/// `pruned` says whether fields that the schema does not know would go; they stay within the frame of an object.
fn is_formed(schema: &Schema, value: &Value, pruned: bool) -> bool {
    match value {
        Value::Object(map) => fields(schema, map, pruned.then_some(schema.embedded)),
        Value::Array(list) => {
            let items = schema.items.as_ref();
            items.is_none_or(|items| list.iter().all(|item| is_formed(items, item, pruned)))
        }
        Value::Number(number) => {
            let is_whole = schema.kind == Some(Kind::Integer) || schema.int_or_string;
            !is_whole || whole(number).is_none()
        }
        _ => true,
    }
}

/// `framed` says whether it has the frame of an object; `None` where nothing is pruned.
fn fields(schema: &Schema, map: &Map<String, Value>, framed: Option<bool>) -> bool {
    let is_frame = |name: &str| framed == Some(true) && OBJECT_FIELDS.contains(&name);
    let keeps_all = schema.preserve_unknown || !matches!(schema.additional, Additional::Unknown);
    let mut defaults = schema.properties.iter();
    let has_defaults =
        defaults.all(|(name, known)| known.default.is_none() || map.contains_key(name));
    has_defaults
        && map.iter().all(|(name, content)| {
            let pruned = framed.is_some() && !is_frame(name);
            let is_known = !pruned || keeps_all || schema.properties.contains_key(name);
            let known = schema.field(name);
            is_known
                && known.is_none_or(|known| {
                    let is_absent = content.is_null() && !known.nullable;
                    !is_absent && is_formed(known, content, pruned)
                })
        })
}
