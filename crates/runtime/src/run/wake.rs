//! What a change wakes: its own object, its owners, whoever waits for it, and whatever the reconcilers declared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::SelectAll;
use tokio::time::Instant;
use tracing::warn;

use super::Runtime;
use crate::object::{KindName, Object, ObjectRef, version};
use crate::watch::{self, Seen, Watch};

/// Changes that wake all objects of a kind are gathered for this time for each object that they wake, so that a few are
/// woken at once and many are not woken all the time.
const GATHER_EACH: Duration = Duration::from_millis(1);
const GATHER_MIN: Duration = Duration::from_millis(10);
const GATHER_MAX: Duration = Duration::from_secs(1);

/// Reconcilers all of whose objects are to be woken, and when.
#[derive(Default)]
pub(super) struct Bursts(BTreeMap<usize, Instant>);

impl Bursts {
    pub fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    fn begin(&mut self, worker: usize, count: impl FnOnce() -> usize) {
        // The first change sets the time, so that a steady stream of changes cannot put it off for ever.
        self.0.entry(worker).or_insert_with(|| {
            let n_woken = u32::try_from(count()).unwrap_or(u32::MAX);
            let gather = GATHER_EACH.saturating_mul(n_woken);
            Instant::now() + gather.clamp(GATHER_MIN, GATHER_MAX)
        });
    }

    fn take_due(&mut self) -> Vec<usize> {
        let now = Instant::now();
        let due: Vec<usize> = self
            .0
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(worker, _)| *worker)
            .collect();
        self.0.retain(|_, at| *at > now);
        due
    }
}

impl Runtime {
    /// Opens one watch per kind, however many reconcilers name it.
    pub(super) fn open_watches(&mut self) -> SelectAll<Watch> {
        let mut kinds = BTreeMap::new();
        for entry in &self.workers {
            kinds.extend(entry.kinds.watched.clone());
        }
        let mut watches = SelectAll::new();
        for (kind, watched) in kinds {
            let fields = self.selected.get(&kind).map(String::as_str);
            let client = self.ctx.client();
            watches.push(watch::open(client, kind.clone(), watched.clone(), fields));
            self.ctx.cache_mut().declare(kind.clone(), watched);
            self.listing.expect(kind);
        }
        watches
    }

    pub(super) fn see(&mut self, kind: KindName, event: Seen) {
        match event {
            Seen::Is(object) => self.changed(object.reference(), Some(object)),
            Seen::Gone(name) => self.changed(name, None),
            Seen::Unreadable(name, problem) => self.unreadable(&name, &problem),
            Seen::ListBegins => self.listing.begin(kind),
            Seen::Listed(object) => {
                self.listing
                    .list(&kind)
                    .objects
                    .insert(object.reference(), object);
            }
            Seen::ListedUnreadable(name, problem) => {
                self.unreadable(&name, &problem);
                self.listing.list(&kind).unreadable.insert(name);
            }
            Seen::ListEnds => self.relisted(&kind),
        }
    }

    /// What the new list lacks was deleted while we could not see it.
    fn relisted(&mut self, kind: &KindName) {
        let list = self.listing.end(kind);
        let there =
            |name: &ObjectRef| list.objects.contains_key(name) || list.unreadable.contains(name);
        let gone: Vec<ObjectRef> = {
            let cache = self.ctx.cache();
            cache
                .of_kind(kind, None)
                .map(|object| object.reference())
                .filter(|name| !there(name))
                .collect()
        };
        for name in gone {
            self.changed(name, None);
        }
        self.ctx.cache_mut().keep_unreadable(kind, &list.unreadable);
        for (name, object) in list.objects {
            self.changed(name, Some(object));
        }
    }

    /// The last state that did parse stays: "absent" would be a lie.
    fn unreadable(&mut self, name: &ObjectRef, problem: &str) {
        warn!(object = %name, problem, "object does not parse");
        self.stats.n_unreadable.add_one();
        self.ctx.cache_mut().set_unreadable(name);
    }

    fn changed(&mut self, name: ObjectRef, object: Option<Arc<dyn Object>>) {
        let old = self.ctx.cache_mut().set(&name, object.clone());
        if let (Some(old), Some(new)) = (&old, &object)
            && version(&**old) == version(&**new)
        {
            return;
        }
        let states: Vec<&dyn Object> = old.iter().chain(&object).map(|state| &**state).collect();
        let owners = self.owners(&name, &states);
        for worker in 0..self.workers.len() {
            let entry = &self.workers[worker];
            if entry.kind == name.kind {
                self.queue
                    .changed(&(worker, name.clone()), object.as_deref());
            }
            if entry.kinds.waking_all.contains(&name.kind) {
                let cache = self.ctx.cache();
                self.bursts
                    .begin(worker, || cache.of_kind(&entry.kind, None).count());
            }
            let mappings = entry
                .kinds
                .mappings
                .iter()
                .filter(|(kind, _)| *kind == name.kind);
            let mapped =
                mappings.flat_map(|(_, mapping)| states.iter().flat_map(|state| mapping(*state)));
            let concerned: BTreeSet<ObjectRef> = owners.iter().cloned().chain(mapped).collect();
            for other in concerned
                .into_iter()
                .filter(|other| other.kind == entry.kind)
            {
                self.queue.wake(&(worker, other), false);
            }
        }
        self.queue.wake_waiters(&name);
    }

    fn owners(&self, name: &ObjectRef, states: &[&dyn Object]) -> Vec<ObjectRef> {
        let cache = self.ctx.cache();
        let owners = states
            .iter()
            .flat_map(|state| state.metadata().owner_references.iter().flatten());
        owners.map(|owner| cache.owner(name, owner)).collect()
    }

    pub(super) fn wake_after_bursts(&mut self) {
        for worker in self.bursts.take_due() {
            let names: Vec<ObjectRef> = {
                let cache = self.ctx.cache();
                cache
                    .of_kind(&self.workers[worker].kind, None)
                    .map(|object| object.reference())
                    .collect()
            };
            for name in names {
                self.queue.wake(&(worker, name), false);
            }
        }
    }
}
