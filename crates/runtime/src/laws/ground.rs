//! The API server that lives are lived on, and what its users do: they are never counted and never fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter::faults::Faults;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use super::server::Server;
use super::service;

/// What another writer puts on every object that it touches.
const TOUCHED: &str = "Touched";
/// Another writer tries again so often when it meets a conflict.
const TRIES_MAX: usize = 20;

/// One API with its users; a clone is the same API.
#[derive(Clone)]
pub(super) struct Ground {
    pub faults: Arc<Faults>,
    server: Server,
    user: Client,
    kinds: Arc<BTreeMap<String, Served>>,
    /// The uids of the objects that another writer touched.
    touched: Arc<Mutex<BTreeSet<String>>>,
}

struct Served {
    resource: ApiResource,
    namespaced: bool,
}

impl Ground {
    pub fn new(
        crds: &[CustomResourceDefinition],
        in_world: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let server = Server::new(in_world);
        Self {
            faults: Arc::default(),
            user: Client::new(server.clone().service(), "default"),
            server,
            kinds: Arc::new(crds.iter().map(served).collect()),
            touched: Arc::default(),
        }
    }

    /// The client of a process under proof.
    pub fn client(&self, process: &'static str, lag: fn(&str) -> Duration) -> Client {
        service::client(
            process,
            self.server.clone().service(),
            self.faults.clone(),
            lag,
        )
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

    /// All objects, in order of kind and name.
    pub fn objects(&self) -> Vec<Value> {
        self.server.objects()
    }

    /// Every state of every object since a mark that an earlier call returned, and the next mark.
    pub fn history(&self, since: usize) -> (Vec<Value>, usize) {
        self.server.history(since)
    }

    /// Objects that went before something of theirs.
    pub fn orphaned(&self) -> Vec<String> {
        self.server.orphaned()
    }

    /// Forgets history, so that every watch must list again.
    pub fn compact(&self) {
        self.server.compact();
    }

    /// Another writer puts a label and a condition on every object.
    pub async fn touch(&self) {
        for object in self.objects() {
            for _ in 0..TRIES_MAX {
                if self.touch_one(&object).await.is_ok() {
                    self.touched
                        .lock()
                        .expect("never poisoned")
                        .insert(text(&object, "/metadata/uid").to_owned());
                    break;
                }
            }
        }
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

    /// Objects in which the other writer's work was lost.
    pub fn trampled(&self) -> Vec<String> {
        let touched = self.touched.lock().expect("never poisoned");
        let kept = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            object["metadata"]["labels"]["touched"] == "kept"
                && conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == TOUCHED)
        };
        let objects = self.objects();
        let lost = objects
            .iter()
            .filter(|object| touched.contains(text(object, "/metadata/uid")) && !kept(object));
        lost.map(label).collect()
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
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
                Api::namespaced_with(self.user.clone(), namespace, &served.resource)
            }
            false => Api::all_with(self.user.clone(), &served.resource),
        }
    }
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

/// Kind and name, for messages.
pub(super) fn label(object: &Value) -> String {
    format!(
        "{} {}",
        text(object, "/kind"),
        text(object, "/metadata/name")
    )
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
