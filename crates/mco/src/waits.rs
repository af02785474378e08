//! Waits that several kinds share.

use api::Result;
use runtime::{Ctx, Kind, ObjectRef, Wait, deleting};

/// A wait for an object that is named and is not there, or is on its way out.
pub(crate) fn absent<K: Kind>(
    ctx: &Ctx,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Wait>> {
    let reference = ObjectRef::new::<K>(namespace, name);
    Ok(match ctx.get::<K>(namespace, name)? {
        None => Some(Wait::Object(reference, "does not exist".into())),
        Some(object) if deleting(&*object) => {
            Some(Wait::Object(reference, "is being deleted".into()))
        }
        Some(_) => None,
    })
}
