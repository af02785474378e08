//! The one thread that writes to a place: it gathers what is waiting, commits it together and acknowledges.
//!
//! Its queue has room for all that a server submits without an answer: what is answered here may submit more, and must
//! not wait for this thread. How a place commits, others know. After the first failure it commits nothing any more, because a batch that
//! is durable without its predecessor would be worse than a server that stops.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::store::{BATCHES_MAX, Batch, Done, Error};

/// Bytes after which a group takes no further batch; it bounds what a transaction holds in memory.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The committing thread and its queue.
pub(super) struct Committer {
    /// `None` only while dropping: closing the queue ends the thread.
    queue: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch and who waits for it.
type Waiting = (Batch, Done);

impl Committer {
    /// Starts it; `commit` makes batches durable, all or the first of them, and is not called again once it has failed.
    pub(super) fn start(
        commit: impl FnMut(&[Batch]) -> Result<(), Error> + Send + 'static,
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

fn run(mut commit: impl FnMut(&[Batch]) -> Result<(), Error>, waiting: &Receiver<Waiting>) {
    let mut failed = None;
    while let Ok(first) = waiting.recv() {
        let (batches, dones) = gather(first, waiting);
        let outcome = match &failed {
            Some(error) => Err(Error::clone(error)),
            None => unbroken(|| commit(&batches)),
        };
        if let (None, Err(error)) = (&failed, &outcome) {
            tracing::error!(
                error = api::chain(error),
                "the store takes no further write"
            );
            failed = Some(error.clone());
        }
        for done in dones {
            done(outcome.clone());
        }
    }
}

/// What the libraries below panic of is a failure as others are: nobody waits for it for ever.
fn unbroken(commit: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
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
