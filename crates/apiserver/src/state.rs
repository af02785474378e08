//! What a server knows: the visible objects, the writes on their way to storage, the kept history and the watches.
//!
//! Three stages of a write: *decided* (it has a revision, and later writes build on it), *durable* (storage said so),
//! *visible* (reads and watches show it). A write becomes visible only once it is durable, and in revision order.
//! Everything here is synchronous and runs under one lock; nothing waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::access::rbac;
use crate::admission;
use crate::authentication::certificate;
use crate::collect::Collector;
use crate::definition;
use crate::history::{Change, Event, History};
use crate::hub::Hub;
use crate::index::Objects;
use crate::object::{Key, Object};
use crate::quota::{self, Tally};
use crate::resource::Home;
use crate::selection::Selection;
use crate::store::{self, BATCHES_MAX, Batch, Limits, Write};

/// Resolves once a revision is durable and visible.
pub(crate) type Visible = oneshot::Receiver<Result<(), store::Error>>;
type Waiter = oneshot::Sender<Result<(), store::Error>>;

pub(crate) struct State {
    /// The revision of the last decided write.
    decided: u64,
    /// The revision up to which writes are visible.
    visible: u64,
    pub(crate) objects: Objects,
    /// Decided and not yet visible, by key: what later writes build on.
    pending: BTreeMap<Key, (u64, Option<Arc<Object>>)>,
    /// Decided and not yet visible, by revision.
    in_flight: BTreeMap<u64, Arc<Event>>,
    /// Decided and not yet submitted to storage.
    outbox: VecDeque<Write>,
    /// What storage takes at once.
    limits: Limits,
    /// The revision of the last submitted batch.
    submitted: u64,
    /// Whether somebody is submitting just now.
    pub(crate) submitting: bool,
    /// Submitted batches that storage has not decided about.
    unanswered: usize,
    waiters: BTreeMap<u64, Vec<Waiter>>,
    pub(crate) history: History,
    pub(crate) hub: Hub,
    pub(crate) collector: Collector,
    pub(crate) tally: Tally,
    /// Visible changes of definitions that are not served yet.
    redefined: Vec<Arc<Event>>,
    /// Whether what is asked before writes has changed.
    asks_anew: bool,
    /// Visible changes of roles and bindings that do not count yet.
    granted: Vec<Arc<Event>>,
    /// Another server writes: what becomes visible here is what it wrote.
    pub(crate) follows: bool,
    /// Told when certificates may have ended before their time.
    pub(crate) certificates: watch::Sender<()>,
    /// Why storage did not take the last write.
    pub(crate) broken: Option<store::Error>,
}

impl State {
    pub(crate) fn new(revision: u64, objects: Objects, history: History, limits: Limits) -> Self {
        let tally = objects.tally();
        Self {
            decided: revision,
            visible: revision,
            objects,
            pending: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            outbox: VecDeque::new(),
            limits,
            submitted: revision,
            submitting: false,
            unanswered: 0,
            waiters: BTreeMap::new(),
            history,
            hub: Hub::default(),
            collector: Collector::default(),
            tally,
            redefined: Vec::new(),
            asks_anew: false,
            granted: Vec::new(),
            follows: false,
            certificates: watch::Sender::new(()),
            broken: None,
        }
    }

    /// The revision up to which writes are visible.
    pub(crate) fn revision(&self) -> u64 {
        self.visible
    }

    /// The object as the next write finds it, whether visible yet or not.
    pub(crate) fn latest(&self, key: &Key) -> Option<Arc<Object>> {
        match self.pending.get(key) {
            Some((_, object)) => object.clone(),
            None => self.objects.get(key),
        }
    }

    /// Every object that the next write finds there.
    pub(crate) fn latest_at(&self, home: &Home) -> Vec<Arc<Object>> {
        let visible = self
            .objects
            .select(&Selection::all(Arc::new(home.clone())), None);
        let visible = visible.into_iter();
        let unchanged = visible.filter(|object| !self.pending.contains_key(&object.key));
        let pending = self.pending.iter().filter(|(key, _)| *key.home == *home);
        unchanged
            .chain(pending.filter_map(|(_, (_, object))| object.clone()))
            .collect()
    }

