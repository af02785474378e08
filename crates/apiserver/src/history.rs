//! The last changes, in order, so that watches can start in the past and lists can continue on their snapshot.
//!
//! What is kept is text, and read again by the few who ask for it.
//! It is bounded: below the oldest kept change everything is "too old", and clients list again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::failure::Failure;
use crate::index::Objects;
use crate::object::{Document, Key, Object};
use crate::selection::field::text_at;
use crate::selection::{Narrowest, Selection};
use crate::store::{Loaded, Undo};

/// How many changes a server keeps unless told otherwise.
pub const HISTORY_EVENTS_DEFAULT: usize = 16_384;

/// How many bytes the kept changes may have together.
const HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came to be.
    Added,
    /// It has another state now.
    Modified,
    /// It is gone.
    Deleted,
}

impl Change {
    /// What it is to be set, where something was or not.
    pub(crate) fn of(old: Option<&Arc<Object>>) -> Self {
        match old {
            Some(_) => Self::Modified,
            None => Self::Added,
        }
    }

    /// As in watch events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: u64,
    /// What happened.
    pub change: Change,
    /// The state before, unless it was added.
    pub old: Option<Arc<Object>>,
    /// The state after; of a deleted object its last state at the deletion's revision.
    pub new: Arc<Object>,
    /// The state before at this revision: what a watcher sees whose selector no longer matches.
    left: OnceLock<Arc<Object>>,
}

impl Event {
    pub(crate) fn new(change: Change, old: Option<Arc<Object>>, new: Arc<Object>) -> Self {
        Self {
            revision: new.revision,
            change,
            old,
            new,
            left: OnceLock::new(),
        }
    }

    /// What a watcher sees whose selection is `matches`: nothing, or a change of its own view.
    pub(crate) fn seen(&self, matches: impl Fn(&Object) -> bool) -> Option<(Change, Arc<Object>)> {
        let before = self.old.as_ref().is_some_and(|old| matches(old));
        let after = self.change != Change::Deleted && matches(&self.new);
        match (before, after) {
            (false, true) => Some((Change::Added, self.new.clone())),
            (true, true) => Some((Change::Modified, self.new.clone())),
            (true, false) => Some((Change::Deleted, self.gone())),
            (false, false) => None,
        }
    }

    /// The last state that matched, at the revision of this event.
    fn gone(&self) -> Arc<Object> {
        let Some(old) = self.old.as_ref().filter(|_| self.change != Change::Deleted) else {
            return self.new.clone();
        };
        let left = || {
            Arc::new(Object::at(
                old.key.clone(),
                self.revision,
                old.value.clone(),
            ))
        };
        self.left.get_or_init(left).clone()
    }
}

/// A change as it is kept: as text, a fraction of what the documents take.
#[derive(Debug)]
pub(crate) struct Kept {
    change: Change,
    pub(crate) key: Key,
    old: Option<Text>,
    new: Text,
    /// By which values it is found without being read, before and after, and at which paths they are.
    values: Box<[[Box<str>; 2]]>,
    paths: Arc<[String]>,
}

/// One state of an object.
#[derive(Clone, Debug)]
struct Text {
    revision: u64,
    json: Bytes,
}

impl Text {
    fn of(object: &Object) -> Self {
        Self {
            revision: object.revision,
            json: object.value.text().clone(),
        }
    }

    fn read(&self, key: &Key) -> Arc<Object> {
        Arc::new(Object {
            key: key.clone(),
            revision: self.revision,
            value: Document::of_text(self.json.clone()),
        })
    }
}

impl Kept {
    fn of(event: &Event, paths: Arc<[String]>) -> Self {
        let old = event.old.as_ref().unwrap_or(&event.new);
        let at = |path: &String| [old, &event.new].map(|state| text_at(&state.value, path).into());
        Self {
            change: event.change,
            key: event.new.key.clone(),
            old: event.old.as_deref().map(Text::of),
            new: Text::of(&event.new),
            values: paths.iter().map(at).collect(),
            paths,
        }
    }

    /// Whether it may concern those who look there.
    fn may_concern(&self, looked_at: &Narrowest) -> bool {
        match looked_at {
            Narrowest::All => true,
            Narrowest::Name(name) => *name == self.key.name,
            Narrowest::Namespace(namespace) => *namespace == self.key.namespace,
            Narrowest::Field(path, value) => {
                let known = self.paths.iter().position(|known| known == path);
                known.is_none_or(|n| self.values[n].iter().any(|it| **it == **value))
            }
        }
    }

    /// What undoes it.
    fn undo(&self) -> Undo {
        Undo {
            revision: self.new.revision,
            key: self.key.storage_key(),
            before: self.old.as_ref().map(|old| old.json.clone()),
        }
    }

    /// The state before, unless it was added.
    pub(crate) fn old(&self) -> Option<Arc<Object>> {
        Some(self.old.as_ref()?.read(&self.key))
    }

    /// The change with its documents.
    pub(crate) fn event(&self) -> Event {
        Event::new(self.change, self.old(), self.new.read(&self.key))
    }
}

/// The ring of kept changes.
pub(crate) struct History {
    events: VecDeque<Arc<Kept>>,
    /// Changes up to this revision are forgotten.
    forgotten: u64,
    limit: usize,
    bytes: usize,
}

