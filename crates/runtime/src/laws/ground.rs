//! The API server that lives are lived on, and what its users do: they are never counted and never fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use adapter::faults::Faults;
use apiserver::{Change, Event, Identity, Server};
use http::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::client::Body;
use serde_json::{Value, json};

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
    records: Arc<Mutex<Records>>,
    in_world: InWorld,
}

/// Whether something in the world still belongs to this uid.
type InWorld = Arc<dyn Fn(&str) -> bool + Send + Sync>;

struct Served {
    resource: ApiResource,
    namespaced: bool,
}

/// What happened so far.
#[derive(Default)]
struct Records {
    /// The revision up to which the server's history was read.
    revision: u64,
    /// Every state that every object ever had.
    states: Vec<Value>,
    /// The objects as they are, by uid.
    objects: BTreeMap<String, Value>,
    /// Objects that went before something of theirs.
    orphaned: Vec<String>,
    /// The uids of the objects that another writer touched.
    touched: BTreeSet<String>,
}

impl Ground {
    pub fn new(
        crds: &[CustomResourceDefinition],
        in_world: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let server = Server::in_memory(crds.to_vec());
        let records = Records {
            revision: server.revision(),
            ..Records::default()
        };
        Self {
            faults: Arc::default(),
            user: server.client(),
            server,
            kinds: Arc::new(built_in().chain(crds.iter().map(served)).collect()),
            records: Arc::new(Mutex::new(records)),
            in_world: Arc::new(in_world),
        }
    }

    /// The client of a process under proof.
    pub fn client(&self, process: &'static str, lag: fn(&str) -> Duration) -> Client {
        service::client(process, self.clone(), lag)
    }

    /// Answers a request of a process and notes at once what came of it.
    pub async fn answer(&self, request: Request<Body>) -> Response<apiserver::Body> {
        let admin = Identity::Admin("controllers".to_owned());
        let answer = self.server.serve(&admin, request).await;
        drop(self.records());
        answer
    }

    /// The records, up to date.
    fn records(&self) -> MutexGuard<'_, Records> {
        let mut records = self.records.lock().expect("never poisoned");
        let events = self.server.events_since(records.revision);
        for event in events.expect("a life is shorter than the kept history") {
            records.note(&event, &self.in_world);
        }
        records
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

    /// All objects of the case's kinds.
    pub fn objects(&self) -> Vec<Value> {
        self.records().objects.values().cloned().collect()
    }

    /// Every state of every object since a mark that an earlier call returned, and the next mark.
    pub fn history(&self, since: usize) -> (Vec<Value>, usize) {
        let records = self.records();
        (records.states[since..].to_vec(), records.states.len())
    }

    /// Objects that went before something of theirs.
    pub fn orphaned(&self) -> Vec<String> {
        self.records().orphaned.clone()
    }

    /// Forgets history, so that every watch must list again.
    pub fn compact(&self) {
        drop(self.records());
        self.server.compact();
    }

    /// Another writer puts a label and a condition on every object.
    pub async fn touch(&self) {
        for object in self.objects() {
            for _ in 0..TRIES_MAX {
                if self.touch_one(&object).await.is_ok() {
                    let uid = text(&object, "/metadata/uid");
                    self.records().touched.insert(uid.to_owned());
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
        let kept = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            object["metadata"]["labels"]["touched"] == "kept"
                && conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == TOUCHED)
        };
        let records = self.records();
        let touched = records
            .objects
            .iter()
            .filter(|(uid, _)| records.touched.contains(*uid));
        touched
            .filter(|(_, object)| !kept(object))
            .map(|(_, object)| label(object))
            .collect()
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

impl Records {
    fn note(&mut self, event: &Event, in_world: &InWorld) {
        self.revision = event.revision;
        let object = &event.new.value;
        self.states.push(object.clone());
        let uid = text(object, "/metadata/uid");
        if event.change != Change::Deleted {
            self.objects.insert(uid.to_owned(), object.clone());
            return;
        }
        self.objects.remove(uid);
        let owns = |child: &Value| {
            let owners = child["metadata"]["ownerReferences"].as_array();
            owners
                .into_iter()
                .flatten()
                .any(|owner| owner["uid"] == uid)
        };
        if self.objects.values().any(owns) || in_world(uid) {
            self.orphaned.push(label(object));
        }
    }
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
