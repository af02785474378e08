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

    /// Closes the watches of what is not served any more.
    pub(crate) fn close_home(&mut self, home: &Home) {
        let concerned = self
            .watchers
            .iter()
            .filter(|(_, watcher)| *watcher.selection.home == *home);
        let ids: Vec<u64> = concerned.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(id));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Key;
    use crate::selection::{FieldSelector, LabelSelector};

    const AGENTS: usize = 10_000;

    fn home() -> Arc<Home> {
        Arc::new(Home {
            group: "g".to_owned(),
            plural: "things".to_owned(),
        })
    }

    fn object(name: &str, host: &str) -> Arc<Object> {
        let key = Key {
            home: home(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        };
        let value = json!({"metadata": {"labels": {"host": host}}, "spec": {"host": host}});
        Arc::new(Object::at(key, 1, value))
    }

    fn select(path: &str, value: &str) -> Selection {
        let fields = FieldSelector::default().and(path, value);
        Selection {
            fields,
            ..Selection::all(home())
        }
    }

    fn received(receiver: &mut mpsc::Receiver<Seen>) -> Vec<Change> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|(change, _)| change)
            .collect()
    }

    #[test]
    fn a_change_looks_only_at_those_it_may_concern() {
        let mut hub = Hub::default();
        let mut watches: Vec<_> = (0..AGENTS)
            .map(|n| hub.open(select("spec.host", &format!("h{n}"))))
            .collect();
        let (old, new) = (object("a", "h7"), object("a", "h8"));
        let event = Event::new(Change::Modified, Some(old), new);
        assert_eq!(hub.homes[&home()].concerned(&event).len(), 2);
        hub.tell(&event);
        assert_eq!(received(&mut watches[7].1), [Change::Deleted]);
        assert_eq!(received(&mut watches[8].1), [Change::Added]);
        assert_eq!(received(&mut watches[9].1), []);
        for (id, _) in &watches {
            hub.close(*id);
        }
        assert_eq!(
            (hub.len(), hub.homes.len()),
            (0, 0),
            "closed watches leave nothing"
        );
    }

    #[test]
    fn every_kind_of_selection_hears_its_changes() {
        let mut hub = Hub::default();
        let labels = LabelSelector::parse("host=h1").expect("a selector");
        let selections = [
            Selection::all(home()),
            Selection {
                namespace: Some("ns".to_owned()),
                ..Selection::all(home())
            },
            Selection {
                namespace: Some("other".to_owned()),
                ..Selection::all(home())
            },
            select("metadata.name", "a"),
            select("metadata.name", "b"),
            Selection {
                labels,
                ..Selection::all(home())
            },
        ];
        let mut watches: Vec<_> = selections.map(|selection| hub.open(selection)).into();
        let mut thing = json!({"metadata": {"name": "a", "labels": {"host": "h1"}}});
        thing["spec"]["host"] = "h1".into();
        let object = Arc::new(Object::at(object("a", "h1").key.clone(), 2, thing));
        hub.tell(&Event::new(Change::Added, None, object));
        let heard: Vec<usize> = watches
            .iter_mut()
            .map(|(_, receiver)| received(receiver).len())
            .collect();
        assert_eq!(heard, [1, 1, 0, 1, 0, 1]);
    }
}