    /// Whether the next write finds an object that is kept there and not visible yet.
    pub(crate) fn pending_at(&self, home: &Home) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|(key, (_, object))| *key.home == *home && object.is_some())
    }

    /// Every object that the next write finds in a namespace, for deciding whether it is empty.
    pub(crate) fn pending_in(&self, namespace: &str) -> bool {
        self.pending
            .iter()
            .any(|(key, (_, object))| key.namespace == namespace && object.is_some())
    }

    /// Decides that the object has this value from now on.
    pub(crate) fn set(&mut self, key: &Key, value: Value) -> Arc<Object> {
        let old = self.latest(key);
        self.decided += 1;
        let new = Arc::new(Object::at(key.clone(), self.decided, value));
        let change = Change::of(old.as_ref());
        let write = Write {
            revision: self.decided,
            key: key.storage_key(),
            value: Some(new.value.text().clone()),
        };
        self.decide(
            write,
            Some(new.clone()),
            Event::new(change, old, new.clone()),
        );
        new
    }

    /// Decides that the object is gone; `last` is its last value.
    pub(crate) fn remove(&mut self, key: &Key, last: Value) -> Arc<Object> {
        let old = self.latest(key);
        self.decided += 1;
        let new = Arc::new(Object::at(key.clone(), self.decided, last));
        let write = Write {
            revision: self.decided,
            key: key.storage_key(),
            value: None,
        };
        self.decide(write, None, Event::new(Change::Deleted, old, new.clone()));
        new
    }

    fn decide(&mut self, write: Write, after: Option<Arc<Object>>, event: Event) {
        self.tally.decide(&event);
        self.pending
            .insert(event.new.key.clone(), (event.revision, after));
        self.in_flight.insert(event.revision, Arc::new(event));
        self.outbox.push_back(write);
    }

    /// Takes over what another server has written; `None` if that does not follow what is here, or is no object.
    pub(crate) fn hear(&mut self, batch: Batch) -> Option<()> {
        if batch.after != self.decided {
            return None;
        }
        for write in batch.writes {
            let key = Key::of_storage(&write.key)?;
            let old = self.latest(&key);
            let event = match (write.value, old) {
                (Some(text), old) => {
                    let new = Arc::new(Object::of_storage(key, text)?);
                    let change = Change::of(old.as_ref());
                    Event::new(change, old, new)
                }
                (None, Some(old)) => {
                    let last = Object::at(key, write.revision, old.value.clone());
                    Event::new(Change::Deleted, Some(old), Arc::new(last))
                }
                // It went in the moment in which it came.
                (None, None) => continue,
            };
            self.tally.decide(&event);
            self.in_flight.insert(write.revision, Arc::new(event));
        }
        self.decided = batch.revision;
        self.submitted = batch.revision;
        Some(())
    }

    /// Resolves when everything decided up to `revision` is visible; `None` if it is so already.
    pub(crate) fn wait_for(&mut self, revision: u64) -> Option<Visible> {
        if revision <= self.visible {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let waiters = self.waiters.entry(revision).or_default();
        // Those that wait no longer would pile up while nothing arrives.
        waiters.retain(|waiter| !waiter.is_canceled());
        waiters.push(sender);
        Some(receiver)
    }

    /// Resolves when everything that storage was given by now is visible; `None` if it is so already. Other servers may see it
    /// before storage says here that it is there.
    pub(crate) fn wait_for_submitted(&mut self) -> Option<Visible> {
        self.wait_for(self.submitted)
    }

    /// Resolves when everything that is decided by now is visible; `None` if it is so already.
    pub(crate) fn wait_for_all(&mut self) -> Option<Visible> {
        let (last, _) = self.in_flight.last_key_value()?;
        self.wait_for(*last)
    }

    /// What storage should be given next, if it has room for it.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        if self.outbox.is_empty() || self.unanswered == BATCHES_MAX {
            return None;
        }
        self.unanswered += 1;
        let writes = self.take_writes();
        let revision = writes.last().map_or(self.decided, |write| write.revision);
        Some(self.batch(writes, revision))
    }

    /// As many decided writes as storage takes at once, and at least one.
    fn take_writes(&mut self) -> Vec<Write> {
        let Limits {
            writes,
            bytes,
            each_key_once,
        } = self.limits;
        let (mut taken, mut keys, mut left) = (Vec::new(), BTreeSet::new(), bytes);
        while let Some(write) = self.outbox.front() {
            let length = write.value.as_ref().map_or(0, Bytes::len);
            let is_new = !each_key_once || keys.insert(write.key.clone());
            let fits = is_new && taken.len() < writes && length <= left;
            if !fits && !taken.is_empty() {
                break;
            }
            left = left.saturating_sub(length);
            taken.extend(self.outbox.pop_front());
        }
        taken
    }

    /// Longest document that storage takes.
    pub(crate) fn document_bytes_max(&self) -> usize {
        self.limits.bytes
    }

    /// What is given to storage to find out whether it takes writes again; `None` while it takes them, and if it never will.
    pub(crate) fn take_probe(&mut self) -> Option<Batch> {
        if self.broken.is_none() || self.refusal().is_some() || !self.outbox.is_empty() {
            return None;
        }
        self.decided += 1;
        self.unanswered += 1;
        Some(self.batch(Vec::new(), self.decided))
    }

    fn batch(&mut self, writes: Vec<Write>, revision: u64) -> Batch {
        Batch {
            after: mem::replace(&mut self.submitted, revision),
            revision,
            writes,
            forget: self.history.forgotten(),
        }
    }

    /// Storage has decided about a batch.
    pub(crate) fn answered(&mut self) {
        self.unanswered -= 1;
    }

    /// Why no write is taken. Where storage only lacks something, the next one is tried once it has answered all others.
    pub(crate) fn refusal(&self) -> Option<&store::Error> {
        let broken = self.broken.as_ref();
        broken.filter(|error| error.lack().is_none() || self.unanswered > 0)
    }

    /// Storage takes writes; answers whether it did not before.
    pub(crate) fn mend(&mut self, now: Timestamp) -> bool {
        let mended = self.broken.take().is_some();
        if mended {
            // What was decided about garbage went with the writes that failed.
            self.suspect_all(now);
            quota::suspect_all(self);
        }
        mended
    }

    /// Storage said that everything up to `revision` is durable.
    pub(crate) fn publish(&mut self, revision: u64) {
        let later = self.in_flight.split_off(&(revision + 1));
        for event in mem::replace(&mut self.in_flight, later).into_values() {
            self.show(event);
        }
        self.visible = revision;
    }

    /// Tells those who wait for it that everything up to `revision` is visible.
    pub(crate) fn wake(&mut self, revision: u64) {
        let later = self.waiters.split_off(&(revision + 1));
        for waiter in mem::replace(&mut self.waiters, later)
            .into_values()
            .flatten()
        {
            // A client that went away does not wait any more.
            let _ = waiter.send(Ok(()));
        }
    }

    /// Takes the changes of definitions that are visible and not served yet.
    pub(crate) fn take_redefined(&mut self) -> Vec<Arc<Event>> {
        mem::take(&mut self.redefined)
    }

    /// Whether what is asked before writes has changed since the last time.
    pub(crate) fn take_asks_anew(&mut self) -> bool {
        mem::take(&mut self.asks_anew)
    }

    /// Takes the changes of roles and bindings that are visible and do not count yet.
    pub(crate) fn take_granted(&mut self) -> Vec<Arc<Event>> {
        mem::take(&mut self.granted)
    }

    /// Storage failed: nothing that is on its way will ever be visible. Revisions that it had are not used again.
    pub(crate) fn fail(&mut self, error: &store::Error) {
        self.broken = Some(error.clone());
        self.pending.clear();
        for event in mem::take(&mut self.in_flight).into_values() {
            self.tally.undo(&event);
        }
        self.outbox.clear();
        self.submitted = self.visible;
        self.collector = Collector::default();
        for waiter in mem::take(&mut self.waiters).into_values().flatten() {
            let _ = waiter.send(Err(error.clone()));
        }
    }

    fn show(&mut self, event: Arc<Event>) {
        let key = &event.new.key;
        if self
            .pending
            .get(key)
            .is_some_and(|(revision, _)| *revision == event.revision)
        {
            self.pending.remove(key);
        }
        match event.change {
            Change::Deleted => self.objects.remove(key),
            Change::Added | Change::Modified => self.objects.insert(event.new.clone()),
        }
        self.visible = event.revision;
        if definition::is_definition(key) {
            self.redefined.push(event.clone());
        }
        self.asks_anew |= admission::concerns(&key.home);
        if rbac::concerns(&key.home) {
            self.granted.push(event.clone());
        }
        self.tally.show(&event);
        if certificate::ends_some(&event) {
            self.certificates.send_replace(());
        }
        self.hub.tell(&event);
        // Who follows collects nothing, and looks at everything before it writes.
        if !self.follows {
            let dependents = self.objects.dependents(event.new.uid());
            self.collector.note(&event, dependents.cloned());
        }
        self.history.push(&event, self.objects.paths(&key.home));
    }
}
