//! Events go an hour after they were last written, or earlier when there are too many.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::object::{Key, Object, meta_text};
use crate::resource::Home;

/// How long an Event stays after its last write, as in Kubernetes.
const EVENT_LASTS: Duration = Duration::from_hours(1);
/// How many writes of Events are remembered; beyond it the oldest Events go before their time.
const EVENTS_MAX: usize = 10_000;

/// When which Event goes, the next one first.
#[derive(Default)]
pub(super) struct Expiry {
    /// Written since the last look, and not yet known when.
    fresh: Vec<(Key, u64)>,
    waiting: VecDeque<(Timestamp, Key, u64)>,
}

/// An Event that may be due: it is, if it still has this revision.
pub(super) type Due = (Key, u64);

impl Expiry {
    pub(super) fn note(&mut self, object: &Object) {
        if is_event(&object.key) {
            self.fresh.push((object.key.clone(), object.revision));
        }
    }

    /// Those whose time has come, or whose place is needed.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Due> {
        let at = now + EVENT_LASTS;
        // Where the clock went back, nothing stays longer than what is written now.
        let later = self.waiting.iter_mut().rev();
        later
            .take_while(|(until, ..)| *until > at)
            .for_each(|(until, ..)| *until = at);
        self.waiting.extend(
            self.fresh
                .drain(..)
                .map(|(key, revision)| (at, key, revision)),
        );
        let mut due = Vec::new();
        while let Some((at, ..)) = self.waiting.front()
            && (*at <= now || self.waiting.len() > EVENTS_MAX)
        {
            let (_, key, revision) = self.waiting.pop_front().expect("there is a front");
            due.push((key, revision));
        }
        due
    }

    /// Puts what a restart finds into the order in which it was written.
    pub(super) fn restore(&mut self, mut objects: Vec<(Timestamp, Key, u64)>) {
        objects.sort_by_key(|(_, _, revision)| *revision);
        self.waiting.extend(objects);
    }

    /// When an Event goes that was found at a restart: its creation is all that is known.
    pub(super) fn found(object: &Object, now: Timestamp) -> Timestamp {
        let created = meta_text(&object.value, "creationTimestamp")
            .parse()
            .unwrap_or(now);
        created.min(now) + EVENT_LASTS
    }
}

/// Where Events are.
pub(super) fn home() -> Home {
    Home {
        group: String::new(),
        plural: "events".to_owned(),
    }
}

pub(super) fn is_event(key: &Key) -> bool {
    key.home.group.is_empty() && key.home.plural == "events"
}
