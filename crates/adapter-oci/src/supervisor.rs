//! The life of one container, as a task: start, watch, restart with back-off, give new files, remove.
//!
//! It is driven by what is wanted (a watch channel), by the end of the shim (a handle) and by probes; it shows what it sees
//! in another watch channel. Every step may be the last of the process: what must be known afterwards is on disk first,
//! and the task of the next agent begins by looking at what lives.

mod files;
mod life;
mod prepare;
mod probe;
mod publish;
mod run;

use std::sync::Arc;
use std::time::Duration;

use adapter::{ContainerPhase, ContainerState};
use api::{Error, ErrorKind};
use linux::cgroup::Group;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::disk::{Folder, History, Journal, Record};
use crate::host::{Host, key};
use crate::network::Network;

pub(crate) use run::{Run, blocking, remove_folder};

/// How long all processes of a container may take to die.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long the first restart waits; each further one waits twice as long.
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);

/// The longest that a restart, or another try to clean up, waits.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// A run that lasted this long was a good one: the next restart waits only the first time again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What is wanted of a container now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The set of files.
    pub(crate) files: String,
    /// Whether it must go.
    pub(crate) removing: bool,
}

/// The task's own state.
pub(crate) struct Supervisor {
    host: Arc<Host>,
    folder: Folder,
    record: Record,
    group: Group,
    network: Network,
    wanted: watch::Receiver<Wanted>,
    /// `None` once nothing of the container is left.
    state: watch::Sender<Option<ContainerState>>,
    journal: Journal,
    history: History,
}

/// Why a run is over.
enum Over {
    /// It ended by itself, in this way.
    Ended(String),
    /// It must be ended for this reason, and counts as ended by itself.
    Unwell(String),
    /// It must be ended so that it starts with other files.
    NewFiles,
    /// It must go for good.
    Removing,
}

impl Supervisor {
    pub(crate) fn new(
        host: Arc<Host>,
        record: Record,
        wanted: watch::Receiver<Wanted>,
        (journal, history): (Journal, History),
    ) -> (Self, watch::Receiver<Option<ContainerState>>) {
        let key = key(&record.id);
        let (state, seen) = watch::channel(None);
        let supervisor = Self {
            folder: host.folder(&key),
            group: host.group(&key),
            network: host.network(&key, record.spec.interfaces.clone()),
            host,
            record,
            wanted,
            state,
            journal,
            history,
        };
        supervisor
            .state
            .send_replace(Some(supervisor.first_state()));
        (supervisor, seen)
    }

    /// Supervises until the container is removed; goes on with what [`Self::adopt`] found.
    pub(crate) async fn supervise(mut self, mut run: Option<Run>) {
        if run.is_none() {
            self.clean().await;
        }
        let mut pause = BACK_OFF_FIRST;
        while !self.removing() {
            let adopted = run.is_some();
            let current = match run.take() {
                Some(run) => Ok(run),
                None => self.start().await,
            };
            let (over, lasted) = match current {
                Ok(current) => self.live_and_end(current, adopted).await,
                Err(error) => (self.not_started(&error), Duration::ZERO),
            };
            let ended = matches!(over, Over::Ended(_) | Over::Unwell(_));
            if let Over::Ended(why) | Over::Unwell(why) = over {
                self.count_end(why);
            }
            self.clean().await;
            if lasted >= STABLE_AFTER {
                pause = BACK_OFF_FIRST;
            }
            if ended {
                self.back_off(pause).await;
                pause = (pause * 2).min(BACK_OFF_MAX);
            }
        }
        self.remove(run).await;
    }

    fn removing(&self) -> bool {
        self.wanted.borrow().removing
    }

    /// Watches a run to its end, or ends it.
    async fn live_and_end(&mut self, run: Run, adopted: bool) -> (Over, Duration) {
        let over = self.live(&run, adopted).await;
        self.update(|state| {
            state.ready = false;
            if matches!(over, Over::Removing) {
                state.phase = ContainerPhase::Stopping;
            }
        });
        if !matches!(over, Over::Ended(_)) {
            self.stop(&run).await;
        }
        (over, run.lasted())
    }

    /// A start that failed is an end too. The files that were to be tried are to blame only if they cannot be put there;
    /// else they are tried again with the next start.
    fn not_started(&mut self, error: &Error) -> Over {
        let why = api::chain(error);
        match error.kind == ErrorKind::Invalid && self.journal.trying.is_some() {
            true => {
                self.refuse(why);
                Over::NewFiles
            }
            false => Over::Ended(why),
        }
    }

    /// Waits before the next start, unless something else is wanted meanwhile.
    async fn back_off(&mut self, pause: Duration) {
        self.update(|state| {
            state.phase = ContainerPhase::BackOff;
            state.ready = false;
        });
        let mut wanted = self.wanted.clone();
        tokio::select! {
            () = sleep(pause) => {}
            Ok(()) = wanted.changed() => {}
        }
    }

    /// Removes everything, however often it takes.
    async fn remove(mut self, run: Option<Run>) {
        self.update(|state| {
            state.phase = ContainerPhase::Stopping;
            state.ready = false;
        });
        if let Some(run) = run {
            self.stop(&run).await;
        }
        self.clean().await;
        let mut pause = BACK_OFF_FIRST;
        while let Err(error) = self.remove_rest().await {
            tracing::warn!(container = %self.record.id, error = api::chain(&error), "cannot remove a container yet");
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
        self.state.send_replace(None);
        self.hint();
    }
}
