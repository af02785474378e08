//! Patches: changes that are sent instead of a whole object.
//!
//! JSON patch (RFC 6902), merge patch (RFC 7386), and for built-in types strategic merge patch. Server-side apply is
//! refused with a clear answer.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::decode;
use crate::failure::{Cause, Failure};
use crate::resource::Resource;

/// Most operations of one JSON patch, as in Kubernetes.
const OPERATIONS_MAX: usize = 10_000;

/// A parsed patch.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
}

impl Patch {
    pub(crate) fn parse(
        headers: &HeaderMap,
        body: &Bytes,
        _resource: &Resource,
    ) -> Result<Self, Failure> {
        match decode::content_type(headers) {
            "application/json-patch+json" => Self::parse_json(body),
            "application/merge-patch+json" => Ok(Self::Merge(decode::json(body)?)),
            other => Err(Failure::unsupported_media_type(format!(
                "patches of type {other:?} are not supported"
            ))),
        }
    }

    fn parse_json(body: &Bytes) -> Result<Self, Failure> {
        let patch: json_patch::Patch = serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
        if patch.0.len() > OPERATIONS_MAX {
            let message = format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                patch.0.len()
            );
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        Ok(Self::Json(patch))
    }

    /// The document with the patch applied.
    pub(crate) fn apply(
        &self,
        mut value: Value,
        resource: &Resource,
        name: &str,
    ) -> Result<Value, Failure> {
        match self {
            Self::Json(patch) => {
                json_patch::patch(&mut value, patch).map_err(|error| {
                    let cause = Cause::invalid("patch", &Value::Null, &error.to_string());
                    let mut failure = Failure::invalid(resource, name, &[cause]);
                    failure.message = format!(
                        "the server rejected our request due to an error in our request: {error}"
                    );
                    failure
                })?;
            }
            Self::Merge(patch) => json_patch::merge(&mut value, patch),
        }
        Ok(value)
    }
}
