//! Values in expressions: what JSON stands for, by its schema where it has one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kube::core::cel::cel::objects::{Key, Map};
use kube::core::cel::cel::{self, Context, Program};
use serde_json::{Number, Value};

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

/// What a value is in an expression; texts of some formats are read by the functions of the context.
pub(crate) fn value(schema: Option<&Schema>, json: &Value, functions: &Context<'_>) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(given) => number(schema, given),
        Value::String(given) => text(schema, given, functions),
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            let items = list.iter().map(|item| value(items, item, functions));
            cel::Value::List(Arc::new(items.collect()))
        }
        Value::Object(fields) => {
            let is_map = schema.is_none_or(|it| !matches!(it.additional, Additional::Unknown));
            let mut map = HashMap::with_capacity(fields.len());
            for (name, content) in fields {
                let content = value(schema.and_then(|it| it.field(name)), content, functions);
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

fn text(schema: Option<&Schema>, given: &str, functions: &Context<'_>) -> cel::Value {
    let plain = || cel::Value::String(Arc::new(given.to_owned()));
    let format = schema
        .filter(|schema| !schema.int_or_string)
        .and_then(|schema| schema.limits.format);
    let Some(reader) = format.and_then(reader) else {
        return plain();
    };
    let mut scope = functions.new_inner_scope();
    scope.add_variable_from_value("text", plain());
    reader.execute(&scope).unwrap_or_else(|_| plain())
}

/// What reads texts that stand for something else.
fn reader(format: Format) -> Option<&'static Program> {
    static TIME: LazyLock<Program> = LazyLock::new(|| compiled("timestamp(text)"));
    static DURATION: LazyLock<Program> = LazyLock::new(|| compiled("duration(text)"));
    static BYTES: LazyLock<Program> = LazyLock::new(|| compiled("base64.decode(text)"));
    match format {
        Format::DateTime => Some(&TIME),
        Format::Duration => Some(&DURATION),
        Format::Byte => Some(&BYTES),
        _ => None,
    }
}

fn compiled(text: &str) -> Program {
    Program::compile(text).expect("it is an expression")
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
