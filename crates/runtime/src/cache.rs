//! What the watches have shown: every object of every declared kind, with an index by owner.
//!
//! It may be behind the API at any time. Its order is the order of names, so that two runs are alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::kinds::Watched;
use crate::object::{KindName, Object, ObjectRef, owner_uids};

#[derive(Default)]
pub(crate) struct Cache {
    kinds: BTreeMap<KindName, Watched>,
    objects: BTreeMap<ObjectRef, Arc<dyn Object>>,
    by_owner: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// Objects that exist and do not parse.
    unreadable: BTreeSet<ObjectRef>,
}

impl Cache {
    pub fn declare(&mut self, kind: KindName, watched: Watched) {
        self.kinds.insert(kind, watched);
    }

    pub fn kind(&self, kind: &KindName) -> Option<&Watched> {
        self.kinds.get(kind)
    }

    pub fn get(&self, name: &ObjectRef) -> Option<&Arc<dyn Object>> {
        self.objects.get(name)
    }

    /// All objects of a kind, or those in one namespace.
    pub fn of_kind<'a>(
        &'a self,
        kind: &'a KindName,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<dyn Object>> {
        let first = ObjectRef {
            kind: kind.clone(),
            namespace: namespace.map(str::to_owned),
            name: String::new(),
        };
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(name, _)| name.kind == *kind)
            .take_while(move |(name, _)| {
                namespace.is_none() || name.namespace.as_deref() == namespace
            })
            .map(|(_, object)| object)
    }

    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = (&ObjectRef, &Arc<dyn Object>)> {
        self.by_owner
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|name| self.objects.get_key_value(name))
    }

    /// Takes a new state of an object and returns the one before.
    pub fn set(
        &mut self,
        name: &ObjectRef,
        new: Option<Arc<dyn Object>>,
    ) -> Option<Arc<dyn Object>> {
        self.unreadable.remove(name);
        let old = match new.clone() {
            Some(new) => self.objects.insert(name.clone(), new),
            None => self.objects.remove(name),
        };
        for uid in old.iter().flat_map(|old| owner_uids(old.metadata())) {
            if let Some(names) = self.by_owner.get_mut(uid) {
                names.remove(name);
                if names.is_empty() {
                    self.by_owner.remove(uid);
                }
            }
        }
        for uid in new.iter().flat_map(|new| owner_uids(new.metadata())) {
            self.by_owner
                .entry(uid.to_owned())
                .or_default()
                .insert(name.clone());
        }
        old
    }

    pub fn set_unreadable(&mut self, name: &ObjectRef) {
        self.unreadable.insert(name.clone());
    }

    /// Drops the mark of objects of a kind that a complete list does not call unreadable: it was their last sign of life.
    pub fn keep_unreadable(&mut self, kind: &KindName, listed: &BTreeSet<ObjectRef>) {
        self.unreadable
            .retain(|name| name.kind != *kind || listed.contains(name));
    }

    pub fn is_unreadable(&self, name: &ObjectRef) -> bool {
        self.unreadable.contains(name)
    }

    /// The name of an owner as seen from a child: owners are in the child's namespace or in none.
    pub fn owner(&self, child: &ObjectRef, owner: &OwnerReference) -> ObjectRef {
        let kind = KindName::of_owner(owner);
        let namespaced = self
            .kinds
            .get(&kind)
            .is_none_or(|watched| watched.namespaced);
        let namespace = child.namespace.clone().filter(|_| namespaced);
        ObjectRef {
            kind,
            namespace,
            name: owner.name.clone(),
        }
    }

    /// Whether this owner is there and is not being deleted.
    pub fn lives(&self, child: &ObjectRef, owner: &OwnerReference) -> bool {
        self.objects
            .get(&self.owner(child, owner))
            .is_some_and(|object| {
                let meta = object.metadata();
                meta.deletion_timestamp.is_none() && meta.uid.as_deref() == Some(owner.uid.as_str())
            })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};

    use super::*;

    #[test]
    fn what_a_complete_list_lacks_is_not_unreadable_any_more() {
        let mut cache = Cache::default();
        let [gone, stays] = ["gone", "stays"].map(|name| ObjectRef::new::<ConfigMap>(None, name));
        let other = ObjectRef::new::<Secret>(None, "gone");
        for name in [&gone, &stays, &other] {
            cache.set_unreadable(name);
        }
        cache.keep_unreadable(&KindName::of::<ConfigMap>(), &[stays.clone()].into());
        let unreadable = [&gone, &stays, &other].map(|name| cache.is_unreadable(name));
        assert_eq!(unreadable, [false, true, true]);
    }
}
