//! Defaults, nulls that mean "absent", and whole numbers.
//!
//! A null where null is not allowed becomes the default if there is one, and goes if there is none: typed clients send
//! nulls for what they leave out. `2.0` where an integer belongs becomes `2`: JSON knows one kind of number, and typed
//! readers know two.

use serde_json::{Number, Value};

use crate::schema::{Kind, Schema};

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
        Value::Number(number) if schema.kind == Some(Kind::Integer) || schema.int_or_string => {
            if let Some(whole) = whole(number) {
                *number = whole;
            }
        }
        _ => {}
    }
}

/// The integer that a number with a point stands for, if there is one that fits.
pub(super) fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    // Above 2⁵³ several integers share one float, and which was meant is lost.
    let exact = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    exact.then(|| format!("{float:.0}").parse::<i64>().ok().map(Number::from))?
}
