//! Bodies in Kubernetes' protobuf form, which its Go clients send of all kinds that are built in.
//!
//! An envelope names the kind; what is in it is read by a table of messages ([`messages`]) into the same document that a
//! JSON body would be ([`value`]), so that nothing behind the door knows the difference. Answers are JSON, which those
//! clients accept. As in Kubernetes, fields that are not known are passed over, whatever the validation.

mod messages;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::wire::{Content, Fields};
use crate::failure::Failure;
use crate::resource::Resource;

/// What such bodies are said to be.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What they begin with.
const MAGIC: &[u8] = b"k8s\0";

/// Whether objects of that resource have such a form.
pub(crate) fn has_form(resource: &Resource) -> bool {
    resource.is_built_in() && messages::get(&resource.group, &resource.kind).is_some()
}

/// The object in a body.
pub(crate) fn object(resource: &Resource, body: &[u8]) -> Result<Value, Failure> {
    document(&resource.group, &resource.kind, body)
}

/// The options in the body of a deletion.
pub(crate) fn delete_options(body: &[u8]) -> Result<Value, Failure> {
    document("meta", "DeleteOptions", body)
}

fn document(group: &str, kind: &str, body: &[u8]) -> Result<Value, Failure> {
    let refuse = |why: String| Failure::bad_request(format!("the body is no {kind}: {why}"));
    let message = messages::get(group, kind)
        .ok_or_else(|| refuse(format!("{kind} has no protobuf form here")))?;
    let Envelope { mut fields, raw } = Envelope::open(body).map_err(refuse)?;
    // What is said to be something else could be misread.
    if let Some(given) = fields
        .get("kind")
        .filter(|given| !["", kind].contains(&text(given)))
    {
        return Err(refuse(format!("it is said to be a {}", text(given))));
    }
    value::fill(message, raw, &mut fields, 0).map_err(|wrong| refuse(wrong.to_string()))?;
    Ok(Value::Object(fields))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A body without what is around it: `runtime.Unknown` of Kubernetes.
struct Envelope<'a> {
    /// `apiVersion` and `kind`, as far as they are said.
    fields: Map<String, Value>,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn open(body: &'a [u8]) -> Result<Self, String> {
        let Some(content) = body.strip_prefix(MAGIC) else {
            return Err(format!(
                "it must begin with {:?}",
                String::from_utf8_lossy(MAGIC)
            ));
        };
        let mut envelope = Self {
            fields: Map::new(),
            raw: &[],
        };
        for field in Fields::of(content) {
            match field? {
                (1, Content::Bytes(kind)) => envelope.name(kind)?,
                (2, Content::Bytes(raw)) => envelope.raw = raw,
                (3, Content::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err("its content must not be encoded once more".to_owned());
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn name(&mut self, kind: &[u8]) -> Result<(), String> {
        for field in Fields::of(kind) {
            let (name, text) = match field? {
                (1, Content::Bytes(text)) => ("apiVersion", text),
                (2, Content::Bytes(text)) => ("kind", text),
                _ => continue,
            };
            let text = std::str::from_utf8(text).map_err(|error| format!("{name}: {error}"))?;
            self.fields.insert(name.to_owned(), text.into());
        }
        Ok(())
    }
}
