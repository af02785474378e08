//! One process of reconcilers over an in-memory API, and a user beside it.

use std::sync::Arc;
use std::time::Duration;

use apiserver::Server;
use futures::future::pending;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use runtime::{Clock, Kind, Runtime, Stats, Task, spawn};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::kinds::crds;

/// In virtual time.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Process {
    pub client: Client,
    pub stats: Arc<Stats>,
    _task: Task<()>,
}

impl Process {
    pub fn start(build: impl FnOnce(Runtime) -> Runtime) -> Self {
        Self::serving(crds(), build)
    }

    pub fn serving(
        crds: Vec<CustomResourceDefinition>,
        build: impl FnOnce(Runtime) -> Runtime,
    ) -> Self {
        let client = Server::in_memory(crds).client();
        let start = Timestamp::from_second(1_767_225_600).unwrap();
        let runtime = build(Runtime::new(client.clone(), Clock::starting_at(start)));
        Self {
            client,
            stats: runtime.stats(),
            _task: spawn(runtime.run(pending())),
        }
    }

    pub fn api<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(
        &self,
        object: &K,
    ) -> K {
        self.api()
            .create(&PostParams::default(), object)
            .await
            .unwrap()
    }

    pub async fn merge<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
        patch: Value,
    ) {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub async fn delete<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
    ) {
        let deleted = self.api::<K>().delete(name, &DeleteParams::default()).await;
        deleted.unwrap();
    }

    /// The object, once it is as expected.
    pub async fn until<K>(&self, name: &str, expected: impl Fn(&K) -> bool) -> K
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.api::<K>().get_opt(name).await.unwrap();
            match object {
                Some(object) if expected(&object) => return object,
                object => assert!(Instant::now() < end, "not as expected: {object:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns once the object is gone.
    pub async fn until_gone<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
    ) {
        let end = Instant::now() + PATIENCE;
        while let Some(object) = self.api::<K>().get_opt(name).await.unwrap() {
            assert!(Instant::now() < end, "still there: {object:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns once no pass has begun for a while, with the number of passes so far.
    pub async fn calm(&self) -> usize {
        loop {
            let before = self.stats.n_passes.get();
            sleep(Duration::from_secs(10)).await;
            if self.stats.n_passes.get() == before {
                return before;
            }
        }
    }
}

/// Puts an object of the tests into their namespace.
pub fn placed<K: Kind>(mut object: K) -> K {
    object.meta_mut().namespace = Some("default".into());
    object
}

/// Status and reason of a condition.
pub fn says(conditions: Option<&api::Conditions>, type_: &str) -> Option<(String, String)> {
    let condition = conditions?.get(type_)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

/// The names of objects.
pub fn names<K: ResourceExt>(objects: &[Arc<K>]) -> Vec<String> {
    objects.iter().map(|object| object.name_any()).collect()
}
