//! The storage port: where writes become durable, and from where a server starts again.
//!
//! The port is deliberately small: the server keeps every object in memory, so storage is never read after
//! [`Storage::load`], never asked to search, and never decides. The server alone assigns revisions, and says when the
//! past may be forgotten.
//! `memory` keeps nothing (tests, laws, demos without a disk); other implementations live beside it.

pub mod backup;
mod committer;
pub mod etcd;
pub mod memory;
pub mod redb;
pub mod sealed;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::object::OBJECT_BYTES_MAX;

/// Longest key that a server ever writes, in bytes: four path segments of at most 253 bytes each, joined.
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest value that a server ever writes, in bytes: the largest object that a client may make, and what the server
/// itself puts into its metadata (its version, the mark of its deletion, the names that only stored Events have).
pub const VALUE_BYTES_MAX: usize = OBJECT_BYTES_MAX + 1024;

/// Most batches that a server has submitted and has no answer to; what is decided meanwhile goes into the next one.
pub const BATCHES_MAX: usize = 1024;

/// A place that makes writes durable.
///
/// # Contract
///
/// - [`load`](Storage::load) is called before the first commit, and gives what all acknowledged batches left behind, as of
///   one revision, and every change since the last that was forgotten.
/// - [`commit`](Storage::commit) takes batches in strictly rising order of `revision`. It returns at once; `done` is called
///   exactly once per batch, in the order of submission, from any thread or from within `commit` itself.
/// - A batch is written only where the last revision is the one that it follows; elsewhere it is refused as
///   [superseded](Error::is_superseded), and nothing of it is there.
/// - `done` itself may call `commit`, so that waiting there for room would wait for itself: [`BATCHES_MAX`] batches have
///   room, and no more are submitted.
/// - `done(Ok)` means: after any crash from here on, `load` shows this batch and all before it, and a batch is seen
///   whole or not at all. An unacknowledged batch may be there after a crash or not, but never without its predecessors.
/// - After `done(Err)` every later batch fails too: a hole in the order would be worse than a server that stops. Where only
///   something is [lacking](Error::lack), nothing of the batch is there, and one that follows what is there may be taken.
/// - Concurrent batches should share one sync (group commit): the server submits without waiting for the previous one.
/// - Dropping the storage waits until what was submitted is decided, so that a new one may open the same place.
pub trait Storage: Send + Sync + 'static {
    /// Everything that was acknowledged, in key order, and what led there.
    ///
    /// # Errors
    /// When the place cannot be read, or holds what this version does not understand.
    fn load(&self) -> Result<Loaded, Error>;

    /// Makes `batch` durable and then calls `done`.
    fn commit(&self, batch: Batch, done: Done);

    /// What one batch may hold.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

impl Storage for Box<dyn Storage> {
    fn load(&self) -> Result<Loaded, Error> {
        (**self).load()
    }

    fn commit(&self, batch: Batch, done: Done) {
        (**self).commit(batch, done);
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }
}

/// What one batch may hold; a write that alone has more bytes cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most writes.
    pub writes: usize,
    /// Most bytes of all values.
    pub bytes: usize,
    /// Whether a key may occur only once.
    pub each_key_once: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            writes: usize::MAX,
            bytes: usize::MAX,
            each_key_once: false,
        }
    }
}

/// What a server starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The revision of the last acknowledged batch; 0 when nothing was ever written.
    pub revision: u64,
    /// Every key with its value, in key order.
    pub entries: Vec<(String, Bytes)>,
    /// Changes up to this revision are forgotten.
    pub forgotten: u64,
    /// The changes after it, oldest first: undone from the newest on, they lead from the entries back to that revision.
    pub changes: Vec<Undo>,
}

/// What one write has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The revision of the write.
    pub revision: u64,
    /// What was set or removed.
    pub key: String,
    /// The value before it; `None` where there was none.
    pub before: Option<Bytes>,
}

/// Writes that become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision of the batch that it follows.
    pub after: u64,
    /// The revision of the last write in it; higher than that of any batch before.
    pub revision: u64,
    /// The writes, in the order in which they were decided. A key may occur twice; the later one counts. There are none
    /// where a server only finds out whether writes are taken again.
    pub writes: Vec<Write>,
    /// Changes up to this revision may be forgotten.
    pub forget: u64,
}

/// One key set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its own revision, higher than that of any write before.
    pub revision: u64,
    /// `{group}/{plural}/{namespace}/{name}`, the namespace empty for cluster-scoped objects.
    pub key: String,
    /// The object as JSON with its `resourceVersion`; `None` removes the key.
    pub value: Option<Bytes>,
}

/// Called when a batch is durable, or can never be.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Why storage failed; it is shared by all who waited for the same batch.
#[derive(Clone)]
pub struct Error(Arc<dyn std::error::Error + Send + Sync>);

impl Error {
    /// Wraps what went wrong below.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(source.into()))
    }

    /// Somebody else has written since the revision that a batch follows.
    #[must_use]
    pub fn superseded(after: u64, found: u64) -> Self {
        Self::new(Superseded { after, found })
    }

    /// Whether somebody else has written.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.0.is::<Superseded>()
    }

    /// A place cannot take a batch for now; nothing of it is there.
    pub fn lacking(
        lack: Lack,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::new(Lacking { lack, source })
    }

    /// What is missing, if nothing else is wrong: once it is there, batches are taken again.
    #[must_use]
    pub fn lack(&self) -> Option<Lack> {
        self.0.downcast_ref::<Lacking>().map(|lacking| lacking.lack)
    }
}

/// What a place may lack for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// A disk, a quota or the space of etcd is used up.
    #[error("the store has no room left")]
    Room,
    /// A file system is mounted read-only.
    #[error("the store is read-only")]
    Writing,
}

/// Something is missing, and why.
#[derive(Debug, thiserror::Error)]
#[error("{lack}")]
struct Lacking {
    lack: Lack,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// A batch does not follow what is there.
#[derive(Debug, thiserror::Error)]
#[error("a batch after revision {after} was given to a place that is at revision {found}")]
struct Superseded {
    after: u64,
    found: u64,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot use the object storage")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storage: {:?}", self.0)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
