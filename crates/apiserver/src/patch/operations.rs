//! JSON patches (RFC 6902), one operation after the other, within limits.
//!
//! A few operations can copy a document into itself again and again, so that it doubles each time, or nest it deeper
//! than it can be read back. What is copied and moved is therefore measured before it is placed.

use json_patch::{PatchOperation, patch_unsafe};
use serde_json::Value;

use crate::body::BODY_BYTES_MAX;
use crate::failure::Failure;
use crate::object::{DEPTH_MAX, depth, json_bytes};

/// Bytes that the operations of one patch may copy and move, all together; Kubernetes limits copies likewise.
pub(super) const MOVED_BYTES_MAX: usize = BODY_BYTES_MAX;

/// The document after all operations.
pub(super) fn apply(mut value: Value, patch: &json_patch::Patch) -> Result<Value, Failure> {
    let mut left = MOVED_BYTES_MAX;
    for operation in &patch.0 {
        check(&value, operation, &mut left)?;
        // Undoing, as `json_patch::patch` does, cannot undo a move into the parent of what is moved; this copy of the
        // document goes with the refusal instead.
        patch_unsafe(&mut value, std::slice::from_ref(operation)).map_err(|error| {
            let message =
                format!("the server rejected our request due to an error in our request: {error}");
            Failure::new(422, "Invalid", message)
        })?;
    }
    Ok(value)
}

/// Refuses what would make the document too deep, or copy more than is `left`.
fn check(document: &Value, operation: &PatchOperation, left: &mut usize) -> Result<(), Failure> {
    let (path, placed, moves) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value), false),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value), false),
        PatchOperation::Copy(copy) => (&copy.path, document.pointer(copy.from.as_str()), true),
        PatchOperation::Move(moved) => (&moved.path, document.pointer(moved.from.as_str()), true),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    // What is not there cannot be placed: applying the operation says so.
    let Some(placed) = placed else { return Ok(()) };
    if moves {
        *left = left.checked_sub(json_bytes(placed)).ok_or_else(|| {
            too_large(&format!(
                "the operations of a JSON patch may copy and move at most {MOVED_BYTES_MAX} bytes"
            ))
        })?;
    }
    match path.count() + depth(placed) <= DEPTH_MAX {
        true => Ok(()),
        false => Err(too_large(&format!(
            "a document may be at most {DEPTH_MAX} deep"
        ))),
    }
}

fn too_large(why: &str) -> Failure {
    Failure::new(413, "RequestEntityTooLarge", why)
}
