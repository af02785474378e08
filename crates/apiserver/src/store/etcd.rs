//! Storage in etcd, on as many machines as it has members.
//!
//! Every object is one key, and beside them stand a head, which says what the last revision is, and one small key for each
//! change that is kept. A batch is one transaction that holds only if nobody has written the head since: of two servers
//! that write, one is [superseded](crate::store::Error::is_superseded). What was before a change, etcd's own history says.
//!
//! A transaction that was not answered is asked again. If it was done the first time, the head says so, by who wrote it.
//! While no member answers, writes wait.
//!
//! Of several servers one writes; the others hear what it writes, and one of them takes its place when it is gone
//! ([`Candidate`]).

mod candidate;
mod election;
mod fill;
mod follow;
mod gateway;
mod place;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

pub use self::candidate::{Candidate, Following};
pub use self::election::{Leading, Term};
pub use self::gateway::Members;
use self::gateway::{Failed, Gateway};
use self::place::Place;
use self::writer::Writer;
use crate::store::committer::Committer;
use crate::store::{Batch, Done, Error, Limits, Loaded, Storage};

/// Writes of one transaction: each is two operations, of which etcd takes 128 unless it is told otherwise, and a few are
/// ours.
const WRITES_MAX: usize = 60;
/// Bytes of the values of one transaction: etcd takes 1.5 MiB unless it is told otherwise.
const BYTES_MAX: usize = 1024 * 1024;
/// How long a server waits at its start for a member that answers.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Objects in etcd. Dropping it waits for what was submitted.
pub struct Etcd {
    committer: Committer,
    place: Arc<Place>,
    background: Arc<Background>,
}

impl Etcd {
    /// Uses the keys below `prefix`, such as `/groma/`.
    ///
    /// # Errors
    /// When a file cannot be read or a URL is none. Whether etcd answers is not tried.
    pub fn open(members: &Members, prefix: &str) -> Result<Self, Error> {
        let gateway = Gateway::new(members).map_err(Error::new)?;
        let place = Arc::new(Place::new(gateway, prefix));
        let background = Arc::new(Background::start().map_err(Error::new)?);
        let handle = background.handle().clone();
        let mut writer = Writer::new(place.clone(), handle).map_err(Error::new)?;
        Ok(Self {
            committer: Committer::start(move |batches| writer.commit(batches)),
            place,
            background,
        })
    }

    /// Puts all objects of a content where there are none; what was before them is not kept. A server finds either all of
    /// them or that this broke off.
    ///
    /// # Errors
    /// When etcd refuses, or has been written to.
    pub async fn fill(&self, content: Loaded) -> Result<(), Error> {
        let place = self.place.clone();
        let filled = async move { place.fill(&content).await };
        let filled = self.background.handle().spawn(filled);
        filled.await.map_err(Error::new)?.map_err(Error::new)
    }

    /// This server as one beside others.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate::new(self.place.clone(), self.background.clone())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.place.close();
    }
}

impl Storage for Etcd {
    fn load(&self) -> Result<Loaded, Error> {
        let place = &self.place;
        let loading = async {
            let found = timeout(START_PATIENCE, place.patiently(|| place.read_head())).await;
            let late = || Failed::Unreachable(format!("none has for {START_PATIENCE:?}"));
            found.unwrap_or_else(|_| Err(late()))?;
            // It takes as long as there is much.
            place.patiently(|| place.load()).await
        };
        let loaded = std::thread::scope(|scope| {
            // Who asks may be within a runtime of its own.
            let thread = scope.spawn(|| self.background.handle().block_on(loading));
            thread.join().expect("loading panics nowhere")
        });
        loaded.map_err(Error::new)
    }

    fn commit(&self, batch: Batch, done: Done) {
        self.committer.submit(batch, done);
    }

    fn limits(&self) -> Limits {
        Limits {
            writes: WRITES_MAX,
            bytes: BYTES_MAX,
            each_key_once: true,
        }
    }
}

/// Drives the connections, for whoever asks and wherever he may wait.
struct Background(Option<Runtime>);

impl Background {
    fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("etcd").enable_all();
        builder.build().map(Some).map(Self)
    }

    fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref();
        runtime.expect("it runs until it is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for it is forbidden where tasks run; there is nothing to wait for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
