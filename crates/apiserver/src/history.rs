//! The last changes, in order, so that watches can start in the past and lists can continue on their snapshot.
//!
//! It is bounded: below the oldest kept change everything is "too old", and clients list again.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use crate::failure::Failure;
use crate::object::Object;

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

/// The ring of kept events.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
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

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.new.json.len();
        self.events.push_back(event);
        while self.events.len() > self.limit || self.bytes > HISTORY_BYTES_MAX {
            let oldest = self
                .events
                .pop_front()
                .expect("it is longer than its limit");
            self.bytes -= oldest.new.json.len();
            self.compacted = oldest.revision;
        }
    }

    /// Forgets everything up to now.
    pub(crate) fn compact(&mut self) {
        if let Some(last) = self.events.back() {
            self.compacted = last.revision;
        }
        self.events.clear();
        self.bytes = 0;
    }

    /// The changes after `revision`, oldest first.
    pub(crate) fn since(
        &self,
        revision: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Failure> {
        if revision < self.compacted {
            return Err(Failure::expired(revision, self.compacted));
        }
        let start = self
            .events
            .partition_point(|event| event.revision <= revision);
        Ok(self.events.range(start..))
    }
}
