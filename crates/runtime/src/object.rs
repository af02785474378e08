//! What an object is to the harness: a typed value, the same value with its type erased, and a name for either.
//!
//! The cache, plans and comparisons share the erased form, so that an object is parsed once and never compared as JSON.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::ApiResource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a type must offer to be read, reconciled or owned; the kube derive and the built-in kinds give all of it.
pub trait Kind:
    Resource<DynamicType = (), Scope: 'static>
    + Serialize
    + DeserializeOwned
    + Clone
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope: 'static>
        + Serialize
        + DeserializeOwned
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// Whether objects of this kind live in namespaces.
pub(crate) fn namespaced<K: Kind>() -> bool {
    TypeId::of::<K::Scope>() != TypeId::of::<ClusterResourceScope>()
}

/// Whether the object is being deleted and only waits for its finalizers.
pub fn deleting(object: &impl Kind) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Names a kind: two API groups may use the same word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindName {
    /// The word, such as `Host`.
    pub kind: Cow<'static, str>,
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
}

impl KindName {
    /// The name of a type's kind.
    pub fn of<K: Kind>() -> Self {
        Self {
            kind: K::kind(&()),
            group: K::group(&()),
        }
    }

    /// The kind that an owner reference names.
    pub(crate) fn of_owner(owner: &OwnerReference) -> Self {
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        Self {
            kind: owner.kind.clone().into(),
            group: group.to_owned().into(),
        }
    }

    /// The finalizer of the reconciler that owns the kind.
    pub fn finalizer(&self) -> String {
        format!("groma.dev/{}", self.kind.to_lowercase())
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// Names an object of any kind, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind.
    pub kind: KindName,
    /// The namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object; the namespace is dropped for a cluster-scoped kind.
    pub fn new<K: Kind>(namespace: Option<&str>, name: &str) -> Self {
        let namespace = namespace.filter(|_| namespaced::<K>());
        Self {
            kind: KindName::of::<K>(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// The name of an object that is at hand.
    pub fn of(object: &impl Kind) -> Self {
        object.reference()
    }

    /// Whether it names an object of this type.
    pub fn is<K: Kind>(&self) -> bool {
        self.kind == KindName::of::<K>()
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A typed object whose type was erased.
pub trait Object: Any + Send + Sync + fmt::Debug {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Where the API serves its kind.
    fn resource(&self) -> ApiResource;
    /// Its name.
    fn reference(&self) -> ObjectRef;
    /// Its form on the wire.
    fn json(&self) -> Value;
    /// A copy with changed metadata.
    fn with_meta(&self, change: &dyn Fn(&mut ObjectMeta)) -> Arc<dyn Object>;
}

impl<K: Kind> Object for K {
    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }

    fn resource(&self) -> ApiResource {
        ApiResource::erase::<K>(&())
    }

    fn reference(&self) -> ObjectRef {
        let meta = self.meta();
        ObjectRef::new::<K>(
            meta.namespace.as_deref(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a derived kind always serialises")
    }

    fn with_meta(&self, change: &dyn Fn(&mut ObjectMeta)) -> Arc<dyn Object> {
        let mut copy = self.clone();
        change(copy.meta_mut());
        Arc::new(copy)
    }
}

/// The typed form of an erased object, if it is of this type.
pub(crate) fn downcast<K: Kind>(object: Arc<dyn Object>) -> Option<Arc<K>> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object.downcast().ok()
}

/// The version as a number: those of one kind can be compared (Kubernetes 1.35, KEP-5504).
pub(crate) fn version(object: &dyn Object) -> u64 {
    object
        .metadata()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// The uids of the owners of an object.
pub(crate) fn owner_uids(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    meta.owner_references
        .iter()
        .flatten()
        .map(|owner| owner.uid.as_str())
}
