//! The one thread that writes to a place: it gathers what is waiting, commits it together and acknowledges.
//!
//! Its queue has room for all that a server submits without an answer: what is answered here may submit more, and must
//! not wait for this thread. How a place commits, others know. After a failure it commits nothing any more, because a batch
//! that is durable without its predecessor would be worse than a server that stops. Where only something is lacking, a
//! batch that follows the last one that is durable is tried again, from time to time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::store::{BATCHES_MAX, Batch, Done, Error};

/// Bytes after which a group takes no further batch; it bounds what a transaction holds in memory.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long nothing is tried after something was lacking.
const PAUSE: Duration = Duration::from_secs(1);
/// A commit that takes longer is told in the log.
const SLOW: Duration = Duration::from_secs(1);

/// The committing thread and its queue.
pub(super) struct Committer {
    /// `None` only while dropping: closing the queue ends the thread.
    queue: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch and who waits for it.
type Waiting = (Batch, Done);

/// Why nothing is committed.
struct Failed {
    error: Error,
    /// The revision that the first batch follows that failed: the last one that is durable.
    after: u64,
    since: Instant,
}

impl Committer {
    /// Starts it; `commit` makes the first of some batches durable, and says how many. It is not called again once it has
    /// failed, unless something was lacking.
    pub(super) fn start(
        commit: impl FnMut(&[Batch]) -> Result<usize, Error> + Send + 'static,
    ) -> Self {
        let (queue, waiting) = sync_channel(BATCHES_MAX);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(commit, &waiting));
        let thread = thread.expect("a process that may not start one thread cannot serve");
        Self {
            queue: Some(queue),
            thread: Some(thread),
        }
    }

    pub(super) fn submit(&self, batch: Batch, done: Done) {
        let queue = self.queue.as_ref().expect("the queue is open until drop");
        if let Err(refused) = queue.send((batch, done)) {
            let (_, done) = refused.0;
            done(Err(Error::new(
                "the thread that writes the store has ended",
            )));
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.take();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that writes the store panicked");
        }
    }
}

fn run(mut commit: impl FnMut(&[Batch]) -> Result<usize, Error>, waiting: &Receiver<Waiting>) {
    let mut failed: Option<Failed> = None;
    while let Ok(first) = waiting.recv() {
        let (batches, mut dones) = gather(first, waiting);
        let mut rest = &batches[..];
        while let Some(next) = rest.first() {
            let outcome = match failed.as_ref().filter(|failed| failed.refuses(next)) {
                Some(failed) => Err(failed.error.clone()),
                None => {
                    let outcome = unbroken(|| timed(rest.len(), || commit(rest)));
                    failed = noted(failed, next.after, &outcome);
                    outcome
                }
            };
            let answered = outcome.as_ref().map_or(rest.len(), |n| *n);
            for done in dones.drain(..answered) {
                done(outcome.clone().map(drop));
            }
            rest = &rest[answered..];
        }
    }
}

impl Failed {
    fn refuses(&self, batch: &Batch) -> bool {
        self.error.lack().is_none() || batch.after != self.after || self.since.elapsed() < PAUSE
    }
}

/// Whether it has failed by now; the log is told when that changes.
fn noted(before: Option<Failed>, after: u64, outcome: &Result<usize, Error>) -> Option<Failed> {
    let Err(error) = outcome else {
        if before.is_some() {
            tracing::info!("the store takes writes again");
        }
        return None;
    };
    let why = api::chain(error);
    match (error.lack(), before) {
        (Some(_), Some(_)) => tracing::debug!(error = why, "the store still takes no write"),
        (Some(_), None) => {
            tracing::error!(error = why, "the store takes no write until that changes")
        }
        (None, _) => tracing::error!(error = why, "the store takes no further write"),
    }
    Some(Failed {
        error: error.clone(),
        after,
        since: Instant::now(),
    })
}

/// Tells the log of what took long.
fn timed<T>(batches: usize, commit: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let committed = commit();
    let took = begun.elapsed();
    if took > SLOW {
        tracing::warn!(?took, batches, "storing takes long");
    }
    committed
}

/// What the libraries below panic of is a failure as others are: nobody waits for it for ever.
fn unbroken(commit: impl FnOnce() -> Result<usize, Error>) -> Result<usize, Error> {
    let committed = catch_unwind(AssertUnwindSafe(commit));
    committed.unwrap_or_else(|_| Err(Error::new("the code that writes the store broke down")))
}

/// The first batch and all others that are already there, within the limits.
fn gather(first: Waiting, waiting: &Receiver<Waiting>) -> (Vec<Batch>, Vec<Done>) {
    let mut bytes = size(&first.0);
    let (mut batches, mut dones) = (vec![first.0], vec![first.1]);
    while bytes < GROUP_BYTES_MAX {
        let Ok((batch, done)) = waiting.try_recv() else {
            break;
        };
        bytes += size(&batch);
        batches.push(batch);
        dones.push(done);
    }
    (batches, dones)
}

fn size(batch: &Batch) -> usize {
    batch
        .writes
        .iter()
        .map(|write| write.key.len() + write.value.as_ref().map_or(0, bytes::Bytes::len))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::store::Lack;

    /// A log that remembers.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut text = self.0.lock().unwrap();
            write!(text, "{} ", event.metadata().level()).unwrap();
            event.record(&mut Line(&mut text));
            text.push('\n');
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    struct Line<'t>(&'t mut String);

    impl Visit for Line<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                write!(self.0, "{value:?}").unwrap();
            }
        }
    }

    /// Answers batches after these revisions, as a place does that says this of one after the other.
    fn answered(
        afters: &[u64],
        says: impl FnMut(&[Batch]) -> Result<usize, Error>,
    ) -> (Vec<bool>, String) {
        let (queue, waiting) = sync_channel(BATCHES_MAX);
        let answers = Arc::new(Mutex::new(Vec::new()));
        for &after in afters {
            let batch = Batch {
                after,
                revision: after + 1,
                writes: Vec::new(),
                forget: 0,
            };
            let answers = answers.clone();
            let done: Done = Box::new(move |done| answers.lock().unwrap().push(done.is_ok()));
            queue.send((batch, done)).unwrap();
        }
        drop(queue);
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || run(says, &waiting));
        let answers = answers.lock().unwrap().clone();
        let log = log.0.lock().unwrap().clone();
        (answers, log)
    }

    #[test]
    fn what_is_durable_is_acknowledged_and_the_rest_is_tried_on() {
        let mut calls = 0;
        let says = |batches: &[Batch]| {
            calls += 1;
            Ok(batches.len().min(2))
        };
        assert_eq!(
            answered(&[0, 1, 2, 3, 4], says),
            (vec![true; 5], String::new())
        );
        assert_eq!(calls, 3);
    }

    #[test]
    fn a_slow_commit_is_told() {
        let says = |batches: &[Batch]| {
            thread::sleep(SLOW + Duration::from_millis(1));
            Ok(batches.len())
        };
        assert_eq!(answered(&[0], says).1, "WARN storing takes long\n");
    }

    #[test]
    fn nothing_is_tried_soon_after_something_was_lacking() {
        let mut calls = 0;
        let says = |batches: &[Batch]| {
            calls += 1;
            match calls {
                1 => Ok(1),
                _ => Err(Error::lacking(Lack::Room, format!("of {}", batches.len()))),
            }
        };
        let (answers, log) = answered(&[0, 1, 2, 1], says);
        assert_eq!(answers, [true, false, false, false]);
        assert_eq!(log, "ERROR the store takes no write until that changes\n");
        assert_eq!(calls, 2);
    }
}
