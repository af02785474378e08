//! The server: its parts put together, and what it can be given.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::authentication::{account, oidc};
use crate::engine::{Clock, Engine, Outcome};
use crate::failure::Failure;
use crate::fairness::Fairness;
use crate::history::{HISTORY_EVENTS_DEFAULT, History};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::object::Object;
use crate::openapi::Documents;
use crate::registry::Registry;
use crate::replica::Replica;
use crate::resource::Home;
use crate::selection::Selection;
use crate::signing::Signer;
use crate::state::State;
use crate::store::Storage;
use crate::store::etcd::{Candidate, Leading};
use crate::store::memory::Memory;
use crate::store::sealed::{Sealed, Sealer};
use crate::tls::Authority;
use crate::{boot, loading};

/// A Kubernetes-style API server. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Handle>);

struct Handle {
    engine: Arc<Engine>,
    /// The certificate that namespaces tell, on servers that serve Kubernetes' kinds.
    certificate: Option<String>,
    /// What seals Secrets in the store and in backups.
    sealer: Option<Sealer>,
    /// What signs the tokens of service accounts.
    account_key: account::Key,
    /// Whose tokens are taken besides.
    oidc: Option<oidc::Issuer>,
    /// What signs certificates.
    signer: Option<Signer>,
    /// Whoever takes a backup holds its one permit.
    backups: Arc<Semaphore>,
    /// Where requests are recorded, if they are.
    audit: Option<Audit>,
    metrics: Metrics,
    fairness: Fairness,
    /// Set on one of several servers.
    replica: Option<Replica>,
    /// What describes a registry.
    documents: Mutex<Option<(Arc<Registry>, Arc<Documents>)>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.close();
    }
}

/// What a server can be given; see [`Server::builder`].
pub struct Builder {
    crds: Vec<CustomResourceDefinition>,
    registry: Option<Arc<Registry>>,
    storage: Box<dyn Storage>,
    clock: Clock,
    ids: Ids,
    history: usize,
    kubernetes: Option<String>,
    sealer: Option<Sealer>,
    account_key: Option<account::Key>,
    oidc: Option<oidc::Issuer>,
    signer: Option<Signer>,
    audit: Option<Audit>,
    replica: Option<Replica>,
}

impl Server {
    /// A server over in-memory storage whose time is tokio's and whose uids follow from a fixed seed: for tests.
    ///
    /// # Panics
    /// When a definition cannot be served.
    #[must_use]
    pub fn in_memory(crds: Vec<CustomResourceDefinition>) -> Self {
        let registry = Registry::shared(&crds).expect("definitions of tests can be served");
        let builder = Self::builder().seed(1).clock(tokio_clock());
        let builder = Builder {
            registry: Some(registry),
            ..builder
        };
        builder.build().expect("memory can be read")
    }

