//! Which watcher hears of which change.
//!
//! Watchers are indexed by the narrowest equality of their selection, so a change looks at those that could be
//! concerned and at nobody else: ten thousand agents that each watch their own objects cost a write one look.
//! A watcher that does not read is closed when its buffer is full; its client lists again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::history::{Change, Event};
use crate::object::Object;
use crate::resource::Home;
use crate::selection::field::text_at;
use crate::selection::{Narrowest, Selection};

/// How many changes wait for a watcher before it is closed.
pub const WATCH_BUFFER_EVENTS: usize = 1_024;

/// How many watches a server holds open.
pub(crate) const WATCHES_MAX: usize = 65_536;

/// What a watcher sees.
pub(crate) type Seen = (Change, Arc<Object>);

/// The open watches.
#[derive(Default)]
pub(crate) struct Hub {
    next: u64,
    watchers: BTreeMap<u64, Watcher>,
    homes: BTreeMap<Arc<Home>, Index>,
}

struct Watcher {
    selection: Selection,
    sender: mpsc::Sender<Seen>,
}

/// The watchers of one resource.
#[derive(Default)]
struct Index {
    by: BTreeMap<Narrowest, BTreeSet<u64>>,
    /// The paths by which somebody looks, with how many do.
    paths: BTreeMap<String, usize>,
}

impl Hub {
    /// Opens a watch: a number to close it by and where its changes arrive.
    pub(crate) fn open(&mut self, selection: Selection) -> (u64, mpsc::Receiver<Seen>) {
        let (sender, receiver) = mpsc::channel(WATCH_BUFFER_EVENTS);
        self.next += 1;
        let index = self.homes.entry(selection.home.clone()).or_default();
        index.insert(selection.narrowest(), self.next);
        self.watchers
            .insert(self.next, Watcher { selection, sender });
        (self.next, receiver)
    }

    /// Closes a watch; closing twice is fine.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(watcher) = self.watchers.remove(&id) else {
            return;
        };
        let home = &watcher.selection.home;
        let Some(index) = self.homes.get_mut(home) else {
            return;
        };
        index.remove(&watcher.selection.narrowest(), id);
        if index.by.is_empty() {
            self.homes.remove(home);
        }
    }

    /// Closes every watch.
    pub(crate) fn close_all(&mut self) {
        self.watchers.clear();
        self.homes.clear();
    }

    /// Tells those whom the change concerns, in the order in which they came.
    pub(crate) fn tell(&mut self, event: &Event) {
        let Some(index) = self.homes.get(&event.new.key.home) else {
            return;
        };
        let mut closed = Vec::new();
        for id in index.concerned(event) {
            let watcher = &self.watchers[&id];
            let Some(seen) = event.seen(|object| watcher.selection.matches(object)) else {
                continue;
            };
            if watcher.sender.try_send(seen).is_err() {
                closed.push(id);
            }
        }
        for id in closed {
            self.close(id);
        }
    }

    /// How many watches are open.
    pub(crate) fn len(&self) -> usize {
        self.watchers.len()
    }
}

impl Index {
    fn insert(&mut self, narrowest: Narrowest, id: u64) {
        if let Narrowest::Field(path, _) = &narrowest {
            *self.paths.entry(path.clone()).or_default() += 1;
        }
        self.by.entry(narrowest).or_default().insert(id);
    }

    fn remove(&mut self, narrowest: &Narrowest, id: u64) {
        if let Some(ids) = self.by.get_mut(narrowest) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by.remove(narrowest);
            }
        }
        let Narrowest::Field(path, _) = narrowest else {
            return;
        };
        if let Some(count) = self.paths.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                self.paths.remove(path);
            }
        }
    }

    /// Everybody who might select the object before or after.
    fn concerned(&self, event: &Event) -> BTreeSet<u64> {
        let key = &event.new.key;
        let mut looks = vec![
            Narrowest::All,
            Narrowest::Name(key.name.clone()),
            Narrowest::Namespace(key.namespace.clone()),
        ];
        for object in event.old.iter().chain([&event.new]) {
            let look = |path: &String| {
                Narrowest::Field(path.clone(), text_at(&object.value, path).into_owned())
            };
            looks.extend(self.paths.keys().map(look));
        }
        looks
            .iter()
            .filter_map(|look| self.by.get(look))
            .flatten()
            .copied()
            .collect()
    }
}
