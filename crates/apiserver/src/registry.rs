//! Every resource that a server serves, found by path or by kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::resource::{Home, Resource};
use crate::{builtin, definition};

/// The served resources, in the order of group and plural.
#[derive(Clone)]
pub struct Registry {
    resources: BTreeMap<(String, String), Arc<Resource>>,
    /// What the program itself brings.
    own: Arc<Own>,
}

struct Own {
    crds: Vec<CustomResourceDefinition>,
    definitions: Vec<Value>,
}

impl Registry {
    /// The built-in resources and those of the definitions.
    ///
    /// # Errors
    /// When a definition cannot be served; the text names it.
    pub fn new(crds: &[CustomResourceDefinition]) -> Result<Self, String> {
        Self::made(builtin::resources(), crds)
    }

    /// The same with the kinds of Kubernetes that nothing here runs.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_kubernetes_kinds(crds: &[CustomResourceDefinition]) -> Result<Self, String> {
        let built_in = [builtin::resources(), builtin::kubernetes_kinds()];
        Self::made(built_in.into_iter().flatten().collect(), crds)
    }

    fn made(built_in: Vec<Resource>, crds: &[CustomResourceDefinition]) -> Result<Self, String> {
        let mut resources = BTreeMap::new();
        for resource in built_in {
            resources.insert(
                (resource.group.clone(), resource.plural.clone()),
                Arc::new(resource),
            );
        }
        for crd in crds {
            let name = crd.metadata.name.clone().unwrap_or_default();
            let made = Resource::from_crd(crd);
            let resource =
                made.map_err(|why| format!("cannot serve CustomResourceDefinition {name}: {why}"))?;
            let key = (resource.group.clone(), resource.plural.clone());
            if resources.insert(key, Arc::new(resource)).is_some() {
                return Err(format!(
                    "cannot serve CustomResourceDefinition {name}: its names are taken"
                ));
            }
        }
        let definitions = crds
            .iter()
            .map(serde_json::to_value)
            .collect::<Result<_, _>>();
        Ok(Self {
            resources,
            own: Arc::new(Own {
                crds: crds.to_vec(),
                definitions: definitions.map_err(|error| error.to_string())?,
            }),
        })
    }

    /// The registry of these definitions, shared with whoever asked for the same ones just before: compiling schemas
    /// takes longer than most tests.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn shared(crds: &[CustomResourceDefinition]) -> Result<Arc<Self>, String> {
        static LAST: Mutex<Option<Arc<Registry>>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = last.as_ref().filter(|registry| registry.own.crds == crds) {
            return Ok(registry.clone());
        }
        let registry = Arc::new(Self::new(crds)?);
        *last = Some(registry.clone());
        Ok(registry)
    }

    /// What is served once that definition is as it is now, or is gone.
    pub(crate) fn redefined(&self, old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut next = self.clone();
        // What is built in is nobody's to change.
        let free = |definition: &&Value| {
            let built_in = self.at_home(&definition::home(definition));
            definition::serves(definition) && built_in.is_none_or(|it| !it.is_built_in())
        };
        for definition in old.into_iter().filter(free) {
            let Home { group, plural } = definition::home(definition);
            next.resources.remove(&(group, plural));
        }
        if let Some(definition) = new.filter(free) {
            match definition::resource(definition) {
                Ok(resource) => {
                    let key = (resource.group.clone(), resource.plural.clone());
                    next.resources.insert(key, Arc::new(resource));
                }
                Err(why) => {
                    let name = definition::name(definition);
                    tracing::error!(name, why, "a stored definition cannot be served");
                }
            }
        }
        next
    }

    /// Whether the program itself brings that definition.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        self.own
            .crds
            .iter()
            .any(|crd| crd.metadata.name.as_deref() == Some(name))
    }

    /// The definitions as documents.
    pub(crate) fn definitions(&self) -> &[Value] {
        &self.own.definitions
    }

    /// Every resource, by group and plural.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// The resource behind `/apis/{group}/…/{plural}`.
    #[must_use]
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource whose objects are kept there.
    #[must_use]
    pub fn at_home(&self, home: &Home) -> Option<&Arc<Resource>> {
        self.get(&home.group, &home.plural)
    }

    /// The resource and version of an object's `apiVersion` and `kind`.
    #[must_use]
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<(&Arc<Resource>, String)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = self.all().find(|r| r.group == group && r.kind == kind)?;
        resource
            .version(version)
            .map(|found| (resource, found.name.clone()))
    }

    /// The resource of a kind in a group, whatever the version.
    #[must_use]
    pub fn by_group_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.all().find(|r| r.group == group && r.kind == kind)
    }
}
