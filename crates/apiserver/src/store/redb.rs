//! Storage in one file on this machine's disk, by the redb library.
//!
//! One thread commits. Whatever was submitted while the previous commit was syncing goes into the next one, so that
//! many writers share one sync (group commit). A batch is acknowledged after redb's two-phase commit returned, which
//! means that the file was synced twice: once for the pages and once for the root that names them.
//! The file is read whole and its checksums are verified when it is opened; a damaged file, or one of a newer
//! version, is refused. There is no repair beyond what redb does after a crash, and no second copy.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::{Batch, Done, Error, Loaded, Storage, Write};

mod committer;

/// The layout of the tables below; a file with a higher number was written by a newer version.
const FORMAT: u64 = 1;
/// Batches that may wait for a commit; submitting more waits for the disk.
const PENDING_MAX: usize = 16_384;
/// Memory that redb may use for pages; the server itself holds all objects, so little is enough.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Every object, by its key.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// `format` and `revision`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Objects in one file; dropping it waits for what was submitted.
pub struct Redb {
    path: PathBuf,
    db: std::sync::Arc<Database>,
    /// `None` only while dropping, so that the thread sees the end of its queue.
    queue: Option<SyncSender<(Batch, Done)>>,
    committer: Option<JoinHandle<()>>,
}

impl Redb {
    /// Opens the file, or makes it with mode 0600.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged or no store at all, and when a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (file, is_new) = file(path)?;
        let db = checked(path, || Builder::new().set_cache_size(CACHE_BYTES).create_file(file))?;
        let storage = Self::start(path, db)?;
        if is_new {
            sync_folder(path)?;
        }
        Ok(storage)
    }
}
