//! The server: its parts put together, and the way of a write from decision to visibility.
//!
//! A write is decided under one lock against the latest state, handed to storage outside of it in revision order, and
//! published when storage says that it is durable. No task runs here: storage's answer drives publication, and
//! publication drives garbage collection, so that with in-memory storage everything happens within the call.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::failure::Failure;
use crate::history::HISTORY_EVENTS_DEFAULT;
use crate::ids::Ids;
use crate::index::Objects;
use crate::object::{Key, Object};
use crate::openapi::Documents;
use crate::registry::Registry;
use crate::resource::{Home, Resource};
use crate::selection::Selection;
use crate::state::{State, Visible};
use crate::store::memory::Memory;
use crate::store::{self, Loaded, Storage};
use crate::{boot, convert};

/// How often a write is decided again because another one came between.
const DECISIONS_MAX: usize = 64;

/// Gives the time of a write.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A Kubernetes-style API server. Clones are the same server.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) state: Mutex<State>,
    storage: Box<dyn Storage>,
    clock: Clock,
    ids: Ids,
    documents: OnceLock<Documents>,
}

/// What a server can be given; see [`Server::builder`].
pub struct Builder {
    crds: Vec<CustomResourceDefinition>,
    storage: Box<dyn Storage>,
    clock: Clock,
    ids: Ids,
    history: usize,
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

impl Server {
    /// A server over in-memory storage whose time is tokio's and whose uids follow from a fixed seed: for tests.
    ///
    /// # Panics
    /// When a definition cannot be served.
    #[must_use]
    pub fn in_memory(crds: Vec<CustomResourceDefinition>) -> Self {
        let builder = Self::builder()
            .crds(crds)
            .storage(Memory::default())
            .seed(1)
            .clock(tokio_clock());
        builder.build().expect("definitions of tests can be served")
    }

    /// Starts to describe a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            crds: Vec::new(),
            storage: Box::new(Memory::default()),
            clock: Arc::new(Timestamp::now),
            ids: Ids::random(),
            history: HISTORY_EVENTS_DEFAULT,
        }
    }

    /// Everything that is served.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The current state; hold it shortly.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a selection finds now, and at which revision that is.
    pub(crate) fn snapshot(&self, selection: &Selection) -> (Vec<Arc<Object>>, u64) {
        let state = self.state();
        (state.objects.select(selection, None), state.revision())
    }

    /// Now, as it is written into objects.
    pub(crate) fn now(&self) -> String {
        format!("{:.0}", (self.0.clock)())
    }

    /// What gives the time of this server.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What describes everything that is served; made when it is first asked for.
    pub(crate) fn documents(&self) -> &Documents {
        self.0
            .documents
            .get_or_init(|| Documents::new(&self.0.registry))
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.0.ids
    }

    /// Decides what becomes of one object. `decide` may run more than once, always without the lock; `admit` runs
    /// under the lock, just before the write, and sees everything else.
    pub(crate) fn decide(
        &self,
        key: &Key,
        mut decide: impl FnMut(Option<&Arc<Object>>) -> Result<Outcome, Failure>,
        admit: impl Fn(&State) -> Result<(), Failure>,
    ) -> Result<Decided, Failure> {
        for _ in 0..DECISIONS_MAX {
            let seen = self.state().latest(key);
            let outcome = decide(seen.as_ref())?;
            let mut state = self.state();
            let latest = state.latest(key);
            let unchanged =
                seen.as_ref().map(|o| o.revision) == latest.as_ref().map(|o| o.revision);
            if !unchanged {
                continue;
            }
            admit(&state)?;
            let decided = take(&mut state, key, outcome, latest)?;
            drop(state);
            self.submit();
            return Ok(decided);
        }
        Err(Failure::new(
            409,
            "Conflict",
            format!("{} changes too often", key.storage_key()),
        ))
    }

    /// Hands what was decided to storage, in order. Whoever comes while another is at it leaves it to that one.
    pub(crate) fn submit(&self) {
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
            let server = Arc::downgrade(&self.0);
            let revision = batch.revision;
            let done = move |result: Result<(), store::Error>| {
                if let Some(inner) = server.upgrade() {
                    Server(inner).done(revision, result);
                }
            };
            self.0.storage.commit(batch, Box::new(done));
            self.state().submitting = false;
        }
    }

    /// Storage has decided about everything up to `revision`.
    fn done(&self, revision: u64, result: Result<(), store::Error>) {
        let mut state = self.state();
        match result {
            Ok(()) => state.publish(revision),
            Err(error) => {
                tracing::error!(?error, "storage failed; no more writes are taken");
                state.fail(&error);
            }
        }
        drop(state);
        self.collect();
    }
}

