//! The way of a write: decided under the lock, handed to storage outside of it, published when it is durable.
//!
//! No task runs here: storage's answer drives publication, and publication drives garbage collection, so that with
//! in-memory storage everything happens within the call. Storage's answers hold the engine and never the storage, so
//! that the thread that answers is never the one that closes it.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use serde_json::Value;
use tokio::time::Instant;

use crate::access::aggregation;
use crate::access::rbac::Authorizer;
use crate::admission::Admission;
use crate::builtin::services;
use crate::definition;
use crate::failure::Failure;
use crate::history::{Change, Event};
use crate::ids::Ids;
use crate::loading;
use crate::object::{Key, Object, json_bytes};
use crate::quota;
use crate::registry::Registry;
use crate::replica;
use crate::state::{State, Visible};
use crate::store::{self, Storage};

/// How often a write is decided again because another one came between.
pub(crate) const DECISIONS_MAX: usize = 64;

/// Bounds of how long storage takes in seconds: those of etcd's commits.
const COMMITS: [f64; 14] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192,
];

/// Gives the time of a write.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What decides, stores and shows writes.
pub(crate) struct Engine {
    registry: RwLock<Arc<Registry>>,
    /// Who is asked before a write.
    admission: RwLock<Arc<Admission>>,
    /// Who may do what by the visible roles.
    pub(crate) authorizer: Authorizer,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    state: Mutex<State>,
    /// How long storage takes for a batch, in seconds.
    pub(crate) commits: Histogram,
    /// `None` once the server is closed.
    storage: RwLock<Option<Box<dyn Storage>>>,
}

/// What a decision makes of an object.
pub(crate) enum Outcome {
    /// Nothing changes.
    Keep,
    /// It has this value from now on.
    Set(Value),
    /// It goes, with this last value.
    Remove(Value),
}

/// The decided state of an object, and when it is visible.
pub(crate) struct Decided {
    pub(crate) object: Arc<Object>,
    pub(crate) visible: Option<Visible>,
}

impl Engine {
    pub(crate) fn new(
        registry: Arc<Registry>,
        (clock, ids): (Clock, Ids),
        state: State,
        storage: Box<dyn Storage>,
    ) -> Arc<Self> {
        let storage = RwLock::new(Some(storage));
        Arc::new(Self {
            registry: RwLock::new(registry),
            admission: RwLock::new(Arc::new(Admission::of(&state.objects))),
            authorizer: Authorizer::of(&state.objects),
            clock,
            ids,
            state: Mutex::new(state),
            commits: Histogram::new(COMMITS),
            storage,
        })
    }

    /// The current state; hold it shortly.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Who is asked before a write.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        let admission = self.admission.read();
        admission.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks from now on whom the visible objects name.
    fn ask_anew(&self, state: &mut State) {
        if state.take_asks_anew() {
            let admission = Arc::new(Admission::of(&state.objects));
            *self
                .admission
                .write()
                .unwrap_or_else(PoisonError::into_inner) = admission;
        }
    }

