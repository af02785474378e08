//! The time between the start of a run and its end: probes, new files, and the network that must stay as it is.

use std::convert::Infallible;
use std::time::Duration;

use adapter::ContainerPhase;
use tokio::time::sleep;

use super::probe::{PROBE_AGAIN, Prober};
use super::run::{Run, blocking};
use super::{Over, Supervisor};
use crate::disk::Ready;

/// How often the network of a running container is looked at and mended.
const MEND_NETWORK: Duration = Duration::from_secs(5);

/// How often a container that is not ready yet is looked at in quick succession.
const QUICK_TRIES: u32 = 100;

/// What happens to a run.
enum Event {
    /// It ended, and nobody here ended it.
    Ended,
    /// Its liveness probe failed too often.
    Unwell(String),
    /// It is not in its network any more.
    Astray(String),
    /// What became of files that had not proven themselves.
    Verdict(Result<(), String>),
    /// Something else is wanted.
    Wanted,
}

impl Supervisor {
    /// Watches a run until it is over, or must be.
    pub(super) async fn live(&mut self, run: &Run, adopted: bool) -> Over {
        // Whether an adopted container has heard of its new files, nobody knows: it is told again.
        if adopted
            && (self.journal.trying.is_some() || self.lies_otherwise())
            && let Some(over) = self.give_files(run).await
        {
            return over;
        }
        loop {
            if self.removing() {
                return Over::Removing;
            }
            self.wanted.mark_unchanged();
            if let Some(over) = self.give_wanted_files(run).await {
                return over;
            }
            let event = self.watch(run).await;
            if let Some(over) = self.follow(run, event).await {
                return over;
            }
        }
    }

    /// Waits for the first thing to happen; new files are proven beside everything else.
    async fn watch(&self, run: &Run) -> Event {
        tokio::select! {
            () = run.ended() => Event::Ended,
            why = self.unwell() => Event::Unwell(why),
            verdict = self.verdict() => Event::Verdict(verdict),
            never = self.watch_readiness(run.status.epoch) => match never {},
            why = self.mend_network(run) => Event::Astray(why),
            () = self.other_wish() => Event::Wanted,
        }
    }

    /// Waits until something else is wanted than what is tried, or than what was wanted.
    async fn other_wish(&self) {
        let mut wanted = self.wanted.clone();
        let changed = match &self.journal.trying {
            Some(tried) => {
                let other = wanted.wait_for(|wanted| wanted.removing || wanted.files != *tried);
                other.await.map(drop)
            }
            None => wanted.changed().await,
        };
        if changed.is_err() {
            // The runtime is gone: the container goes on without it.
            std::future::pending().await
        }
    }

    /// What follows from it; `Some` if the run is over. A container that fails with unproven files has refused them.
    async fn follow(&mut self, run: &Run, event: Event) -> Option<Over> {
        match event {
            Event::Wanted if self.removing() => None,
            // Another set must have something proven to be put back to.
            Event::Wanted if self.journal.trying.is_some() => self.withdraw(run).await,
            Event::Wanted => None,
            Event::Ended => {
                let (why, own) = self.how_it_ended(run);
                // Nobody may see it as ready with the files before, with which it does not run yet.
                self.update(|state| state.ready = false);
                if own {
                    self.refuse(why.clone());
                }
                Some(Over::Ended(why))
            }
            Event::Astray(why) => Some(Over::Unwell(why)),
            // The files before may be all that it needs; if not, it fails again and is started anew.
            Event::Unwell(why) if self.has_unproven() => self.put_back(run, why).await,
            Event::Unwell(why) => Some(Over::Unwell(why)),
            Event::Verdict(Ok(())) => {
                self.accept();
                None
            }
            Event::Verdict(Err(why)) => self.put_back(run, why).await,
        }
    }

    /// The way into the container's network.
    pub(super) fn prober(&self) -> Prober {
        Prober {
            config: self.host.config.clone(),
            folder: self.folder.clone(),
            namespace: self.network.name.clone(),
            address: self.network.probe_address(),
        }
    }

    /// Keeps `ready` true to the readiness probe.
    async fn watch_readiness(&self, epoch: u64) -> Infallible {
        let Some(probe) = &self.record.spec.execution.readiness else {
            self.set_ready(epoch, true);
            return std::future::pending().await;
        };
        let (prober, mut failures) = (self.prober(), 0);
        loop {
            match prober.check(probe).await {
                Ok(()) => {
                    failures = 0;
                    self.set_ready(epoch, true);
                }
                Err(why) => {
                    failures += 1;
                    if failures >= probe.failure_threshold {
                        tracing::debug!(container = %self.record.id, why, "a container is not ready");
                        self.set_ready(epoch, false);
                    }
                }
            }
            let period = Duration::from(probe.period_seconds);
            // A container that starts is looked at more often, so that it serves as soon as it can.
            let soon = !self.is_ready() && failures < probe.failure_threshold.max(QUICK_TRIES);
            sleep(if soon {
                PROBE_AGAIN.min(period)
            } else {
                period
            })
            .await;
        }
    }

    /// Waits until the liveness probe has failed too often. A container that has never been ready is still starting.
    async fn unwell(&self) -> String {
        let Some(probe) = &self.record.spec.execution.liveness else {
            return std::future::pending().await;
        };
        let mut seen = self.state.subscribe();
        let was_ready = seen.wait_for(|state| state.as_ref().is_some_and(|state| state.ready));
        if was_ready.await.is_err() {
            return std::future::pending().await;
        }
        let why = self.prober().failed(probe).await;
        format!("liveness probe failed: {why}")
    }

    /// Puts back what others took from the container's network. Waits until that is of no use, because the name of the
    /// namespace leads to another one than the container is in.
    async fn mend_network(&self, run: &Run) -> String {
        loop {
            sleep(MEND_NETWORK).await;
            if run.init().is_some_and(|init| self.network.is_lost(&init)) {
                return "its network namespace was deleted".to_owned();
            }
            let network = self.network.clone();
            let mended = blocking(move || {
                network.ensure().map_err(|error| {
                    let what = "cannot mend the container's network";
                    api::Error::caused(api::ErrorKind::Unavailable, what, error)
                })
            });
            if let Err(error) = mended.await {
                tracing::warn!(container = %self.record.id, error = api::chain(&error), "the network is not as it must be");
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.state
            .borrow()
            .as_ref()
            .is_some_and(|state| state.ready)
    }

    /// Shows whether it is ready, and keeps it for the next agent.
    fn set_ready(&self, epoch: u64, ready: bool) {
        if self.is_ready() != ready {
            self.keep("ready.json", &Ready { epoch, ready });
        }
        self.update(|state| {
            state.ready = ready && matches!(state.phase, ContainerPhase::Running { .. });
        });
    }
}
