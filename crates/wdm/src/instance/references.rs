//! The ConfigMaps and Secrets that this host's Instances name: read live, and looked at again for changes.
//!
//! An agent may read only those, by name, so it cannot watch them; it asks for each again every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::wdm::{KeySelector, Value};
use api::{Instance, Result};
use futures::stream::{Stream, unfold};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, ResourceExt};
use runtime::{ObjectRef, failed};
use tokio::time::sleep;

/// How soon a changed ConfigMap or Secret is noticed.
const POLL: Duration = Duration::from_secs(3);

/// What the Instances of this host name, and which versions were read.
#[derive(Clone, Debug, Default)]
pub struct References(Arc<Mutex<BTreeMap<ObjectRef, Versions>>>);

/// The version that was read of each named object; `None` if it did not exist.
type Versions = BTreeMap<Name, Option<String>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    ConfigMap(String),
    Secret(String),
}

/// What was read for one Instance.
#[derive(Debug, Default)]
pub struct Read {
    /// ConfigMaps that exist: keys and values.
    pub config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Secrets that exist: keys and values.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl References {
    /// Reads all that an Instance names and remembers the versions.
    pub async fn read(&self, client: &Client, instance: &Instance) -> Result<Read> {
        let namespace = instance.namespace().unwrap_or_default();
        let (mut read, mut versions) = (Read::default(), Versions::new());
        for name in names(instance) {
            let version = match &name {
                Name::ConfigMap(name) => {
                    config_map(client, &namespace, name).await?.map(|object| {
                        let version = object.resource_version();
                        read.config_maps
                            .insert(name.clone(), config_map_values(object));
                        version
                    })
                }
                Name::Secret(name) => secret(client, &namespace, name).await?.map(|object| {
                    let version = object.resource_version();
                    read.secrets.insert(name.clone(), secret_values(object));
                    version
                }),
            };
            versions.insert(name, version.flatten());
        }
        match versions.is_empty() {
            true => self.forget(instance),
            false => {
                self.lock().insert(ObjectRef::of(instance), versions);
            }
        }
        Ok(read)
    }

    /// No longer looks for changes of what an Instance names.
    pub fn forget(&self, instance: &Instance) {
        self.lock().remove(&ObjectRef::of(instance));
    }

    /// The Instances of which something that they name has changed since it was read.
    pub fn changes(&self, client: Client) -> impl Stream<Item = ObjectRef> + Send + 'static {
        let found = BTreeSet::new();
        unfold(
            (self.clone(), client, found),
            |(references, client, mut found)| async move {
                loop {
                    if let Some(instance) = found.pop_first() {
                        return Some((instance, (references, client, found)));
                    }
                    sleep(POLL).await;
                    found = references.changed(&client).await;
                }
            },
        )
    }

    async fn changed(&self, client: &Client) -> BTreeSet<ObjectRef> {
        let known = self.lock().clone();
        let mut changed = BTreeSet::new();
        for (instance, versions) in known {
            let namespace = instance.namespace.clone().unwrap_or_default();
            for (name, version) in versions {
                // An API that does not answer says nothing about a change.
                if let Ok(now) = version_now(client, &namespace, &name).await
                    && now != version
                {
                    changed.insert(instance.clone());
                }
            }
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectRef, Versions>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

fn names(instance: &Instance) -> BTreeSet<Name> {
    let configuration = &instance.spec.configuration;
    let environment = configuration
        .environment
        .iter()
        .map(|variable| &variable.value);
    let files = configuration.files.iter().map(|file| &file.content);
    let name = |value: &Value| match value {
        Value::ConfigMap(KeySelector { name, .. }) => Some(Name::ConfigMap(name.clone())),
        Value::Secret(KeySelector { name, .. }) => Some(Name::Secret(name.clone())),
        Value::Literal { .. } | Value::Fact { .. } => None,
    };
    environment.chain(files).filter_map(name).collect()
}

async fn version_now(client: &Client, namespace: &str, name: &Name) -> Result<Option<String>> {
    Ok(match name {
        Name::ConfigMap(name) => config_map(client, namespace, name)
            .await?
            .and_then(|object| object.resource_version()),
        Name::Secret(name) => secret(client, namespace, name)
            .await?
            .and_then(|object| object.resource_version()),
    })
}

async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Option<ConfigMap>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name)
        .await
        .map_err(failed(format!("read ConfigMap {name}")))
}

async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name)
        .await
        .map_err(failed(format!("read Secret {name}")))
}

fn config_map_values(object: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = object
        .data
        .into_iter()
        .flatten()
        .map(|(key, text)| (key, text.into_bytes()));
    let binary = object
        .binary_data
        .into_iter()
        .flatten()
        .map(|(key, bytes)| (key, bytes.0));
    text.chain(binary).collect()
}

fn secret_values(object: Secret) -> BTreeMap<String, Vec<u8>> {
    object
        .data
        .into_iter()
        .flatten()
        .map(|(key, bytes)| (key, bytes.0))
        .collect()
}
