//! What a reconciler may touch: the API through a cache, its client, and time.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use api::{Error, ErrorKind, Result};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};

use crate::cache::Cache;
use crate::clock::Clock;
use crate::object::{Kind, KindName, Object, ObjectRef, downcast};

/// The view of one reconciler. Reads come from the cache and may be behind; reading an undeclared kind is an error.
#[derive(Clone)]
pub struct Ctx {
    client: Client,
    clock: Clock,
    cache: Arc<RwLock<Cache>>,
    /// The kinds that this reconciler declared.
    declared: Arc<BTreeSet<KindName>>,
}

impl Ctx {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            cache: Arc::default(),
            declared: Arc::default(),
        }
    }

    /// The same view with other kinds.
    pub(crate) fn declaring(&self, kinds: impl Iterator<Item = KindName>) -> Self {
        Self {
            declared: Arc::new(kinds.collect()),
            ..self.clone()
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The API itself, for what cannot be cached.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// An object; the namespace is ignored for a cluster-scoped kind.
    pub fn get<K: Kind>(&self, namespace: Option<&str>, name: &str) -> Result<Option<Arc<K>>> {
        self.check(&KindName::of::<K>())?;
        Ok(self
            .find(&ObjectRef::new::<K>(namespace, name))
            .and_then(downcast))
    }

    /// All objects of a kind, or those of one namespace, in order of name.
    pub fn list<K: Kind>(&self, namespace: Option<&str>) -> Result<Vec<Arc<K>>> {
        let kind = KindName::of::<K>();
        self.check(&kind)?;
        Ok(self
            .cache()
            .of_kind(&kind, namespace)
            .cloned()
            .filter_map(downcast)
            .collect())
    }

    /// The objects of a kind that name this owner, in order of name.
    pub fn children<K: Kind>(&self, owner: &impl Kind) -> Result<Vec<Arc<K>>> {
        self.check(&KindName::of::<K>())?;
        let uid = owner.meta().uid.as_deref().unwrap_or_default();
        Ok(self
            .cache()
            .owned_by(uid)
            .filter_map(|(_, object)| downcast(object.clone()))
            .collect())
    }

    /// Refuses a kind that this reconciler did not declare.
    pub(crate) fn check(&self, kind: &KindName) -> Result<()> {
        match self.declared.contains(kind) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Internal,
                format!("cannot read {kind}: `uses` does not declare it"),
            )),
        }
    }

    pub(crate) fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().expect("nothing panics under this lock")
    }

    pub(crate) fn cache_mut(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache.write().expect("nothing panics under this lock")
    }

    pub(crate) fn find(&self, name: &ObjectRef) -> Option<Arc<dyn Object>> {
        self.cache().get(name).cloned()
    }

    pub(crate) fn api(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, resource),
            None => Api::all_with(self.client(), resource),
        }
    }

    pub(crate) fn api_of(&self, object: &dyn Object) -> Api<DynamicObject> {
        self.api(&object.resource(), object.metadata().namespace.as_deref())
    }

    /// Where the API serves the object of this name.
    pub(crate) fn api_at(&self, name: &ObjectRef) -> Result<Api<DynamicObject>> {
        self.check(&name.kind)?;
        let resource = self
            .cache()
            .kind(&name.kind)
            .map(|watched| watched.resource.clone());
        let resource = resource.ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("{name} is of no known kind"))
        })?;
        Ok(self.api(&resource, name.namespace.as_deref()))
    }
}
