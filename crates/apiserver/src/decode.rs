//! Reading documents from bodies: JSON, bounded in depth and with an eye for fields that are written twice, or what a
//! built-in kind has as protobuf.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::failure::Failure;
use crate::protobuf;
use crate::query::FieldValidation;
use crate::resource::Resource;
use crate::schema::{indexed, join};

/// What a body is unless it says otherwise.
const JSON: &str = "application/json";

/// Most repeated fields that are remembered of one document.
const REPEATED_MAX: usize = 32;

/// An object of that resource, and the fields in it that are written twice.
pub(crate) fn document(
    resource: &Resource,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Value, Vec<String>), Failure> {
    match (content_type(headers), protobuf::has_form(resource)) {
        (JSON | "", _) => read(body),
        (protobuf::MEDIA_TYPE, true) => Ok((protobuf::object(resource, body)?, Vec::new())),
        (given, true) => Err(foreign(given, &[JSON, protobuf::MEDIA_TYPE])),
        (given, false) => Err(foreign(given, &[JSON])),
    }
}

/// The options that stand in the body of a deletion.
pub(crate) fn delete_options(headers: &HeaderMap, body: &Bytes) -> Result<Value, Failure> {
    match content_type(headers) {
        // Said twice, it is not clear how the object is to go.
        JSON | "" => Ok(checked(body, FieldValidation::Strict)?.0),
        protobuf::MEDIA_TYPE => protobuf::delete_options(body),
        given => Err(foreign(given, &[JSON, protobuf::MEDIA_TYPE])),
    }
}

/// A value in JSON, with what the client should be warned of.
pub(crate) fn checked(
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Failure> {
    if validation == FieldValidation::Ignore {
        return Ok((json(body)?, Vec::new()));
    }
    let (value, repeated) = read(body)?;
    if validation == FieldValidation::Strict && !repeated.is_empty() {
        let message = format!("strict decoding error: {}", repeated.join(", "));
        return Err(Failure::bad_request(message));
    }
    Ok((value, repeated))
}

/// What somebody applies: YAML, of which JSON is a part. Also says which key is there twice, if one is.
pub(crate) fn configuration(body: &Bytes) -> Result<(Value, Option<String>), Failure> {
    let refuse = |why| Failure::bad_request(format!("error decoding YAML: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| refuse(error.to_string()))?;
    if text.trim_ascii_start().starts_with('{')
        && let Ok((value, repeated)) = read(body)
    {
        let repeated = match repeated.is_empty() {
            true => None,
            // The other reader may stumble over something else.
            false => repeated_key(text).or(repeated.into_iter().next()),
        };
        return Ok((value, repeated));
    }
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| refuse(error.to_string()))?;
    // Nested no deeper than JSON may be.
    Ok((json(&Bytes::from(value.to_string()))?, repeated_key(text)))
}

/// The first key of a text in YAML that its map has already.
fn repeated_key(text: &str) -> Option<String> {
    match serde_saphyr::from_str::<Value>(text)
        .err()?
        .without_snippet()
    {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let (line, key) = (location.line(), key.as_deref().unwrap_or_default());
            Some(format!("line {line}: key {key:?} already set in map"))
        }
        _ => None,
    }
}

/// Why a body of another type is refused.
fn foreign(given: &str, accepted: &[&str]) -> Failure {
    let accepted = accepted.join(", ");
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}, not {given}"
    );
    Failure::unsupported_media_type(message)
}

/// The media type of the body without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// One JSON value; serde_json refuses what is nested more than 128 deep.
fn json(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(unreadable)
}

/// One JSON value, and the fields in it that are written twice.
fn read(body: &Bytes) -> Result<(Value, Vec<String>), Failure> {
    let repeated = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let node = Node {
        path: String::new(),
        repeated: &repeated,
    };
    let value = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    Ok((value.map_err(unreadable)?, repeated.into_inner()))
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::bad_request(format!("the body is no JSON: {error}"))
}

/// Reads one value at a path.
struct Node<'a> {
    path: String,
    repeated: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn note(&self, field: &str) {
        let mut repeated = self.repeated.borrow_mut();
        if repeated.len() < REPEATED_MAX {
            repeated.push(format!("duplicate field {:?}", join(&self.path, field)));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = {
            let path = indexed(&self.path, values.len());
            list.next_element_seed(Node {
                path,
                repeated: self.repeated,
            })?
        } {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = join(&self.path, &name);
            let value = map.next_value_seed(Node {
                path,
                repeated: self.repeated,
            })?;
            if fields.contains_key(&name) {
                self.note(&name);
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

/// Adds the paths of the fields that a document has and its type, which read it, did not keep.
pub(crate) fn lost(given: &Value, kept: &Value, path: &str, unknown: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (name, content) in given.iter().filter(|(_, content)| !content.is_null()) {
                match kept.get(name) {
                    Some(kept) => lost(content, kept, &join(path, name), unknown),
                    None => unknown.push(join(path, name)),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                lost(given, kept, &indexed(path, index), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(text: &str, validation: FieldValidation) -> Result<(Value, Vec<String>), Failure> {
        checked(&Bytes::copy_from_slice(text.as_bytes()), validation)
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = r#"{"a": [null, true, -1, 18446744073709551615, 1.5, "x", {"b": {}}], "c": []}"#;
        let (value, warnings) = decode(text, FieldValidation::Warn).expect("it is JSON");
        assert_eq!(
            value,
            json!({"a": [null, true, -1, u64::MAX, 1.5, "x", {"b": {}}], "c": []})
        );
        assert!(warnings.is_empty());
    }

    #[test]
    fn repeated_fields_are_named() {
        let text = r#"{"spec": {"a": 1, "list": [{"b": 1, "b": 2}], "a": 2}}"#;
        let (value, warnings) = decode(text, FieldValidation::Warn).expect("the last one counts");
        assert_eq!(value["spec"]["a"], 2);
        assert_eq!(
            warnings,
            [
                r#"duplicate field "spec.list[0].b""#,
                r#"duplicate field "spec.a""#
            ]
        );
        let failure = decode(text, FieldValidation::Strict).expect_err("strict");
        assert!(
            failure
                .message
                .contains(r#"strict decoding error: duplicate field "spec.list[0].b""#)
        );
        decode(text, FieldValidation::Ignore).expect("ignored");
    }

    #[test]
    fn refuses_what_is_no_document() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for bad in ["", "{", "{} x", "nul", &deep] {
            for validation in [FieldValidation::Ignore, FieldValidation::Strict] {
                assert_eq!(decode(bad, validation).expect_err(bad).code, 400);
            }
        }
    }
}
