//! What the users of an API do while reconcilers live there: they are never counted and never fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use super::ground::text;

/// What another writer puts on every object that it touches.
const TOUCHED: &str = "Touched";
/// Another writer tries again so often when it meets a conflict.
const TRIES_MAX: usize = 20;

/// The users of one API, and the kinds that they know.
#[derive(Clone)]
pub(super) struct Users {
    pub client: Client,
    pub kinds: Arc<BTreeMap<String, Served>>,
}

/// How a kind is served.
pub(super) struct Served {
    pub resource: ApiResource,
    pub namespaced: bool,
}

impl Users {
    pub fn new(client: Client, crds: &[CustomResourceDefinition]) -> Self {
        let kinds = built_in().chain(crds.iter().map(served));
        Self {
            client,
            kinds: Arc::new(kinds.collect()),
        }
    }

    /// Creates an object or merges it into the one that is there, status included.
    pub async fn apply(&self, object: &Value) {
        let (api, name) = (self.api(object), text(object, "/metadata/name"));
        let there = api
            .get_opt(name)
            .await
            .expect("a user's read succeeds")
            .is_some();
        let done = match there {
            false => {
                api.create(&PostParams::default(), &dynamic(object.clone()))
                    .await
            }
            true => {
                api.patch(name, &PatchParams::default(), &Patch::Merge(object))
                    .await
            }
        };
        done.unwrap_or_else(|error| panic!("a user's write is valid: {error}: {object}"));
        if let Some(status) = object.get("status") {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(name, &PatchParams::default(), &patch)
                .await
                .expect("a user's status is valid");
        }
    }

    pub async fn delete(&self, object: &Value) {
        let gone = self
            .api(object)
            .delete(text(object, "/metadata/name"), &DeleteParams::background())
            .await;
        match gone {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            gone => drop(gone.expect("a user may delete")),
        }
    }

    /// Puts a label and a condition on an object, as another writer; whether it was still there.
    pub async fn touch(&self, object: &Value) -> bool {
        for _ in 0..TRIES_MAX {
            if self.touch_one(object).await.is_ok() {
                return true;
            }
        }
        false
    }

    async fn touch_one(&self, object: &Value) -> kube::Result<()> {
        let (api, name) = (self.api(object), text(object, "/metadata/name"));
        let mut now =
            serde_json::to_value(api.get(name).await?).map_err(kube::Error::SerdeError)?;
        let condition = json!({
            "type": TOUCHED, "status": "True", "reason": "Kept", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        match now["status"]["conditions"].as_array_mut() {
            Some(conditions) if conditions.iter().all(|old| old["type"] != TOUCHED) => {
                conditions.push(condition)
            }
            Some(_) => {}
            None => now["status"]["conditions"] = json!([condition]),
        }
        api.replace_status(name, &PostParams::default(), &dynamic(now))
            .await?;
        let label = Patch::Merge(json!({"metadata": {"labels": {"touched": "kept"}}}));
        api.patch(name, &PatchParams::default(), &label)
            .await
            .map(drop)
    }

    pub fn api(&self, object: &Value) -> Api<DynamicObject> {
        let served = self
            .kinds
            .get(text(object, "/kind"))
            .unwrap_or_else(|| panic!("no CRD for {object}"));
        match served.namespaced {
            true => {
                let namespace = object
                    .pointer("/metadata/namespace")
                    .and_then(Value::as_str)
                    .unwrap_or("default");
                Api::namespaced_with(self.client.clone(), namespace, &served.resource)
            }
            false => Api::all_with(self.client.clone(), &served.resource),
        }
    }
}

/// Whether an object has still what another writer put on it.
pub(super) fn keeps_touch(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    object["metadata"]["labels"]["touched"] == "kept"
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == TOUCHED)
}

/// The kinds that every API serves and that a case may have among its objects.
fn built_in() -> impl Iterator<Item = (String, Served)> {
    let resources = [
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Lease>(&()),
    ];
    resources.into_iter().map(|resource| {
        (
            resource.kind.clone(),
            Served {
                resource,
                namespaced: true,
            },
        )
    })
}

fn served(crd: &CustomResourceDefinition) -> (String, Served) {
    let (names, spec) = (&crd.spec.names, &crd.spec);
    let version = &spec.versions.first().expect("a CRD has a version").name;
    let kind = GroupVersionKind::gvk(&spec.group, version, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
    (
        names.kind.clone(),
        Served {
            resource,
            namespaced: spec.scope == "Namespaced",
        },
    )
}

fn dynamic(object: Value) -> DynamicObject {
    serde_json::from_value(object).expect("a case's objects have the form of objects")
}
