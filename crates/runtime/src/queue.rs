//! When each object is looked at next: due times, what is running, back-off, and who waits for whom.
//!
//! It knows nothing of the API. All of it is ordered, so that two runs with the same events are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use api::ErrorKind;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::object::{Object, ObjectRef, version};
use crate::pass::{End, Pass, Patience};
use crate::reconcile::Wait;

/// Passes that act may follow each other at once this often; then they are slowed down, whatever wakes them.
const ACTING_PASSES_MAX: u32 = 8;
/// So many failures in a row may pass unreported: an outage of a moment is not worth two writes per object.
const SILENT_FAILURES_MAX: u32 = 3;
/// A settled object is looked at again after this time, or up to twice this time: the world may have drifted unseen.
const RESYNC: Duration = Duration::from_secs(600);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long the watch may take to show our own writes before we look without it.
const ECHO: Duration = Duration::from_secs(1);

/// One reconciler's interest in one object.
pub(crate) type Key = (usize, ObjectRef);

#[derive(Default)]
pub(crate) struct Queue {
    memory: BTreeMap<Key, Memory>,
    due: BTreeSet<(Instant, Key)>,
    /// Who is woken by a change of an object.
    waiters: BTreeMap<ObjectRef, BTreeSet<Key>>,
}

#[derive(Default)]
struct Memory {
    due: Option<Instant>,
    running: bool,
    /// Something happened while the pass was running.
    again: bool,
    n_failed: u32,
    n_acted: u32,
    /// No event may wake it before; only a new generation does.
    hold: Option<Instant>,
    newest: Option<Arc<dyn Object>>,
    waits: Vec<ObjectRef>,
}

