//! The API server that lives are lived on, and all that ever happened there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use adapter::faults::Faults;
use apiserver::{Change, Event, Identity, Server};
use http::{Request, Response};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::service;
use super::users::{self, Users};

/// One API with its users; a clone is the same API.
#[derive(Clone)]
pub(super) struct Ground {
    pub faults: Arc<Faults>,
    server: Server,
    pub users: Users,
    records: Arc<Mutex<Records>>,
    in_world: InWorld,
}

/// Whether something in the world still belongs to this uid.
type InWorld = Arc<dyn Fn(&str) -> bool + Send + Sync>;

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
            users: Users::new(server.client(), crds),
            server,
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
        let admin = Identity::admin("controllers");
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
            if self.users.touch(&object).await {
                let uid = text(&object, "/metadata/uid");
                self.records().touched.insert(uid.to_owned());
            }
        }
    }

    /// Objects in which the other writer's work was lost.
    pub fn trampled(&self) -> Vec<String> {
        let records = self.records();
        let touched = records
            .objects
            .iter()
            .filter(|(uid, _)| records.touched.contains(*uid));
        touched
            .filter(|(_, object)| !users::keeps_touch(object))
            .map(|(_, object)| label(object))
            .collect()
    }
}

impl Records {
    fn note(&mut self, event: &Event, in_world: &InWorld) {
        self.revision = event.revision;
        let object = &*event.new.value;
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
