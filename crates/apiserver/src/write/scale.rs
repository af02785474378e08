//! Writing the scale of an object: what is sent is about a `Scale`, and what is decided about the object.

use serde_json::Value;

use super::Writing;
use crate::convert::Known;
use crate::failure::Failure;
use crate::object::{Object, meta, meta_mut};
use crate::rules::Admitted;
use crate::scale::Scale;

impl Writing<'_> {
    /// The draft of the next state of an object whose scale is replaced or patched.
    pub(super) fn scale(
        &self,
        scale: &Scale,
        (object, known): (&Object, &Known),
        next: &impl Fn(&Value) -> Result<Value, Failure>,
        patched: bool,
    ) -> Result<Admitted, Failure> {
        let resource = &self.request.resource;
        let before = scale.before(resource, object)?;
        let mut sent = next(&before.value)?;
        // Of all that its metadata says, only which object and which version is meant counts, and that for the object.
        let mut meant = Vec::new();
        for field in ["uid", "resourceVersion"] {
            meant.extend(meta(&sent).get(field).map(|it| (field, it.clone())));
        }
        let owners = meta_mut(&mut sent).remove("managedFields");
        sent["metadata"] = before.value["metadata"].clone();
        if let Some(owners) = owners {
            sent["metadata"]["managedFields"] = owners;
        }
        let written = self.frame(known).redraft(sent, &before, None, patched)?;
        let form = (&**resource, self.request.served());
        let mut value = scale.after(form, object, &written.value)?;
        for (field, meant) in meant {
            value["metadata"][field] = meant;
        }
        let mut draft = self.whole(known).redraft(value, object, None, patched)?;
        draft.warnings.splice(0..0, written.warnings);
        Ok(draft)
    }
}
