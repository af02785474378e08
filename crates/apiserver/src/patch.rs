//! Patches: changes that are sent instead of a whole object.
//!
//! JSON patch (RFC 6902), merge patch (RFC 7386), and for built-in types strategic merge patch. Server-side apply comes as a
//! patch too, and is another thing: see [`crate::ownership`].

mod operations;
mod strategic;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::decode;
use crate::failure::Failure;
use crate::ownership::Shape;
use crate::query::FieldValidation;
use crate::resource::Resource;

/// Most operations of one JSON patch, as in Kubernetes.
const OPERATIONS_MAX: usize = 10_000;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A parsed patch.
pub(crate) enum Patch {
    /// Operations, one after the other.
    Json(json_patch::Patch),
    /// Fields to set, nulls to remove.
    Merge(Value),
    /// The same, with lists merged by their keys.
    Strategic(Value),
}

/// How a patch is written down.
enum Form {
    Json,
    Merge,
    Strategic,
}

impl Patch {
    /// The patch, with what the client should be warned of.
    pub(crate) fn parse(
        headers: &HeaderMap,
        body: &Bytes,
        resource: &Resource,
        validation: FieldValidation,
    ) -> Result<(Self, Vec<String>), Failure> {
        let form = Form::of(headers, resource)?;
        let (value, warnings) = decode::checked(body, validation)?;
        let patch = match form {
            Form::Json => Self::read_json(value)?,
            Form::Merge => Self::Merge(fields(value)?),
            Form::Strategic => Self::Strategic(fields(value)?),
        };
        Ok((patch, warnings))
    }

    fn read_json(value: Value) -> Result<Self, Failure> {
        let patch: json_patch::Patch = serde_json::from_value(value)
            .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
        if patch.0.len() > OPERATIONS_MAX {
            let given = patch.0.len();
            let message = format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {given}"
            );
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        Ok(Self::Json(patch))
    }

    /// A document of that shape with the patch applied.
    pub(crate) fn apply(&self, mut value: Value, shape: &Shape) -> Result<Value, Failure> {
        match self {
            Self::Json(patch) => return operations::apply(value, patch),
            Self::Merge(patch) => json_patch::merge(&mut value, patch),
            Self::Strategic(patch) => {
                strategic::merge(&mut value, patch, shape).map_err(Failure::bad_request)?
            }
        }
        Ok(value)
    }
}

/// Whether the body is a configuration to apply.
pub(crate) fn applies(headers: &HeaderMap) -> bool {
    decode::content_type(headers) == APPLY
}

impl Form {
    fn of(headers: &HeaderMap, resource: &Resource) -> Result<Self, Failure> {
        match decode::content_type(headers) {
            JSON => Ok(Self::Json),
            MERGE => Ok(Self::Merge),
            // Kubernetes too knows merge keys only of types that it was built with.
            STRATEGIC if resource.is_built_in() => Ok(Self::Strategic),
            other => {
                let strategic = if resource.is_built_in() {
                    format!(", {STRATEGIC}")
                } else {
                    String::new()
                };
                let message = format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     {JSON}, {MERGE}{strategic}, {APPLY}, not {other:?}"
                );
                Err(Failure::unsupported_media_type(message))
            }
        }
    }
}

fn fields(value: Value) -> Result<Value, Failure> {
    match value.is_object() {
        true => Ok(value),
        false => Err(Failure::bad_request("a merge patch must be a JSON object")),
    }
}
