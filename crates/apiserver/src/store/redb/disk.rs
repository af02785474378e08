//! The file below redb: it is read as the disk has it, and notes what goes wrong.
//!
//! After a failed sync the kernel may show pages that the disk never got, and call the next sync good; so nothing that it
//! shows from before is believed when a file is opened, and a failed sync is told from a write that found no room.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use crate::store::Lack;

/// By what every file of redb begins.
const MAGIC: &[u8] = b"redb";

/// Opens a file that is there, to be read from the disk.
pub(super) fn open(path: &Path) -> Result<FileBackend, DatabaseError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from)?;
    check_is_one(&mut file)?;
    FileBackend::new(file)
}

/// One that begins otherwise would be written over.
fn check_is_one(file: &mut File) -> io::Result<()> {
    let mut found = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut found)?;
    match found == MAGIC {
        true => Ok(()),
        false => Err(io::Error::other("it begins as none does")),
    }
}

/// What is missing, if an error of the disk says that something is.
pub(super) fn lack(error: &io::Error) -> Option<Lack> {
    match Errno::from_io_error(error)? {
        Errno::NOSPC | Errno::DQUOT => Some(Lack::Room),
        Errno::ROFS => Some(Lack::Writing),
        _ => None,
    }
}

/// What went wrong since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// What was missing for a write.
    lack: Option<Lack>,
    /// Anything else: what is on the disk is not known.
    worse: bool,
}

impl Faults {
    /// What was missing, if nothing worse happened.
    pub(super) fn take(&self) -> Option<Lack> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        noted.lack.filter(|_| !noted.worse)
    }

    fn note(&self, lack: Option<Lack>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.worse |= lack.is_none();
        noted.lack = noted.lack.or(lack);
    }
}

/// A disk whose faults are noted.
#[derive(Debug)]
pub(super) struct Watched<D> {
    disk: D,
    faults: Arc<Faults>,
}

impl<D> Watched<D> {
    pub(super) fn new(disk: D, faults: Arc<Faults>) -> Self {
        Self { disk, faults }
    }

    fn written(&self, result: io::Result<()>) -> io::Result<()> {
        result.inspect_err(|error| self.faults.note(lack(error)))
    }
}

type Locked<T> = Result<T, BackendError>;

impl<D: StorageBackend> StorageBackend for Watched<D> {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.disk.read(offset, out);
        read.inspect_err(|_| self.faults.note(None))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written(self.disk.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.disk.sync_data();
        synced.inspect_err(|_| self.faults.note(None))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written(self.disk.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.disk.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.disk.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.disk.query_lock_range(start, end)
    }
}
