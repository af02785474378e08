//! From the fields of a message to the fields of a JSON document.
//!
//! Kubernetes' JSON differs from protobuf's own: times, quantities and ports have texts of their own, raw JSON stands as it
//! is, and what a client has not set is not there. Every refusal names the field.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Map, Number, Value, json};

use super::messages::{self, Field, Kind, Many, Message};
use super::wire::{Content, Fields};
use crate::object::DEPTH_MAX;
use crate::schema::join;

/// A field that cannot be read.
#[derive(Debug)]
pub(super) struct Wrong {
    path: String,
    why: String,
}

impl Wrong {
    fn because(why: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            why: why.into(),
        }
    }

    fn under(mut self, name: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => name.to_owned(),
            path => join(name, path),
        };
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.why),
            path => write!(f, "{path}: {}", self.why),
        }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::because(why)
    }
}

/// Adds the fields of a message to those of a document, in which it stands at that depth.
pub(super) fn fill(
    message: &Message,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Wrong> {
    if depth >= DEPTH_MAX {
        return Err(Wrong::because(format!(
            "it is nested more than {DEPTH_MAX} deep"
        )));
    }
    for field in Fields::of(bytes) {
        let (number, content) = field?;
        let Some(field) = message.field(number) else {
            continue;
        };
        match field.name {
            Some(name) => {
                add(field, name, content, into, depth + 1).map_err(|it| it.under(name))?
            }
            None => fill(nested(field.kind)?, of_bytes(content)?, into, depth + 1)?,
        }
    }
    Ok(())
}

/// Adds one value of a field; several of a message that stands once are one, as in protobuf.
fn add(
    field: &Field,
    name: &str,
    content: Content<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Wrong> {
    match (field.many, field.kind) {
        (Many::List, kind) => {
            let value = value(kind, content, depth + 1)?;
            if let Some(list) = into.entry(name).or_insert_with(|| json!([])).as_array_mut() {
                list.push(value);
            }
        }
        (Many::Map, kind) => {
            let (key, value) = entry(kind, of_bytes(content)?, depth + 1)?;
            if let Some(all) = into
                .entry(name)
                .or_insert_with(|| json!({}))
                .as_object_mut()
            {
                all.insert(key, value);
            }
        }
        (Many::One, kind) => {
            let value = match (kind, into.remove(name)) {
                (Kind::Message(..), Some(Value::Object(fields))) => {
                    object(nested(kind)?, of_bytes(content)?, fields, depth)?
                }
                (kind, _) => value(kind, content, depth)?,
            };
            if field.may_be_empty || !is_unset(kind, &value) {
                into.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// What clients write of a field that they have not set.
fn is_unset(kind: Kind, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => kind == Kind::Bool && !truth,
        Value::Number(number) => {
            matches!(kind, Kind::Int | Kind::Float) && number.as_f64() == Some(0.0)
        }
        Value::String(text) => matches!(kind, Kind::Text | Kind::Bytes) && text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// One entry of a map, which is a message of key and value.
fn entry(kind: Kind, bytes: &[u8], depth: usize) -> Result<(String, Value), Wrong> {
    let (mut key, mut content) = (String::new(), None);
    for field in Fields::of(bytes) {
        match field? {
            (1, name) => key = text(name)?.to_owned(),
            (2, value) => content = Some(value),
            _ => {}
        }
    }
    let content = content.unwrap_or(match kind {
        Kind::Bool | Kind::Int => Content::Varint(0),
        Kind::Float => Content::Fixed(0),
        _ => Content::Bytes(&[]),
    });
    let value = value(kind, content, depth).map_err(|wrong| wrong.under(&key))?;
    Ok((key, value))
}

fn value(kind: Kind, content: Content<'_>, depth: usize) -> Result<Value, Wrong> {
    Ok(match kind {
        Kind::Text => text(content)?.into(),
        Kind::Bool => (of_varint(content)? != 0).into(),
        Kind::Int => of_varint(content)?.cast_signed().into(),
        Kind::Float => float(content)?,
        Kind::Bytes => json!(ByteString(of_bytes(content)?.to_vec())),
        Kind::Time => time(of_bytes(content)?, false)?,
        Kind::MicroTime => time(of_bytes(content)?, true)?,
        Kind::Quantity => quantity(of_bytes(content)?)?,
        Kind::IntOrString => int_or_string(of_bytes(content)?)?,
        Kind::Json => raw(of_bytes(content)?)?,
        Kind::Message(..) => object(nested(kind)?, of_bytes(content)?, Map::new(), depth)?,
    })
}

/// A message that goes on from these fields.
fn object(
    message: &Message,
    bytes: &[u8],
    mut fields: Map<String, Value>,
    depth: usize,
) -> Result<Value, Wrong> {
    fill(message, bytes, &mut fields, depth)?;
    if !message.one_of {
        return Ok(Value::Object(fields));
    }
    let last = message.fields().rev().filter_map(|field| field.name);
    let mut last = last.filter_map(|name| fields.remove(name));
    Ok(last.next().unwrap_or(Value::Null))
}

fn nested(kind: Kind) -> Result<&'static Message, Wrong> {
    let message = match kind {
        Kind::Message(group, name) => messages::get(group, name),
        _ => None,
    };
    message.ok_or_else(|| Wrong::because("it is no message"))
}

/// Seconds and nanoseconds. Kubernetes too leaves away what its JSON does not show.
fn time(bytes: &[u8], micro: bool) -> Result<Value, Wrong> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, content) => seconds = of_varint(content)?.cast_signed(),
            (2, content) => nanos = of_varint(content)?.cast_signed(),
            _ => {}
        }
    }
    let nanos = i32::try_from(if micro { nanos } else { 0 });
    let nanos = nanos.map_err(|error| error.to_string())?;
    let time = Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    Ok(match micro {
        true => format!("{time:.6}").into(),
        false => time.to_string().into(),
    })
}

fn quantity(bytes: &[u8]) -> Result<Value, Wrong> {
    let mut amount = "0".to_owned();
    for field in Fields::of(bytes) {
        if let (1, content) = field? {
            amount = text(content)?.to_owned();
        }
    }
    Ok(amount.into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Wrong> {
    let (mut is_text, mut number, mut name) = (false, 0, "");
    for field in Fields::of(bytes) {
        match field? {
            (1, content) => is_text = of_varint(content)? == 1,
            (2, content) => number = of_varint(content)?.cast_signed(),
            (3, content) => name = text(content)?,
            _ => {}
        }
    }
    Ok(match is_text {
        true => name.into(),
        false => number.into(),
    })
}

/// A document that stands as text in the first field of a message; null if there is none.
fn raw(bytes: &[u8]) -> Result<Value, Wrong> {
    let mut document = Value::Null;
    for field in Fields::of(bytes) {
        if let (1, content) = field? {
            document = match of_bytes(content)? {
                [] => Value::Null,
                json => serde_json::from_slice(json)
                    .map_err(|error| format!("it must hold JSON: {error}"))?,
            };
        }
    }
    Ok(document)
}

fn float(content: Content<'_>) -> Result<Value, Wrong> {
    let Content::Fixed(bits) = content else {
        return Err(Wrong::because("it must be a number of fixed length"));
    };
    let number = Number::from_f64(f64::from_bits(bits));
    let number = number.ok_or_else(|| Wrong::because("it must be a finite number"))?;
    Ok(number.into())
}

fn text(content: Content<'_>) -> Result<&str, Wrong> {
    Ok(std::str::from_utf8(of_bytes(content)?).map_err(|error| error.to_string())?)
}

fn of_bytes(content: Content<'_>) -> Result<&[u8], Wrong> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Varint(_) | Content::Fixed(_) => Err(Wrong::because("it must have a length")),
    }
}

fn of_varint(content: Content<'_>) -> Result<u64, Wrong> {
    match content {
        Content::Varint(number) => Ok(number),
        Content::Bytes(_) | Content::Fixed(_) => {
            Err(Wrong::because("it must be a number of variable length"))
        }
    }
}
