//! What a reconciler declares to use: the kinds it owns and reads, and whose changes wake which of its objects.
//!
//! Reading a kind that is not declared is an error: it is not watched and would read as "absent".

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kube::api::ApiResource;
use serde_json::Value;

use crate::object::{Kind, KindName, Object, ObjectRef, namespaced};

/// The declarations of one reconciler.
#[derive(Default)]
pub struct Kinds {
    pub(crate) owned: BTreeSet<KindName>,
    pub(crate) watched: BTreeMap<KindName, Watched>,
    pub(crate) mappings: Vec<(KindName, Mapping)>,
    pub(crate) waking_all: BTreeSet<KindName>,
}

/// Which objects of a reconciler a changed object concerns.
pub(crate) type Mapping = Box<dyn Fn(&dyn Object) -> Vec<ObjectRef> + Send + Sync>;

/// How a kind is reached.
#[derive(Clone)]
pub(crate) struct Watched {
    pub resource: ApiResource,
    pub namespaced: bool,
    /// Reads the typed object from its form on the wire.
    pub read: fn(Value) -> serde_json::Result<Arc<dyn Object>>,
}

impl Kinds {
    /// Objects of this kind are made as children; each change of one wakes its owners.
    /// Of the reconcilers of one kind only one may own a kind of children.
    pub fn owns<K: Kind>(&mut self) {
        self.owned.insert(KindName::of::<K>());
        self.reads::<K>();
    }

    /// Objects of this kind are read or waited for.
    pub fn reads<K: Kind>(&mut self) {
        let watched = Watched {
            resource: ApiResource::erase::<K>(&()),
            namespaced: namespaced::<K>(),
            read: |json| Ok(Arc::new(serde_json::from_value::<K>(json)?)),
        };
        self.watched.insert(KindName::of::<K>(), watched);
    }

    /// A change of an object of this kind wakes the objects that it names, both as it was and as it is now.
    /// Only names of the reconciler's own kind count.
    pub fn maps<K: Kind>(&mut self, concerns: fn(&K) -> Vec<ObjectRef>) {
        self.reads::<K>();
        let mapping = move |object: &dyn Object| {
            let object: &dyn Any = object;
            object.downcast_ref::<K>().map(concerns).unwrap_or_default()
        };
        self.mappings.push((KindName::of::<K>(), Box::new(mapping)));
    }

    /// Any change of this kind wakes all objects of the reconciler's kind; a burst of changes wakes each once.
    pub fn wakes_all<K: Kind>(&mut self) {
        self.reads::<K>();
        self.waking_all.insert(KindName::of::<K>());
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinds")
            .field("owned", &self.owned)
            .field("watched", &self.watched.keys())
            .finish()
    }
}
