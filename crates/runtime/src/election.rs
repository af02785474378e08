//! Who leads: of several processes that could do the same work, the one that holds a Lease.
//!
//! It is the protocol of client-go's `leaderelection`, so that a Lease says the same to people and tools. A process that
//! does not lead takes the Lease when it has seen it stand still for the whole time that its holder asked for; clocks are
//! never compared. One that leads stops well before that, if it cannot renew.
//!
//! Nothing is fenced: a request that was on its way when leadership ended may still arrive. Writes therefore carry the
//! version that they are based on, here as everywhere. Crates that offer the same compare the times of two machines.

use std::pin::pin;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::failure::failed;
use crate::task::spawn;

/// How long a holder may be silent before another takes the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this time stops; well before [`DURATION`], because its clock may run a little slow.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is renewed, or looked at by those who wait.
const RETRY: Duration = Duration::from_secs(2);
/// A Lease that was given back is free at once, but its form wants a duration.
const GIVEN_BACK: Duration = Duration::from_secs(1);

/// One process in an election.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    me: String,
    clock: Clock,
    seen: Option<Seen>,
    /// When the Lease was last taken or renewed; from then on, at the latest, others count.
    renewed: Instant,
    /// Whether it was taken from another one that had not given it back.
    inherited: bool,
}

/// The Lease, and since when this process has seen it so.
struct Seen {
    lease: Lease,
    since: Instant,
}

