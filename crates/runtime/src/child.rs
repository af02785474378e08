//! Children: objects that a plan wants to exist, with deterministic names and with their parent as owner.
//!
//! A child is compared with what exists by its typed spec, by the labels that the plan puts on it and by its owners;
//! whatever else others write on it stays.

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::object::HasSpec;

use crate::object::{Kind, Object, ObjectRef, namespaced};

/// Lets the children of an owner be listed in one call: `owner.groma.dev/<uid of the owner>=<its kind>`.
const OWNER_LABEL: &str = "owner.groma.dev/";

/// An object that a plan wants, without owners: the harness fills these in.
#[derive(Clone, Debug)]
pub struct Child {
    object: Arc<dyn Object>,
    same_spec: fn(&dyn Object, &dyn Object) -> bool,
    also_owned_by: Vec<OwnerReference>,
    stage: u32,
}

/// A child named after its owner; the name depends on nothing but the owner and the suffix.
pub fn child<K>(owner: &impl Kind, suffix: impl Display, build: impl FnOnce(&str) -> K) -> Child
where
    K: Kind + HasSpec<Spec: PartialEq>,
{
    let name = owner.meta().name.as_deref().unwrap_or_default();
    Child::named(owner, build(&format!("{name}-{suffix}")))
}

impl Child {
    /// A child that brings its own name. A namespaced one without a namespace gets that of its owner.
    pub fn named<K>(owner: &impl Kind, mut object: K) -> Self
    where
        K: Kind + HasSpec<Spec: PartialEq>,
    {
        let own = object
            .meta()
            .namespace
            .clone()
            .or_else(|| owner.meta().namespace.clone());
        object.meta_mut().namespace = own.filter(|_| namespaced::<K>());
        Self {
            object: Arc::new(object),
            same_spec: same_spec::<K>,
            also_owned_by: Vec::new(),
            stage: 0,
        }
    }

    /// Adds an owner beside the parent, which alone stays its controller.
    pub fn also_owned_by(mut self, owner: &impl Kind) -> Self {
        self.also_owned_by.extend(owner.owner_ref(&()));
        self
    }

    /// Orders the removal: while the parent is being deleted, children of a later stage go before those of an earlier
    /// one. All begin in stage 0, and come to be at once whatever their stage.
    pub fn in_stage(mut self, stage: u32) -> Self {
        self.stage = stage;
        self
    }

    /// The stage in which it goes.
    pub(crate) fn stage(&self) -> u32 {
        self.stage
    }

    /// Its name.
    pub fn reference(&self) -> ObjectRef {
        self.object.reference()
    }

    /// The wanted object, if it is of this type.
    pub fn object<K: Kind>(&self) -> Option<&K> {
        (&*self.object as &dyn Any).downcast_ref()
    }

    /// The object to create for this parent.
    pub(crate) fn owned(&self, parent: &OwnerReference) -> Arc<dyn Object> {
        self.object.with_meta(&|meta| self.mark(meta, parent))
    }

    /// Whether an existing object is as wanted.
    pub(crate) fn matches(&self, existing: &dyn Object, parent: &OwnerReference) -> bool {
        let mut wanted = existing.metadata().clone();
        self.mark(&mut wanted, parent);
        wanted == *existing.metadata() && (self.same_spec)(&*self.object, existing)
    }

    /// The existing object with what is wanted of it; its uid and version go along as the lock.
    pub(crate) fn updated(
        &self,
        existing: &dyn Object,
        parent: &OwnerReference,
    ) -> serde_json::Value {
        let mut body = existing.with_meta(&|meta| self.mark(meta, parent)).json();
        body["spec"] = self.object.json()["spec"].take();
        body
    }

    /// Puts the wanted owners and labels on metadata and leaves the labels of others.
    fn mark(&self, meta: &mut ObjectMeta, parent: &OwnerReference) {
        let owners: Vec<_> = [parent]
            .into_iter()
            .chain(&self.also_owned_by)
            .cloned()
            .collect();
        let labels = meta.labels.get_or_insert_default();
        labels.retain(|label, _| !label.starts_with(OWNER_LABEL));
        labels.extend(self.object.metadata().labels.clone().unwrap_or_default());
        labels.extend(
            owners
                .iter()
                .map(|owner| (format!("{OWNER_LABEL}{}", owner.uid), owner.kind.clone())),
        );
        meta.owner_references = Some(owners);
    }
}

/// Compares as types, never as JSON: the server adds defaults and drops nulls, and JSON would differ for ever.
fn same_spec<K>(wanted: &dyn Object, existing: &dyn Object) -> bool
where
    K: Kind + HasSpec<Spec: PartialEq>,
{
    let typed = |object: &dyn Object| (object as &dyn Any).downcast_ref::<K>().cloned();
    match (typed(wanted), typed(existing)) {
        (Some(wanted), Some(existing)) => wanted.spec() == existing.spec(),
        _ => false,
    }
}

/// Selects the children of an owner.
pub(crate) fn owned_selector(uid: &str, kind: &str) -> String {
    format!("{OWNER_LABEL}{uid}={kind}")
}
