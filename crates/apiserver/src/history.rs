//! The last changes, in order, so that watches can start in the past and lists can continue on their snapshot.
//!
//! What is kept is text, and read again by the few who ask for it.
//! It is bounded: below the oldest kept change everything is "too old", and clients list again.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::failure::Failure;
use crate::object::{Key, Object};
use crate::resource::Home;

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
            json: object.json.clone(),
        }
    }

    fn read(&self, key: &Key) -> Arc<Object> {
        let value = serde_json::from_slice(&self.json);
        Arc::new(Object {
            key: key.clone(),
            revision: self.revision,
            value: value.expect("it was written from a document"),
            json: self.json.clone(),
        })
    }
}

impl Kept {
    fn of(event: &Event) -> Self {
        Self {
            change: event.change,
            key: event.new.key.clone(),
            old: event.old.as_deref().map(Text::of),
            new: Text::of(&event.new),
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
    compacted: u64,
    limit: usize,
    bytes: usize,
}

impl History {
    pub(crate) fn new(start: u64, limit: usize) -> Self {
        Self {
            events: VecDeque::new(),
            compacted: start,
            limit,
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, event: &Event) {
        self.bytes += event.new.json.len();
        self.events.push_back(Arc::new(Kept::of(event)));
        while self.events.len() > self.limit || self.bytes > HISTORY_BYTES_MAX {
            let oldest = self
                .events
                .pop_front()
                .expect("it is longer than its limit");
            self.bytes -= oldest.new.json.len();
            self.compacted = oldest.new.revision;
        }
    }

    /// Forgets everything up to now.
    pub(crate) fn compact(&mut self) {
        if let Some(last) = self.events.back() {
            self.compacted = last.new.revision;
        }
        self.events.clear();
        self.bytes = 0;
    }

    /// The changes after `revision`, oldest first.
    pub(crate) fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Arc<Kept>>, Failure> {
        if revision < self.compacted {
            return Err(Failure::expired(revision, self.compacted));
        }
        let start = self
            .events
            .partition_point(|event| event.new.revision <= revision);
        Ok(self.events.range(start..))
    }

    /// The changes of one resource after `revision`, oldest first: to be read without the lock.
    pub(crate) fn of(&self, home: &Home, revision: u64) -> Result<Vec<Arc<Kept>>, Failure> {
        let since = self.since(revision)?;
        Ok(since
            .filter(|kept| *kept.key.home == *home)
            .cloned()
            .collect())
    }
}