impl Queue {
    /// The time of the next pass.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next key that is due.
    pub fn pop_due(&mut self) -> Option<Key> {
        if self.next()? > Instant::now() {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        if let Some(memory) = self.memory.get_mut(&key) {
            memory.due = None;
        }
        Some(key)
    }

    /// Notes that a pass begins and returns the newest state of its object: our own writes may be ahead of the cache.
    pub fn begin(&mut self, key: &Key, cached: Arc<dyn Object>) -> (Arc<dyn Object>, Patience) {
        let memory = self.memory.entry(key.clone()).or_default();
        memory.running = true;
        let ahead = |newest: &Arc<dyn Object>| {
            version(&**newest) > version(&*cached) && newest.metadata().uid == cached.metadata().uid
        };
        let object = memory.newest.clone().filter(ahead).unwrap_or(cached);
        let patience = Patience {
            with_acting: memory.n_acted < ACTING_PASSES_MAX,
            with_outage: memory.n_failed < SILENT_FAILURES_MAX,
        };
        (object, patience)
    }

    /// Notes how a pass ended and when to look again. Returns whether the object was acted on too often in a row.
    pub fn finish(&mut self, key: &Key, pass: Pass, time: Timestamp) -> bool {
        let now = Instant::now();
        self.wait_for(key, &pass.end);
        let memory = self.memory.entry(key.clone()).or_default();
        memory.running = false;
        memory.newest = pass.newest.or(memory.newest.take());
        memory.n_acted = if matches!(pass.end, End::Acted { .. }) {
            memory.n_acted + 1
        } else {
            0
        };
        memory.n_failed = if matches!(pass.end, End::Failed(_)) {
            memory.n_failed + 1
        } else {
            0
        };
        let delay = memory.delay(key, &pass.end, time);
        let restless = memory.n_acted > ACTING_PASSES_MAX;
        memory.hold = restless.then_some(now + delay);
        if std::mem::take(&mut memory.again) {
            self.wake(key, false);
        }
        self.schedule(key, now + delay);
        restless
    }

    /// Has an object looked at soon. `afresh`: it is another object than before, so back-off does not count.
    pub fn wake(&mut self, key: &Key, afresh: bool) {
        let memory = self.memory.entry(key.clone()).or_default();
        if memory.running {
            memory.again = true;
            return;
        }
        if afresh {
            (memory.hold, memory.n_acted) = (None, 0);
        }
        let now = Instant::now();
        let at = memory.hold.map_or(now, |hold| hold.max(now));
        self.schedule(key, at);
    }

    /// Wakes an object because it changed, unless its last pass saw or made this change.
    pub fn changed(&mut self, key: &Key, object: Option<&dyn Object>) {
        let newest = self
            .memory
            .get(key)
            .and_then(|memory| memory.newest.as_deref());
        match (object, newest) {
            (Some(object), Some(newest)) if version(object) <= version(newest) => {}
            (Some(object), Some(newest)) => {
                let afresh = object.metadata().generation > newest.metadata().generation;
                self.wake(key, afresh);
            }
            _ => self.wake(key, true),
        }
    }

    /// Wakes whoever waits for an object.
    pub fn wake_waiters(&mut self, name: &ObjectRef) {
        for key in self.waiters.get(name).cloned().unwrap_or_default() {
            self.wake(&key, false);
        }
    }

    /// Drops all that is known of an object that is gone.
    pub fn forget(&mut self, key: &Key) {
        self.wait_for(key, &End::Gone);
        if let Some(Memory { due: Some(due), .. }) = self.memory.remove(key) {
            self.due.remove(&(due, key.clone()));
        }
    }

    fn schedule(&mut self, key: &Key, at: Instant) {
        let memory = self.memory.entry(key.clone()).or_default();
        if let Some(due) = memory.due.take_if(|due| *due > at) {
            self.due.remove(&(due, key.clone()));
        }
        if memory.due.is_none() {
            memory.due = Some(at);
            self.due.insert((at, key.clone()));
        }
    }

    fn wait_for(&mut self, key: &Key, end: &End) {
        let memory = self.memory.entry(key.clone()).or_default();
        for name in std::mem::take(&mut memory.waits) {
            if let Some(keys) = self.waiters.get_mut(&name) {
                keys.remove(key);
                if keys.is_empty() {
                    self.waiters.remove(&name);
                }
            }
        }
        let End::Waiting(waits) = end else { return };
        for wait in waits {
            if let Wait::Object(name, _) = wait {
                memory.waits.push(name.clone());
                self.waiters
                    .entry(name.clone())
                    .or_default()
                    .insert(key.clone());
            }
        }
    }
}

impl Memory {
    fn delay(&self, key: &Key, end: &End, time: Timestamp) -> Duration {
        match end {
            End::Gone => RESYNC,
            End::Settled => RESYNC + jitter(key, 0, RESYNC),
            End::Acted { .. } if self.n_acted > ACTING_PASSES_MAX => {
                backoff(self.n_acted - ACTING_PASSES_MAX)
            }
            End::Acted { world: true } => Duration::ZERO,
            End::Acted { world: false } => ECHO,
            End::Waiting(waits) => waits
                .iter()
                .map(|wait| patience(wait, time))
                .min()
                .unwrap_or(RESYNC),
            End::Failed(error) if error.kind == ErrorKind::Conflict => {
                jitter(key, self.n_failed, backoff(self.n_failed))
            }
            End::Failed(_) => backoff(self.n_failed) + jitter(key, self.n_failed, BACKOFF_MIN),
        }
    }
}

/// How long a wait may go without being woken.
fn patience(wait: &Wait, now: Timestamp) -> Duration {
    match wait {
        // A time that is past already must not become a hot loop.
        Wait::Until(time, _) => Duration::try_from(time.duration_since(now))
            .unwrap_or_default()
            .max(BACKOFF_MIN),
        Wait::World(_) | Wait::Unreachable(_) => BACKOFF_MAX,
        Wait::Object(..) => RESYNC,
    }
}

fn backoff(n: u32) -> Duration {
    BACKOFF_MIN
        .saturating_mul(1 << n.clamp(1, 16).saturating_sub(1))
        .min(BACKOFF_MAX)
}

/// Spreads retries of different objects, the same way in every run.
fn jitter(key: &Key, n: u32, range: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, n).hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 1000).expect("a remainder of 1000 is small");
    range * thousandths / 1000
}