impl Election {
    /// An election by the Lease of that name; `me` is the name of this process alone.
    pub fn new(client: Client, (namespace, name): (&str, &str), me: &str, clock: Clock) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            clock,
            seen: None,
            renewed: Instant::now(),
            inherited: false,
        }
    }

    /// Does the work whenever this process leads, until `shutdown` completes. Work is given what tells it to end; when
    /// leadership is lost it is ended and this process stands by.
    ///
    /// # Errors
    /// When the work ends although nobody told it to.
    pub async fn lead<F>(
        mut self,
        shutdown: impl Future<Output = ()>,
        work: impl Fn(oneshot::Receiver<()>) -> F,
    ) -> Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut shutdown = pin!(shutdown);
        loop {
            let won = tokio::select! {
                biased;
                () = &mut shutdown => None,
                won = self.prevail() => Some(won),
            };
            match won {
                None => {
                    // What was on its way may have won.
                    self.resign().await;
                    return Ok(());
                }
                Some(false) => continue,
                Some(true) => info!(me = self.me, "leading"),
            }
            let (stop, stopped) = oneshot::channel();
            let mut work = spawn(work(stopped));
            let ends = tokio::select! {
                biased;
                () = &mut shutdown => true,
                () = self.hold() => false,
                ended = &mut work => {
                    self.resign().await;
                    let why = ended.err().map_or_else(String::new, |error| format!(": {error}"));
                    let message = format!("the work of the leader ended by itself{why}");
                    return Err(Error::new(ErrorKind::Internal, message));
                }
            };
            drop(stop);
            // Nobody else may begin before this has ended.
            let _ = work.await;
            if ends {
                self.resign().await;
                return Ok(());
            }
            warn!(me = self.me, "leading no more; standing by");
        }
    }

    /// Waits until this process leads and whoever led before has certainly ended: of one that fell silent, something may
    /// still be on its way. Answers whether it leads still.
    async fn prevail(&mut self) -> bool {
        self.win().await;
        if !self.inherited {
            return true;
        }
        info!(
            me = self.me,
            "won after one that fell silent; waiting once more as long"
        );
        tokio::select! {
            () = self.hold() => false,
            () = sleep(DURATION) => true,
        }
    }

    /// Waits until this process holds the Lease.
    async fn win(&mut self) {
        let mut told = None;
        loop {
            let begun = Instant::now();
            match timeout(DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.renewed = begun;
                    return;
                }
                Ok(Ok(false)) => {
                    let holder = self.holder();
                    if holder != told {
                        info!(holder, "standing by");
                    }
                    told = holder;
                }
                Ok(Err(error)) if error.kind == ErrorKind::Conflict => {}
                Ok(Err(error)) => warn!(error = api::chain(&error), "cannot stand for election"),
                Err(_) => warn!("cannot stand for election: no answer"),
            }
            sleep(RETRY).await;
        }
    }

    /// Renews the Lease until it is lost.
    async fn hold(&mut self) {
        while self.renewed.elapsed() < DEADLINE {
            let left = DEADLINE.saturating_sub(self.renewed.elapsed());
            sleep(RETRY.min(left)).await;
            // Taken before the request: others count from when they see it, which is later.
            let begun = Instant::now();
            let left = DEADLINE.saturating_sub(self.renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => self.renewed = begun,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => debug!(error = api::chain(&error), "cannot renew"),
                Err(_) => debug!("cannot renew: no answer"),
            }
        }
    }

    /// Takes or renews the Lease; whether this process then leads.
    async fn attempt(&mut self) -> Result<bool> {
        let found = self.leases.get_opt(&self.name).await;
        let found = found.map_err(failed(format!("read lease {}", self.name)))?;
        let how = PostParams::default();
        let written = match found {
            None => self.leases.create(&how, &self.new_lease()).await,
            Some(found) => {
                self.see(found.clone());
                if self.is_anothers() {
                    return Ok(false);
                }
                if let Some(holder) = self.holder().filter(|holder| *holder != self.me) {
                    self.inherited = !holder.is_empty();
                }
                let taken = self.taken(found);
                self.leases.replace(&self.name, &how, &taken).await
            }
        };
        let written = written.map_err(failed(format!("write lease {}", self.name)))?;
        self.see(written);
        Ok(true)
    }

    /// Gives the Lease back, so that another need not wait. One that cannot be given back runs out.
    async fn resign(&mut self) {
        let given_back = async {
            let found = self.leases.get(&self.name).await;
            let mut lease = found.map_err(failed(format!("read lease {}", self.name)))?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.me) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = seconds(GIVEN_BACK);
            let how = PostParams::default();
            let done = self.leases.replace(&self.name, &how, &lease).await;
            done.map(drop)
                .map_err(failed(format!("write lease {}", self.name)))
        };
        let done: std::result::Result<Result<()>, _> = timeout(RETRY, given_back).await;
        let silent = || Err(Error::new(ErrorKind::Unavailable, "no answer"));
        if let Err(error) = done.unwrap_or_else(|_| silent()) {
            warn!(error = api::chain(&error), "cannot give the lease back");
        }
    }

    fn see(&mut self, lease: Lease) {
        let stands = |seen: &&Seen| seen.lease.spec == lease.spec;
        let since = self.seen.as_ref().filter(stands).map(|seen| seen.since);
        let since = since.unwrap_or_else(Instant::now);
        self.seen = Some(Seen { lease, since });
    }

    /// Whether the Lease is held by another process that may still be there.
    fn is_anothers(&self) -> bool {
        let Some(Seen { lease, since }) = &self.seen else {
            return false;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let asked = spec.lease_duration_seconds;
        let asked = asked.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = asked.map_or(DURATION, Duration::from_secs);
        let holder = spec.holder_identity.unwrap_or_default();
        !holder.is_empty() && holder != self.me && since.elapsed() < lasts
    }

    fn holder(&self) -> Option<String> {
        self.seen.as_ref()?.lease.spec.clone()?.holder_identity
    }

    fn new_lease(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        self.taken(Lease {
            metadata,
            spec: None,
        })
    }

    /// The Lease with this process as its holder.
    fn taken(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(self.clock.now());
        let before = lease.spec.take();
        let is_mine = |spec: &LeaseSpec| spec.holder_identity.as_deref() == Some(&self.me);
        let transitions = before.as_ref().map(|it| it.lease_transitions.unwrap_or(0));
        let mut spec = before.filter(is_mine).unwrap_or_else(|| LeaseSpec {
            acquire_time: Some(now.clone()),
            lease_transitions: Some(transitions.map_or(0, |so_far| so_far.saturating_add(1))),
            ..LeaseSpec::default()
        });
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = seconds(DURATION);
        spec.renew_time = Some(now);
        debug!(lease = lease.name_any(), "renewing");
        lease.spec = Some(spec);
        lease
    }
}

fn seconds(duration: Duration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

#[cfg(test)]
mod tests;
