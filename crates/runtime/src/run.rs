//! The loop: one watch per kind fills one cache; whatever changes wakes the objects that it concerns.
//!
//! It is an own loop over `kube::runtime::watcher` and not `controller::applier`: wake-ups by a waited-for object, by
//! hints and by a shared watch need one queue, attempts must be counted, and the order must be the same in every run.

mod listing;
mod wake;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorKind};
use futures::future::FutureExt;
use futures::stream::{SelectAll, StreamExt};
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, error, info_span, warn};

use crate::clock::Clock;
use crate::ctx::Ctx;
use crate::kinds::Kinds;
use crate::object::{Kind, KindName};
use crate::pass::{End, Pass};
use crate::queue::{Key, Queue};
use crate::reconcile::{Reconciler, Role};
use crate::stats::Stats;
use crate::worker::Worker;
use listing::Listing;
use wake::Bursts;

/// So many passes run at a time.
const PASSES_MAX: usize = 64;
/// A pass that takes longer is given up.
const PASS_MAX: Duration = Duration::from_secs(120);

/// Some reconcilers of one process over one API.
pub struct Runtime {
    ctx: Ctx,
    workers: Vec<Entry>,
    /// Field selectors of kinds of which not all objects are watched.
    selected: BTreeMap<KindName, String>,
    listing: Listing,
    queue: Queue,
    bursts: Bursts,
    stats: Arc<Stats>,
}

/// A reconciler with what it declared.
struct Entry {
    worker: Arc<dyn Worker>,
    kind: KindName,
    kinds: Kinds,
    ctx: Ctx,
}

impl Runtime {
    /// A loop without reconcilers.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self {
            ctx: Ctx::new(client, clock),
            workers: Vec::new(),
            selected: BTreeMap::new(),
            listing: Listing::default(),
            queue: Queue::default(),
            bursts: Bursts::default(),
            stats: Arc::default(),
        }
    }

    /// Adds a reconciler.
    ///
    /// # Panics
    ///
    /// If the kind has a reconciler of the same role already: the two would take each other's finalizer away.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "nobody takes a loop for a number"
    )]
    pub fn add<R: Reconciler>(mut self, reconciler: R) -> Self {
        let (kind, kinds) = (KindName::of::<R::Object>(), Worker::uses(&reconciler));
        let twice = self
            .workers
            .iter()
            .any(|entry| entry.kind == kind && clash(entry.worker.role(), R::role()));
        assert!(
            !twice,
            "{kind} has two reconcilers with the role {:?}",
            R::role()
        );
        let ctx = self.ctx.declaring(kinds.watched.keys().cloned());
        self.workers.push(Entry {
            worker: Arc::new(reconciler),
            kind,
            kinds,
            ctx,
        });
        self
    }

    /// Watches of a kind only the objects that a field selector names: an agent asks for no others' objects.
    #[must_use]
    pub fn select<K: Kind>(mut self, field_selector: impl Into<String>) -> Self {
        self.selected
            .insert(KindName::of::<K>(), field_selector.into());
        self
    }

    /// The counters, which stay readable while the loop runs.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// What the reconcilers write: a kind and a condition each.
    #[cfg(feature = "laws")]
    pub(crate) fn conditions(&self) -> impl Iterator<Item = crate::laws::Watcher> {
        let watcher = |entry: &Entry| crate::laws::Watcher {
            kind: entry.kind.clone(),
            condition: entry.worker.role().condition(),
        };
        self.workers.iter().map(watcher)
    }

    /// Runs until `shutdown` completes. Dropping it is safe at any point: a pass may end after any line.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut passes = JoinSet::new();
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.work(&mut passes) => {}
        }
        passes.shutdown().await;
    }

    async fn work(&mut self, passes: &mut JoinSet<(Key, Pass)>) {
        let mut hints = SelectAll::new();
        for (worker, entry) in self.workers.iter().enumerate() {
            hints.push(
                entry
                    .worker
                    .changes(&entry.ctx)
                    .map(move |name| (worker, name)),
            );
        }
        let mut watches = self.open_watches();
        // No pass may run before every list is complete: an empty cache reads as "nothing exists".
        while !self.listing.complete() {
            if let Some((kind, event)) = watches.next().await {
                self.see(kind, event);
            }
        }
        loop {
            self.wake_after_bursts();
            self.start_due(passes);
            let next = self.queue.next().filter(|_| passes.len() < PASSES_MAX);
            let next = next.into_iter().chain(self.bursts.next()).min();
            tokio::select! {
                // In this order, so that a run can be repeated: without `biased` the choice is random.
                biased;
                Some((kind, event)) = watches.next() => self.see(kind, event),
                Some(Ok((key, pass))) = passes.join_next(), if !passes.is_empty() => self.finish(&key, pass),
                Some((worker, name)) = hints.next() => self.hinted((worker, name)),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn start_due(&mut self, passes: &mut JoinSet<(Key, Pass)>) {
        while passes.len() < PASSES_MAX
            && let Some(key) = self.queue.pop_due()
        {
            let Some(cached) = self.ctx.find(&key.1) else {
                self.queue.forget(&key);
                continue;
            };
            let (object, patience) = self.queue.begin(&key, cached);
            let entry = &self.workers[key.0];
            let (worker, ctx, stats) =
                (entry.worker.clone(), entry.ctx.clone(), self.stats.clone());
            let span = info_span!("reconcile", kind = %key.1.kind, name = %key.1.name);
            let work = async move {
                stats.n_passes.add_one();
                let pass = AssertUnwindSafe(worker.pass(&ctx, object, patience)).catch_unwind();
                let end = match timeout(PASS_MAX, pass).await {
                    Ok(Ok(pass)) => return (key, pass),
                    Ok(Err(_)) => {
                        stats.n_panics.add_one();
                        error!("the pass panicked");
                        Error::new(ErrorKind::Internal, "the pass panicked")
                    }
                    Err(_) => {
                        error!("the pass took too long");
                        Error::new(ErrorKind::Unavailable, "the pass took too long")
                    }
                };
                (
                    key,
                    Pass {
                        end: End::Failed(end),
                        newest: None,
                    },
                )
            };
            passes.spawn(work.instrument(span));
        }
    }

    fn finish(&mut self, key: &Key, pass: Pass) {
        if matches!(&pass.end, End::Failed(error) if error.kind == ErrorKind::Conflict) {
            self.stats.n_conflicts.add_one();
        }
        if self.queue.finish(key, pass, self.ctx.now()) {
            warn!(object = %key.1, "acts again and again and does not settle");
        }
    }

    /// Two reconcilers may share one provider and so each other's hints.
    fn hinted(&mut self, key: Key) {
        if self.workers[key.0].kind == key.1.kind {
            self.queue.wake(&key, false);
        }
    }
}

/// Whether two reconcilers of one kind would write the same condition or finalizer.
fn clash(one: Role, other: Role) -> bool {
    match (one, other) {
        (
            Role::Guest {
                condition: a,
                finalizer: f,
            },
            Role::Guest {
                condition: b,
                finalizer: g,
            },
        ) => a == b || (f.is_some() && f == g),
        _ => one == other,
    }
}
