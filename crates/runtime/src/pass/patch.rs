//! Patches that carry the version as a value: a stale one is then 409, where a `test` operation would give 422.
//!
//! Own objects are patched and never replaced: their spec may have fields that this binary does not know.

use std::sync::Arc;

use api::{Error, ErrorKind, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::children::gone_is_conflict;
use crate::ctx::Ctx;
use crate::failure::failed;
use crate::object::{Kind, Object, ObjectRef};

/// Patches an object, or a subresource of it, and returns what it then is.
pub(super) async fn patch<K: Kind>(
    ctx: &Ctx,
    object: &K,
    subresource: Option<&str>,
    operations: Vec<Value>,
) -> Result<Arc<K>> {
    let name = object.reference();
    let done = patch_meta(
        &ctx.api_of(object),
        &name,
        object.metadata(),
        subresource,
        operations,
    )
    .await?;
    let typed = serde_json::to_value(done).and_then(serde_json::from_value);
    typed.map(Arc::new).map_err(|error| {
        Error::caused(
            ErrorKind::Internal,
            format!("cannot read back {name}"),
            error,
        )
    })
}

/// Patches what has this name and this version.
pub(super) async fn patch_meta(
    api: &Api<DynamicObject>,
    name: &ObjectRef,
    meta: &ObjectMeta,
    subresource: Option<&str>,
    operations: Vec<Value>,
) -> Result<DynamicObject> {
    let lock = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": meta.resource_version});
    let all: Vec<Value> = [lock].into_iter().chain(operations).collect();
    let patch = Patch::<()>::Json(
        serde_json::from_value(Value::Array(all)).expect("these are patch operations"),
    );
    let params = PatchParams::default();
    let done = match subresource {
        Some(subresource) => {
            api.patch_subresource(subresource, &name.name, &params, &patch)
                .await
        }
        None => api.patch(&name.name, &params, &patch).await,
    };
    done.map_err(failed(format!("write {name}")))
        .map_err(gone_is_conflict)
}