    /// Serves what visible definitions say. Called under the lock of the state, so that nobody sees one without the other.
    /// Answers whether names may have become free.
    fn redefine(&self, state: &mut State) -> bool {
        let mut freed = false;
        let own = |event: &Arc<Event>| self.registry().is_own(&event.new.key.name);
        for event in state.take_redefined() {
            if own(&event) || says_the_same(&event) {
                continue;
            }
            freed = true;
            let new = (event.change != Change::Deleted).then(|| &*event.new.value);
            let old = event.old.as_ref().map(|old| &*old.value);
            let next = self.registry().redefined(old, new);
            let home = definition::home(&event.new.value);
            let same = |part: &str| {
                old.is_some_and(|old| old["spec"][part] == event.new.value["spec"][part])
            };
            // Who watches sees objects in the form of the definition as it was.
            if !same("versions") || !same("conversion") || new.is_none() {
                state.hub.close_home(&home);
            }
            if let Some(resource) = next.at_home(&home) {
                let form = |object: Arc<Object>| loading::in_form(&next, object);
                state
                    .objects
                    .prepare_again(resource.home.clone(), resource.stored_paths(), form);
            }
            *self
                .registry
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        freed
    }

    /// Now, as it is written into objects.
    pub(crate) fn now(&self) -> String {
        format!("{:.0}", (self.clock)())
    }

    /// Decides what becomes of one object. `decide` may run more than once, always without the lock; `admit` runs
    /// under the lock, just before the write, and sees everything else.
    pub(crate) fn decide(
        self: &Arc<Self>,
        key: &Key,
        mut decide: impl FnMut(Option<&Arc<Object>>) -> Result<Outcome, Failure>,
        admit: impl Fn(&State, &mut Outcome) -> Result<(), Failure>,
    ) -> Result<Decided, Failure> {
        for _ in 0..DECISIONS_MAX {
            let seen = self.latest(key);
            let outcome = decide(seen.as_ref())?;
            if let Some(decided) = self.take(key, seen.as_ref(), outcome, &admit)? {
                return Ok(decided);
            }
        }
        Err(restless(key))
    }

    /// The object as the next write finds it.
    pub(crate) fn latest(&self, key: &Key) -> Option<Arc<Object>> {
        self.state().latest(key)
    }

    /// Takes a decision that was made about what was seen; `None` if that has changed meanwhile.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &Key,
        seen: Option<&Arc<Object>>,
        mut outcome: Outcome,
        admit: impl Fn(&State, &mut Outcome) -> Result<(), Failure>,
    ) -> Result<Option<Decided>, Failure> {
        let mut state = self.state();
        let latest = state.latest(key);
        if seen.map(|seen| seen.revision) != latest.as_ref().map(|latest| latest.revision) {
            return Ok(None);
        }
        admit(&state, &mut outcome)?;
        let decided = take(&mut state, key, outcome, latest)?;
        drop(state);
        self.submit();
        Ok(Some(decided))
    }

    /// Waits until all that is decided by now is durable and visible. A refusal may rest on it as much as a write does.
    pub(crate) async fn settled(&self) -> Result<(), Failure> {
        let visible = {
            let mut state = self.state();
            if let Some(error) = state.refusal() {
                return Err(Failure::storage(error));
            }
            state.wait_for_all()
        };
        settled(visible).await
    }