/// Puts a decision into the state.
fn take(
    state: &mut State,
    key: &Key,
    outcome: Outcome,
    latest: Option<Arc<Object>>,
) -> Result<Decided, Failure> {
    if state.broken.is_some() {
        return Err(storage_failed());
    }
    let object = match (outcome, latest) {
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
        let Some(visible) = self.visible else {
            return Ok(self.object);
        };
        match visible.await {
            Ok(Ok(())) => Ok(self.object),
            Ok(Err(_)) | Err(_) => Err(storage_failed()),
        }
    }
}

fn storage_failed() -> Failure {
    Failure::internal("the server cannot store objects any more; its log says why")
}

impl Builder {
    /// The custom resources to serve.
    #[must_use]
    pub fn crds(mut self, crds: Vec<CustomResourceDefinition>) -> Self {
        self.crds = crds;
        self
    }

    /// Where objects are kept; in memory unless given.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Box::new(storage);
        self
    }

    /// The time of writes; the system's unless given.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes uids and generated names follow from a seed instead of chance.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.ids = Ids::seeded(seed);
        self
    }

    /// How many changes are kept for watches and pages.
    #[must_use]
    pub fn history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// Loads what is stored and starts to serve it.
    ///
    /// # Errors
    /// When storage cannot be read, holds what is no object, or a definition cannot be served.
    pub fn build(self) -> Result<Server, api::Error> {
        let registry = Registry::new(&self.crds)
            .map_err(|why| api::Error::new(api::ErrorKind::Invalid, why))?;
        let loaded = self.storage.load().map_err(boot::unreadable)?;
        let revision = loaded.revision;
        let objects = shelve(&registry, loaded)?;
        let state = Mutex::new(State::new(revision, objects, self.history));
        let inner = Inner {
            registry,
            state,
            storage: self.storage,
            clock: self.clock,
            ids: self.ids,
            documents: OnceLock::new(),
        };
        let server = Server(Arc::new(inner));
        boot::prepare(&server, &self.crds)?;
        Ok(server)
    }
}

/// Puts loaded objects in their places.
fn shelve(registry: &Registry, loaded: Loaded) -> Result<Objects, api::Error> {
    let mut objects = Objects::default();
    for resource in registry.all() {
        let selectable = resource.versions.iter().flat_map(|version| {
            version
                .selectable
                .iter()
                .map(|path| convert::stored_path(version, path))
        });
        objects.prepare(Arc::new(resource.home.clone()), selectable.collect());
    }
    for (key, value) in loaded.entries {
        let object =
            parse(&key, value).ok_or_else(|| boot::unreadable(format!("{key} is no object")))?;
        objects.insert(Arc::new(object));
    }
    Ok(objects)
}

fn parse(key: &str, json: Bytes) -> Option<Object> {
    let mut parts = key.split('/').map(str::to_owned);
    let home = Home {
        group: parts.next()?,
        plural: parts.next()?,
    };
    let key = Key {
        home: Arc::new(home),
        namespace: parts.next()?,
        name: parts.next()?,
    };
    let value: Value = serde_json::from_slice(&json).ok()?;
    let revision = crate::object::meta_text(&value, "resourceVersion")
        .parse()
        .ok()?;
    Some(Object {
        key,
        revision,
        value,
        json,
    })
}

/// A time that starts with the year 2026 and passes as tokio's does, so that paused tests are repeatable.
fn tokio_clock() -> Clock {
    let base: Timestamp = "2026-01-01T00:00:00Z".parse().expect("the text is a time");
    let start = tokio::time::Instant::now();
    Arc::new(move || base + start.elapsed())
}

impl Resource {
    /// The key of an object of this resource.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        Key {
            home: Arc::new(self.home.clone()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}
