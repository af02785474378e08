//! Lists under way: what a new list lacks is gone, but only once the list is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::object::{KindName, Object, ObjectRef};

/// The lists of all watched kinds.
#[derive(Default)]
pub(super) struct Listing {
    /// Kinds whose first list is not complete.
    unsynced: BTreeSet<KindName>,
    lists: BTreeMap<KindName, List>,
}

/// One list, as far as it has been read.
#[derive(Default)]
pub(super) struct List {
    pub objects: BTreeMap<ObjectRef, Arc<dyn Object>>,
    /// Objects that are there but do not parse.
    pub unreadable: BTreeSet<ObjectRef>,
}

impl Listing {
    pub fn expect(&mut self, kind: KindName) {
        self.unsynced.insert(kind);
    }

    pub fn complete(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub fn begin(&mut self, kind: KindName) {
        self.lists.insert(kind, List::default());
    }

    pub fn list(&mut self, kind: &KindName) -> &mut List {
        self.lists.entry(kind.clone()).or_default()
    }

    pub fn end(&mut self, kind: &KindName) -> List {
        self.unsynced.remove(kind);
        self.lists.remove(kind).unwrap_or_default()
    }
}