    /// Starts to describe a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            crds: Vec::new(),
            registry: None,
            storage: Box::new(Memory::default()),
            clock: Arc::new(Timestamp::now),
            ids: Ids::random(),
            history: HISTORY_EVENTS_DEFAULT,
            kubernetes: None,
            sealer: None,
            account_key: None,
            oidc: None,
            signer: None,
            audit: None,
            replica: None,
        }
    }

    /// Everything that is served.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.0.engine.registry()
    }

    /// What decides and shows writes.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// The current state; hold it shortly.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.engine.state()
    }

    /// What a selection finds now, and at which revision that is.
    pub(crate) fn snapshot(&self, selection: &Selection) -> (Vec<Arc<Object>>, u64) {
        let state = self.state();
        (state.objects.select(selection, None), state.revision())
    }

    /// Now, as it is written into objects.
    pub(crate) fn now(&self) -> String {
        self.0.engine.now()
    }

    /// What gives the time of this server.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.engine.clock
    }

    /// What describes everything that is served; made when it is first asked for.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        let registry = self.registry();
        let mut made = self
            .0
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, documents)) if Arc::ptr_eq(of, &registry) => documents.clone(),
            _ => {
                let documents = Arc::new(Documents::new(registry.clone()));
                *made = Some((registry, documents.clone()));
                documents
            }
        }
    }

    /// The certificate of the authority that every namespace tells, if this server serves Kubernetes' kinds.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.0.certificate.as_deref()
    }

    /// What seals Secrets, if anything does.
    pub(crate) fn sealer(&self) -> Option<&Sealer> {
        self.0.sealer.as_ref()
    }

    /// What signs the tokens of service accounts.
    pub(crate) fn account_key(&self) -> &account::Key {
        &self.0.account_key
    }

    /// Whose tokens are taken besides the server's own.
    pub(crate) fn oidc(&self) -> Option<&oidc::Issuer> {
        self.0.oidc.as_ref()
    }

    /// What signs certificates, if anything does.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.0.signer.as_ref()
    }

    /// Has a permit while no backup is taken.
    pub(crate) fn backups(&self) -> &Arc<Semaphore> {
        &self.0.backups
    }

    /// Where requests are recorded, if they are.
    pub(crate) fn audit(&self) -> Option<&Audit> {
        self.0.audit.as_ref()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Who is served next.
    pub(crate) fn fairness(&self) -> &Fairness {
        &self.0.fairness
    }

    /// What makes it one of several servers, if it is one.
    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.0.replica.as_ref()
    }

    /// Waits until no other server writes and all that was written is here, and writes from then on, until the handle is
    /// dropped. Other servers learn that this one is reached at `url`.
    ///
    /// # Errors
    /// When the storage refuses, what was written does not arrive, or a definition of ours cannot be stored.
    ///
    /// # Panics
    /// When it was not built as a [replica](Builder::replica).
    pub async fn lead(&self, url: &str) -> Result<Leading, api::Error> {
        let replica = self.replica().expect("it is one of several");
        let leading = replica.lead(self.engine(), url).await?;
        boot::prepare(self)?;
        let settled = self.engine().settled().await;
        settled.map_err(boot::refused)?;
        replica.answer_alone(leading.term());
        Ok(leading)
    }

    /// Whether storage takes no writes any more, whatever happens, or nothing is heard from the server that writes.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        let state = self.state();
        state
            .broken
            .as_ref()
            .is_some_and(|error| error.lack().is_none())
    }

    /// Stores every Secret anew, so that the key which seals now has sealed it. What it was before stays sealed by the
    /// older key, until that past is forgotten. Where another server writes, that is for it to do.
    ///
    /// # Errors
    /// When storage takes no more writes.
    pub async fn reseal(&self) -> Result<usize, Failure> {
        if self.state().follows {
            return Ok(0);
        }
        let secrets = Selection::all(Arc::new(Home {
            group: String::new(),
            plural: "secrets".to_owned(),
        }));
        let (secrets, _) = self.snapshot(&secrets);
        for secret in &secrets {
            let anew = |old: Option<&Arc<Object>>| match old {
                Some(old) => Ok(Outcome::Set(old.value.clone())),
                None => Err(Failure::new(404, "NotFound", "it went meanwhile")),
            };
            match self.engine().decide(&secret.key, anew, |_, _| Ok(())) {
                Ok(_) => {}
                Err(gone) if gone.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        self.engine().settled().await?;
        Ok(secrets.len())
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.0.engine.ids
    }
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

    /// Seals Secrets in the store and in backups.
    #[must_use]
    pub fn sealer(mut self, sealer: Sealer) -> Self {
        self.sealer = Some(sealer);
        self
    }

    /// Signs the tokens of service accounts; by a key that goes with the process unless given.
    #[must_use]
    pub fn account_key(mut self, key: account::Key) -> Self {
        self.account_key = Some(key);
        self
    }

    /// Takes the tokens of an OpenID Connect provider, too.
    #[must_use]
    pub fn oidc(mut self, issuer: oidc::Issuer) -> Self {
        self.oidc = Some(issuer);
        self
    }

    /// Signs certificates that are asked for; those of hosts hold that long.
    #[must_use]
    pub fn signer(mut self, authority: Authority, host_life: Duration) -> Self {
        self.signer = Some(Signer {
            authority,
            host_life,
        });
        self
    }

    /// Serves kinds of Kubernetes that nothing here runs too, for clients that expect them. Every namespace then tells
    /// this certificate of the server's authority.
    #[must_use]
    pub fn kubernetes_kinds(mut self, certificate: impl Into<String>) -> Self {
        self.kubernetes = Some(certificate.into());
        self
    }

    /// Records requests there; nowhere unless given.
    #[must_use]
    pub fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// One of several servers: it follows what others write, until it is told to [`lead`](Server::lead). Servers know each
    /// other by certificates of that authority.
    ///
    /// # Errors
    /// When the authority cannot sign.
    pub fn replica(
        mut self,
        candidate: Candidate,
        authority: &Authority,
    ) -> Result<Self, api::Error> {
        self.replica = Some(Replica::new(candidate, authority)?);
        Ok(self)
    }

    /// Loads what is stored and starts to serve it.
    ///
    /// # Errors
    /// When storage cannot be read, holds what is no object, or a definition cannot be served.
    pub fn build(self) -> Result<Server, api::Error> {
        let registry = match self.registry {
            Some(registry) => registry,
            None => match self.kubernetes {
                Some(_) => Registry::with_kubernetes_kinds(&self.crds),
                None => Registry::new(&self.crds),
            }
            .map(Arc::new)
            .map_err(|why| api::Error::new(api::ErrorKind::Invalid, why))?,
        };
        let storage = match &self.sealer {
            Some(sealer) => Box::new(Sealed::new(self.storage, sealer.clone())),
            None => self.storage,
        };
        let loaded = storage.load();
        let mut loaded = loaded.map_err(|error| boot::unreadable(api::chain(&error)))?;
        let registry = loading::with_stored(registry, &loaded);
        let objects = loading::shelve(&registry, mem::take(&mut loaded.entries))?;
        let revision = loaded.revision;
        let history = History::restored(loaded, &objects, self.history);
        let mut state = State::new(revision, objects, history, storage.limits());
        state.follows = self.replica.is_some();
        let engine = Engine::new(registry, (self.clock, self.ids), state, storage);
        let metrics = Metrics::new(self.audit.as_ref(), &engine.commits);
        let fairness = Fairness::new(&metrics.flows);
        let handle = Handle {
            engine,
            certificate: self.kubernetes,
            sealer: self.sealer,
            account_key: self.account_key.unwrap_or_else(account::Key::new),
            oidc: self.oidc,
            signer: self.signer,
            backups: Arc::new(Semaphore::new(1)),
            audit: self.audit,
            metrics,
            fairness,
            replica: self.replica,
            documents: Mutex::default(),
        };
        let server = Server(Arc::new(handle));
        match server.replica() {
            Some(replica) => replica.follow(&server),
            None => boot::prepare(&server)?,
        }
        Ok(server)
    }
}

/// A time that starts with the year 2026 and passes as tokio's does, so that paused tests are repeatable.
fn tokio_clock() -> Clock {
    let base: Timestamp = "2026-01-01T00:00:00Z".parse().expect("the text is a time");
    let start = tokio::time::Instant::now();
    Arc::new(move || base + start.elapsed())
}
