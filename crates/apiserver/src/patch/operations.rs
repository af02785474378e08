//! JSON patches (RFC 6902), one operation after the other.

use json_patch::patch_unsafe;
use serde_json::Value;

use crate::failure::Failure;

/// The document after all operations. When one fails, this copy of the document goes with the refusal: undoing what was
/// done before it, as `json_patch::patch` does, cannot undo a move into the parent of what is moved.
pub(super) fn apply(mut value: Value, patch: &json_patch::Patch) -> Result<Value, Failure> {
    patch_unsafe(&mut value, patch).map_err(|error| {
        let message =
            format!("the server rejected our request due to an error in our request: {error}");
        Failure::new(422, "Invalid", message)
    })?;
    Ok(value)
}
