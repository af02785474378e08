//! An API in memory, users of it, and a process of reconcilers that can be killed at any call.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{Host, crds};
use apiserver::{Identity, Server};
use jiff::Timestamp;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use runtime::{Clock, Kind, Runtime, Task, spawn};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tower::{ServiceExt, service_fn};

use super::world::*;

/// Far more virtual time than anything here takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The API and its user.
#[derive(Clone)]
pub struct Ground {
    server: Server,
    pub user: Client,
    clock: Clock,
}

/// The calls of a process, and the one after which it is killed.
#[derive(Default)]
pub struct Calls {
    n_calls: AtomicUsize,
    last: AtomicUsize,
}

/// A running process.
pub struct Process {
    pub calls: Arc<Calls>,
    _task: Task<()>,
}

impl Ground {
    pub fn new() -> Self {
        let server = Server::in_memory(crds());
        Self {
            user: server.client(),
            server,
            clock: Clock::starting_at(Timestamp::from_second(1_767_225_600).unwrap()),
        }
    }

    /// Creates what decisions are taken on: these hosts, their sites and a pool.
    pub async fn prepare(&self, hosts: &[Host]) {
        self.create(&provider("telco")).await;
        let mut names = Vec::new();
        for host in hosts {
            self.create(&site(host.spec.site.name())).await;
            self.create(host).await;
            names.push(host.name_any());
        }
        let sites: Vec<&str> = hosts.iter().map(|host| host.spec.site.name()).collect();
        self.create(&stack(&sites)).await;
        self.create(&link(sites[0], sites[1])).await;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.create(&pool(&names)).await;
    }

    /// Starts a process; its call number `last` is the last one that it hears of.
    pub fn start(&self, last: usize, build: impl FnOnce(Runtime) -> Runtime) -> Process {
        let calls = Arc::new(Calls::default());
        calls.last.store(last, Ordering::SeqCst);
        let runtime = build(Runtime::new(self.client(calls.clone()), self.clock));
        Process {
            calls,
            _task: spawn(runtime.run(pending())),
        }
    }

    /// A client whose calls take time, are counted, and after the last are done but never answered.
    fn client(&self, calls: Arc<Calls>) -> Client {
        let server = self.server.service_for(Identity::admin("process"));
        let service = service_fn(move |request: http::Request<Body>| {
            let (server, calls) = (server.clone(), calls.clone());
            async move {
                sleep(Duration::from_millis(1)).await;
                let number = calls.n_calls.fetch_add(1, Ordering::SeqCst);
                let last = calls.last.load(Ordering::SeqCst);
                if number > last {
                    return pending().await;
                }
                let answer = server.oneshot(request).await;
                if number == last {
                    return pending().await;
                }
                sleep(Duration::from_millis(1)).await;
                answer.map_err(|never: Infallible| never)
            }
        });
        Client::new(service, "default")
    }

    fn api<K: Kind>(&self, object: &K) -> Api<DynamicObject> {
        let (client, resource) = (self.user.clone(), ApiResource::erase::<K>(&()));
        match object.meta().namespace.as_deref() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }

    /// Creates an object, with its status if it has one.
    pub async fn create<K: Kind>(&self, object: &K) {
        let (api, name) = (self.api(object), object.name_any());
        let mut json = serde_json::to_value(object).unwrap();
        let body = serde_json::from_value(json.clone()).unwrap();
        api.create(&PostParams::default(), &body)
            .await
            .unwrap_or_else(|error| panic!("cannot create {name}: {error}"));
        let status = json["status"].take();
        if !status.is_null() {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
    }

    pub async fn delete<K: Kind>(&self, object: &K) {
        let api = self.api(object);
        api.delete(&object.name_any(), &DeleteParams::background())
            .await
            .unwrap();
    }

    pub async fn get<K: Kind>(&self, object: &K) -> Option<K> {
        let found = self.api(object).get_opt(&object.name_any()).await.unwrap();
        found.map(|found| parsed(&found))
    }

    /// All objects of a kind.
    pub async fn all<K: Kind>(&self) -> Vec<K> {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::all_with(self.user.clone(), &resource);
        let found = api.list(&ListParams::default()).await.unwrap();
        found.items.iter().map(parsed).collect()
    }

    /// Waits until a condition holds and gives what it found.
    pub async fn until<T: Debug>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("never: {what}"),
        }
    }
}

fn parsed<K: Kind>(object: &DynamicObject) -> K {
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}

impl Process {
    /// Whether the process made the call after which it is dead.
    pub fn is_killed(&self) -> bool {
        self.calls.n_calls.load(Ordering::SeqCst) > self.calls.last.load(Ordering::SeqCst)
    }
}