impl History {
    /// The past that storage has kept, below the objects that are there now. What cannot be read any more is forgotten,
    /// and all before it.
    pub(crate) fn restored(loaded: Loaded, objects: &Objects, limit: usize) -> Self {
        let mut later = BTreeMap::new();
        let mut events = Vec::new();
        let mut forgotten = loaded.forgotten;
        for undo in loaded.changes.into_iter().rev() {
            let revision = undo.revision;
            let Some(event) = undone(undo, &mut later, objects) else {
                tracing::warn!(revision, "a kept change cannot be read and is forgotten");
                forgotten = revision;
                break;
            };
            events.push(event);
        }
        let mut history = Self::new(forgotten, limit);
        for event in events.into_iter().rev() {
            history.push(&event, objects.paths(&event.new.key.home));
        }
        history
    }

    pub(crate) fn new(start: u64, limit: usize) -> Self {
        Self {
            events: VecDeque::new(),
            forgotten: start,
            limit,
            bytes: 0,
        }
    }

    /// Changes up to this revision are forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Keeps a change of an object that is found by the values at these paths.
    pub(crate) fn push(&mut self, event: &Event, paths: Arc<[String]>) {
        self.bytes += event.new.value.text().len();
        self.events.push_back(Arc::new(Kept::of(event, paths)));
        while self.events.len() > self.limit || self.bytes > HISTORY_BYTES_MAX {
            let oldest = self
                .events
                .pop_front()
                .expect("it is longer than its limit");
            self.bytes -= oldest.new.json.len();
            self.forgotten = oldest.new.revision;
        }
    }

    /// Forgets everything up to now.
    pub(crate) fn compact(&mut self) {
        if let Some(last) = self.events.back() {
            self.forgotten = last.new.revision;
        }
        self.events.clear();
        self.bytes = 0;
    }

    /// What undoes each kept change, oldest first.
    pub(crate) fn undos(&self) -> impl Iterator<Item = Undo> {
        self.events.iter().map(|kept| kept.undo())
    }

    /// The changes after `revision`, oldest first.
    pub(crate) fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Arc<Kept>>, Failure> {
        if revision < self.forgotten {
            return Err(Failure::expired(revision, self.forgotten));
        }
        let start = self
            .events
            .partition_point(|event| event.new.revision <= revision);
        Ok(self.events.range(start..))
    }

    /// The changes after `revision` that may concern a selection, oldest first: to be read without the lock. Ten thousand
    /// agents that come back at once each look for their own.
    pub(crate) fn of(
        &self,
        selection: &Selection,
        revision: u64,
    ) -> Result<Vec<Arc<Kept>>, Failure> {
        let (since, looked_at) = (self.since(revision)?, selection.narrowest());
        let concerns =
            |kept: &&Arc<Kept>| *kept.key.home == *selection.home && kept.may_concern(&looked_at);
        Ok(since.filter(concerns).cloned().collect())
    }
}

/// The change that is undone; `later` holds what objects were before the changes after it.
fn undone(
    undo: Undo,
    later: &mut BTreeMap<String, Option<Arc<Object>>>,
    objects: &Objects,
) -> Option<Event> {
    let key = Key::of_storage(&undo.key)?;
    let before = match undo.before {
        Some(json) => Some(Arc::new(Object::of_storage(key.clone(), json)?)),
        None => None,
    };
    let after = match later.insert(undo.key, before.clone()) {
        Some(after) => after,
        None => objects.get(&key),
    };
    let (change, new) = match (&before, after) {
        (None, Some(after)) => (Change::Added, after),
        (Some(_), Some(after)) => (Change::Modified, after),
        (Some(before), None) => {
            let last = Object::at(key, undo.revision, before.value.clone());
            (Change::Deleted, Arc::new(last))
        }
        (None, None) => return None,
    };
    (new.revision == undo.revision).then(|| Event::new(change, before, new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Home;
    use crate::selection::FieldSelector;

    #[test]
    fn only_what_may_concern_a_selection_is_read_again() {
        let home = |plural: &str| {
            Arc::new(Home {
                group: "g".to_owned(),
                plural: plural.to_owned(),
            })
        };
        let things = home("things");
        let object = |home: &Arc<Home>, name: &str, revision, host: &str| {
            let key = Key {
                home: home.clone(),
                namespace: "ns".to_owned(),
                name: name.to_owned(),
            };
            Arc::new(Object::at(
                key,
                revision,
                json!({"spec": {"host": host, "size": 1}}),
            ))
        };
        let paths: Arc<[String]> = Arc::new(["spec.host".to_owned()]);
        let mut history = History::new(0, 10);
        let first = object(&things, "a", 1, "h1");
        let moved = Event::new(
            Change::Modified,
            Some(first.clone()),
            object(&things, "a", 2, "h2"),
        );
        let other = Event::new(Change::Added, None, object(&things, "b", 3, "h3"));
        let elsewhere = Event::new(Change::Added, None, object(&home("others"), "a", 4, "h1"));
        for event in [
            &Event::new(Change::Added, None, first),
            &moved,
            &other,
            &elsewhere,
        ] {
            history.push(event, paths.clone());
        }
        let revisions = |path: &str, value: &str| {
            let fields = FieldSelector::default().and(path, value);
            let selection = Selection {
                fields,
                ..Selection::all(things.clone())
            };
            let kept = history.of(&selection, 0).expect("it is all kept");
            kept.iter()
                .map(|kept| kept.new.revision)
                .collect::<Vec<_>>()
        };
        assert_eq!(revisions("spec.host", "h1"), [1, 2], "it was there before");
        assert_eq!(revisions("spec.host", "h3"), [3]);
        assert_eq!(revisions("metadata.name", "b"), [3]);
        // Nobody knows without reading.
        assert_eq!(revisions("spec.size", "2"), [1, 2, 3]);
    }
}