    /// Hands what was decided to storage, in order. Whoever comes while another is at it leaves it to that one.
    pub(crate) fn submit(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.submitting {
                return;
            }
            let Some(batch) = state.take_batch() else {
                return;
            };
            state.submitting = true;
            drop(state);
            self.commit(batch);
            self.state().submitting = false;
        }
    }

    /// Finds out whether storage takes writes again, if it lacked something; it is known once storage has answered.
    pub(crate) fn probe(self: &Arc<Self>) {
        let probe = self.state().take_probe();
        if let Some(batch) = probe {
            self.commit(batch);
        }
    }

    fn commit(self: &Arc<Self>, batch: store::Batch) {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        // What is decided after closing was never answered; the next start decides it again.
        let Some(storage) = storage.as_ref() else {
            return;
        };
        let (engine, revision, begun) = (self.clone(), batch.revision, Instant::now());
        let done = move |result| {
            engine.commits.observe(begun.elapsed().as_secs_f64());
            engine.done(revision, result);
        };
        storage.commit(batch, Box::new(done));
    }

    /// Shows everything up to `revision`. Answers whether names may have become free, and whether aggregated roles may have
    /// changed.
    fn show(&self, state: &mut State, revision: u64) -> (bool, bool) {
        state.publish(revision);
        // Whoever hears that a definition is there may use it at once.
        let freed = self.redefine(state);
        self.ask_anew(state);
        let roles = self.authorizer.follow(&state.take_granted());
        state.wake(revision);
        (freed, roles)
    }

    /// Shows what another server has written, or learns that it will hear no more of it.
    pub(crate) fn hear(
        &self,
        heard: Result<store::Batch, store::Error>,
    ) -> Result<(), store::Error> {
        let mut state = self.state();
        let revision = heard.as_ref().map_or(0, |batch| batch.revision);
        let odd = || store::Error::new("what another server wrote does not follow what is known");
        let heard = heard.and_then(|batch| state.hear(batch).ok_or_else(odd));
        match &heard {
            // What follows from it is the other one's to do.
            Ok(()) => {
                self.show(&mut state, revision);
            }
            Err(error) => {
                tracing::error!(
                    error = api::chain(error),
                    "this server cannot follow any more"
                );
                state.fail(error);
            }
        }
        heard
    }

    /// Storage has decided about everything up to `revision`.
    fn done(self: &Arc<Self>, revision: u64, result: Result<(), store::Error>) {
        let mut state = self.state();
        let (mut freed, mut roles) = (false, false);
        state.answered();
        match result {
            Ok(()) => {
                let mended = state.mend((self.clock)());
                (freed, roles) = self.show(&mut state, revision);
                freed |= mended;
                roles |= mended;
            }
            Err(error) => state.fail(&error),
        }
        drop(state);
        if freed {
            definition::reconsider(self);
            services::keep(self);
        }
        if roles {
            aggregation::keep(self);
        }
        quota::keep(self);
        self.collect();
        // What waited for room.
        self.submit();
    }

    /// Waits until storage has decided about all that was submitted, and lets go of it.
    pub(crate) fn close(&self) {
        let storage = self
            .storage
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Outside of the lock: the last answers arrive while it closes.
        drop(storage);
    }
}

/// Whether a definition serves what it served before.
fn says_the_same(event: &Event) -> bool {
    let Some(old) = event
        .old
        .as_ref()
        .filter(|_| event.change != Change::Deleted)
    else {
        return false;
    };
    let (old, new) = (&old.value, &event.new.value);
    let names = |definition: &Value| definition["status"]["acceptedNames"].clone();
    old["spec"] == new["spec"]
        && definition::serves(old) == definition::serves(new)
        && names(old) == names(new)
}

/// Too many others write the same object.
pub(crate) fn restless(key: &Key) -> Failure {
    let message = format!("{} changes too often", key.storage_key());
    Failure::new(409, "Conflict", message)
}

/// Puts a decision into the state.
fn take(
    state: &mut State,
    key: &Key,
    outcome: Outcome,
    latest: Option<Arc<Object>>,
) -> Result<Decided, Failure> {
    if let Some(error) = state.refusal() {
        return Err(Failure::storage(error));
    }
    if state.follows {
        return Err(replica::follows());
    }
    let most = state.document_bytes_max();
    let object = match (outcome, latest) {
        (Outcome::Set(value), _) if most < usize::MAX && json_bytes(&value) > most => {
            return Err(Failure::new(
                413,
                "RequestEntityTooLarge",
                format!("Request entity too large: limit is {most}"),
            ));
        }
        (Outcome::Set(value), _) => state.set(key, value),
        (Outcome::Remove(value), Some(_)) => state.remove(key, value),
        (Outcome::Keep, Some(latest)) => latest,
        (Outcome::Keep | Outcome::Remove(_), None) => {
            return Err(Failure::internal("there is nothing to keep"));
        }
    };
    let visible = state.wait_for(object.revision);
    Ok(Decided { object, visible })
}

impl Decided {
    /// The object, once its write is durable and visible.
    pub(crate) async fn settled(self) -> Result<Arc<Object>, Failure> {
        settled(self.visible).await?;
        Ok(self.object)
    }
}

async fn settled(visible: Option<Visible>) -> Result<(), Failure> {
    let Some(visible) = visible else {
        return Ok(());
    };
    match visible.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::storage(&error)),
        Err(_) => Err(Failure::internal("the server ends")),
    }
}
