//! Defaults, and nulls that mean "absent".
//!
//! A null where null is not allowed becomes the default if there is one, and goes if there is none: typed clients send
//! nulls for what they leave out.

use serde_json::Value;

use crate::schema::Schema;

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, content| {
                !content.is_null() || schema.field(name).is_none_or(|known| known.nullable)
            });
            for (name, known) in &schema.properties {
                if let Some(default) = &known.default
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, content) in map.iter_mut() {
                if let Some(known) = schema.field(name) {
                    fill(known, content);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for item in list {
                fill(items, item);
            }
        }
        _ => {}
    }
}
