//! Events go an hour after they were last written, or earlier when there are too many. Bootstrap tokens go when they end,
//! requests for certificates a while after they were last written.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use crate::authentication::bootstrap;
use crate::object::{Key, Object, meta_text};
use crate::resource::Home;
use crate::signing;

/// How long an Event stays after its last write, as in Kubernetes.
const EVENT_LASTS: Duration = Duration::from_hours(1);
/// How long a request for a certificate stays that is signed, denied or has failed, as in Kubernetes.
const DECIDED_LASTS: Duration = Duration::from_hours(1);
/// How long one stays that nobody decides about, as in Kubernetes.
const UNDECIDED_LASTS: Duration = Duration::from_hours(24);
/// How many writes of Events are remembered; beyond it the oldest Events go before their time.
const EVENTS_MAX: usize = 10_000;

/// How long an object stays.
#[derive(Clone, Copy)]
enum Lasts {
    /// From its last write on.
    For(Duration),
    Until(Timestamp),
}

/// When what goes by itself, the next one first.
#[derive(Default)]
pub(super) struct Expiry {
    /// Written since the last look, and not yet known when.
    fresh: Vec<(Key, u64, Lasts)>,
    waiting: VecDeque<(Timestamp, Key, u64)>,
    /// What is no Event.
    dated: BTreeSet<(Timestamp, Key, u64)>,
}

/// An object that may be due: it is, if it still has this revision.
pub(super) type Due = (Key, u64);

impl Expiry {
    pub(super) fn note(&mut self, object: &Object) {
        if let Some(lasts) = lasts(object) {
            let (key, revision) = (object.key.clone(), object.revision);
            self.fresh.push((key, revision, lasts));
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
        for (key, revision, lasts) in self.fresh.drain(..) {
            let at = match lasts {
                Lasts::For(time) => now + time,
                Lasts::Until(at) => at,
            };
            match is_event(&key) {
                true => self.waiting.push_back((at, key, revision)),
                false => drop(self.dated.insert((at, key, revision))),
            }
        }
        let mut due = Vec::new();
        while let Some((at, ..)) = self.waiting.front()
            && (*at <= now || self.waiting.len() > EVENTS_MAX)
        {
            let (_, key, revision) = self.waiting.pop_front().expect("there is a front");
            due.push((key, revision));
        }
        while let Some((at, ..)) = self.dated.first()
            && *at <= now
        {
            let (_, key, revision) = self.dated.pop_first().expect("there is a first");
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

/// How long an object stays, if it goes by itself.
fn lasts(object: &Object) -> Option<Lasts> {
    if is_event(&object.key) {
        return Some(Lasts::For(EVENT_LASTS));
    }
    if !signing::is_kept_at(&object.key.home) {
        return bootstrap::ends(object).map(Lasts::Until);
    }
    let status = &object.value["status"];
    let conditions = status["conditions"].as_array();
    let is_decided =
        status["certificate"].is_string() || conditions.is_some_and(|it| !it.is_empty());
    Some(Lasts::For(match is_decided {
        true => DECIDED_LASTS,
        false => UNDECIDED_LASTS,
    }))
}

/// Where Events are.
pub(super) fn home() -> Home {
    Home {
        group: String::new(),
        plural: "events".to_owned(),
    }
}

/// Where everything else is that goes by itself.
pub(super) fn dated_homes() -> [Home; 2] {
    let home = |group: &str, plural: &str| Home {
        group: group.to_owned(),
        plural: plural.to_owned(),
    };
    [home("", "secrets"), home(signing::GROUP, signing::PLURAL)]
}

pub(super) fn is_event(key: &Key) -> bool {
    key.home.group.is_empty() && key.home.plural == "events"
}
