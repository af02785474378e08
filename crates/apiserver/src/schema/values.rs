//! Values in expressions: what JSON stands for, by its schema where it has one.

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::cel::cel;
use kube::core::cel::cel::objects::{Key, Map};
use serde_json::{Number, Value};

use crate::expression;
use crate::schema::format::Format;
use crate::schema::{Additional, Kind, Schema};

/// Names of fields that are words of CEL.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// What a value is in an expression.
pub(crate) fn value(schema: Option<&Schema>, json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(given) => number(schema, given),
        Value::String(given) => text(schema, given),
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            let items = list.iter().map(|item| value(items, item));
            cel::Value::List(Arc::new(items.collect()))
        }
        Value::Object(fields) => {
            let is_map = schema.is_none_or(|it| !matches!(it.additional, Additional::Unknown));
            let mut map = HashMap::with_capacity(fields.len());
            for (name, content) in fields {
                let content = value(schema.and_then(|it| it.field(name)), content);
                let name = match is_map {
                    // Its keys are data.
                    true => name.clone(),
                    false => escaped(name),
                };
                map.insert(Key::from(name), content);
            }
            if schema.is_some_and(|schema| schema.embedded) {
                complete(&mut map);
            }
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    }
}

fn number(schema: Option<&Schema>, given: &Number) -> cel::Value {
    let fraction = schema.is_some_and(|schema| schema.kind == Some(Kind::Number));
    match (given.as_i64(), given.as_u64()) {
        (Some(int), _) if !fraction => cel::Value::Int(int),
        (None, Some(uint)) if !fraction => cel::Value::UInt(uint),
        _ => cel::Value::Float(given.as_f64().unwrap_or(f64::NAN)),
    }
}

fn text(schema: Option<&Schema>, given: &str) -> cel::Value {
    let plain = || cel::Value::String(Arc::new(given.to_owned()));
    let format = schema
        .filter(|schema| !schema.int_or_string)
        .and_then(|schema| schema.limits.format);
    let reader = match format {
        Some(Format::DateTime) => "timestamp",
        Some(Format::Duration) => "duration",
        Some(Format::Byte) => "base64.decode",
        _ => return plain(),
    };
    expression::read(reader, plain()).unwrap_or_else(plain)
}

/// What every embedded object has.
fn complete(map: &mut HashMap<Key, cel::Value>) {
    let nothing = || cel::Value::String(Arc::default());
    map.entry(Key::from("apiVersion")).or_insert_with(nothing);
    map.entry(Key::from("kind")).or_insert_with(nothing);
    let metadata = Map {
        map: Arc::default(),
    };
    map.entry(Key::from("metadata"))
        .or_insert(cel::Value::Map(metadata));
}

/// The name of a field as it is written in expressions.
pub(super) fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    let mut escaped = name.replace("__", "__underscores__");
    for (letter, word) in [(".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")] {
        escaped = escaped.replace(letter, word);
    }
    escaped
}
