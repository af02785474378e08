//! The one thread that writes to the file: it gathers what is waiting, commits it as one transaction and acknowledges.
//!
//! Its queue has room for all that a server submits without an answer: what is answered here may submit more, and must
//! not wait for this thread. It knows nothing of opening and reading. After the first failure it commits nothing any more, because a batch that
//! is durable without its predecessor would be worse than a server that stops.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use redb::{Database, Durability, ReadableTable, WriteTransaction};

use super::{CHANGES, META, META_FORGOTTEN, META_REVISION, OBJECTS};
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
    pub(super) fn start(db: Arc<Database>) -> Self {
        let (queue, waiting) = sync_channel(BATCHES_MAX);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&db, &waiting));
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

fn run(db: &Database, waiting: &Receiver<Waiting>) {
    let mut failed = None;
    while let Ok(first) = waiting.recv() {
        let (batches, dones) = gather(first, waiting);
        let outcome = match &failed {
            Some(error) => Err(Error::clone(error)),
            None => commit(db, &batches),
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

/// Writes all batches in one transaction; when it returns, they have been synced.
pub(super) fn commit(db: &Database, batches: &[Batch]) -> Result<(), Error> {
    let mut transaction = db.begin_write().map_err(Error::new)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(Error::new)?;
    transaction.set_two_phase_commit(true);
    for batch in batches {
        write(&transaction, batch)?;
    }
    transaction.commit().map_err(Error::new)
}

/// Writes one batch, if it follows what is there.
fn write(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Error> {
    let found = exchange(transaction, META_REVISION, batch.revision).map_err(Error::new)?;
    if found != batch.after {
        return Err(Error::superseded(batch.after, found));
    }
    replace(transaction, batch).map_err(Error::new)
}

/// Sets a number about the file, and answers what it was.
fn exchange(transaction: &WriteTransaction, name: &str, number: u64) -> Result<u64, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let before = meta.insert(name, number)?;
    Ok(before.map_or(0, |before| before.value()))
}

/// Writes what a batch says, and what that replaces; forgets what may be forgotten.
fn replace(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut changes = transaction.open_table(CHANGES)?;
    for write in &batch.writes {
        let key = write.key.as_str();
        let before = match &write.value {
            Some(value) => objects.insert(key, value.as_ref())?,
            None => objects.remove(key)?,
        };
        let before = before.as_ref().map(redb::AccessGuard::value);
        changes.insert(write.revision, (key, before))?;
    }
    let oldest = changes.first()?.map(|(oldest, _)| oldest.value());
    if oldest.is_some_and(|oldest| oldest <= batch.forget) {
        changes.retain_in(..=batch.forget, |_, _| false)?;
        exchange(transaction, META_FORGOTTEN, batch.forget)?;
    }
    Ok(())
}
