//! Storage in one file on this machine's disk, by the redb library.
//!
//! One thread commits ([`committer`](super::committer)). Whatever was submitted while the previous commit was syncing goes into the next
//! one, so that many writers share one sync (group commit). A batch is acknowledged after redb's two-phase commit
//! returned: the file was synced once for the pages and once more for the root that names them.
//! Beside the objects stands what each write has replaced ([`CHANGES`]), until the server lets the past go.
//! Opening verifies the checksum of every page, as the disk has it; a damaged file, or one of a newer version, is refused.
//! After a write that found no room, or a file system that is read-only, the file is opened again for the next one
//! ([`mod@file`]). After a failed sync nothing is: what the kernel then shows of the file may not be on the disk.
//! There is no repair beyond what redb does after a crash, and no second copy.

mod disk;
mod file;
mod transaction;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    AccessGuard, Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageError, TableDefinition,
};

use self::disk::{Faults, Watched};
use self::file::File;
use crate::store::committer::Committer;
use crate::store::{Batch, Done, Error, Loaded, Storage, Undo};

/// The layout of the tables below; a file with a higher number was written by a newer version.
const FORMAT: u64 = 2;
/// The layout without [`CHANGES`].
const FORMAT_WITHOUT_CHANGES: u64 = 1;
/// Memory that redb may use for pages; the server itself holds all objects, so little is enough.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Only the owner may read what is stored: Secrets are among it.
const FILE_MODE: u32 = 0o600;

/// Every object, by its key.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// What each write has replaced: by its revision, the key and the value before, if there was one.
const CHANGES: TableDefinition<u64, (&str, Option<&[u8]>)> = TableDefinition::new("changes");
/// Numbers about the file, by the names below.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The layout of the file, see [`FORMAT`].
const META_FORMAT: &str = "format";
/// The revision of the last batch.
const META_REVISION: &str = "revision";
/// The revision up to which changes are forgotten.
const META_FORGOTTEN: &str = "forgotten";

/// Objects in one file. Dropping it waits for what was submitted.
pub struct Redb {
    /// Declared first, so that its thread has ended before the file is closed.
    committer: Committer,
    file: Arc<Mutex<File>>,
}

impl Redb {
    /// Opens the store at `path`, or makes an empty one that only its owner may read.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged or no store at all, when a newer version wrote it, and when it
    /// cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            Self::create(path, &Loaded::default())?;
        }
        let path = path.to_owned();
        Self::over(move |faults| open(&path, faults))
    }

    /// Makes a store with that content, that only its owner may read.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be written; then there is none.
    pub fn create(path: &Path, content: &Loaded) -> Result<(), Error> {
        create(path, content).map_err(|source| {
            Error::new(Refused::Create {
                path: path.into(),
                cause: api::chain(&*source),
            })
        })
    }

    /// Storage over what `open` opens.
    fn over(
        open: impl Fn(&Arc<Faults>) -> Result<Database, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let file = Arc::new(Mutex::new(File::open(open)?));
        let written = file.clone();
        Ok(Self {
            committer: Committer::start(move |batches| locked(&written).commit(batches)),
            file,
        })
    }
}

impl Storage for Redb {
    fn load(&self) -> Result<Loaded, Error> {
        loaded(locked(&self.file).db()?).map_err(Error::new)
    }

    fn commit(&self, batch: Batch, done: Done) {
        self.committer.submit(batch, done);
    }
}

fn locked(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the file that is there.
fn open(path: &Path, faults: &Arc<Faults>) -> Result<Database, Error> {
    let disk = guarded(path, || Ok(disk::open(path)?))?;
    understood(path, |builder| {
        let disk = Watched::new(disk, faults.clone());
        builder
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(disk)
    })
}

/// Opens what is there, and refuses what is damaged or not understood; `path` is for messages.
fn understood(
    path: &Path,
    open: impl FnOnce(&mut Builder) -> Result<Database, DatabaseError>,
) -> Result<Database, Error> {
    let repaired = Arc::new(AtomicBool::new(false));
    let mut builder = Builder::new();
    builder.set_repair_callback({
        let repaired = repaired.clone();
        move |_| repaired.store(true, Ordering::Relaxed)
    });
    let mut db = guarded(path, || Ok(open(&mut builder)?))?;
    // Who opens it after a crash has checked it already.
    let intact = repaired.load(Ordering::Relaxed) || guarded(path, || Ok(db.check_integrity()?))?;
    if !intact {
        tracing::warn!(path = %path.display(), "free space of the store was rebuilt");
    }
    match guarded(path, || Ok(number(&db, META_FORMAT)?.unwrap_or_default()))? {
        FORMAT => {}
        FORMAT_WITHOUT_CHANGES => guarded(path, || upgrade(&db))?,
        format => return Err(Error::new(Refused::format(path, format))),
    }
    Ok(db)
}

/// Makes a store under another name and links it, so that a crash never leaves half a store at `path`.
fn create(path: &Path, content: &Loaded) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&unfinished)?;
    let db = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file)?)?;
    initialise(&db, content)?;
    drop(db);
    fs::File::open(&unfinished)?.sync_all()?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    fs::File::open(
        path.parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?
    .sync_all()?;
    Ok(())
}

/// Writes the tables, the format and the content of a new store.
fn initialise(db: &Database, content: &Loaded) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut objects = write.open_table(OBJECTS)?;
        for (key, value) in &content.entries {
            objects.insert(key.as_str(), value.as_ref())?;
        }
        let mut changes = write.open_table(CHANGES)?;
        for undo in &content.changes {
            let before = undo.before.as_deref();
            changes.insert(undo.revision, (undo.key.as_str(), before))?;
        }
        let mut meta = write.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_REVISION, content.revision)?;
        meta.insert(META_FORGOTTEN, content.forgotten)?;
    }
    write.commit()?;
    Ok(())
}

/// Makes the newest format of an older one, whose past nobody kept.
fn upgrade(db: &Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    write.open_table(CHANGES)?;
    {
        let mut meta = write.open_table(META)?;
        let revision = meta.get(META_REVISION)?.map_or(0, |number| number.value());
        meta.insert(META_FORGOTTEN, revision)?;
        meta.insert(META_FORMAT, FORMAT)?;
    }
    write.commit()?;
    Ok(())
}

/// Runs what reads an unverified file; redb panics on some damage, which is turned into a refusal here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Error> {
    let refused = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Refused::InUse { path: path.into() },
        Ok(Err(redb::Error::UpgradeRequired(_))) => Refused::Older { path: path.into() },
        // The disk says so, and not what is on it.
        Ok(Err(redb::Error::Io(cause))) if cause.raw_os_error().is_some() => {
            let lack = disk::lack(&cause);
            let refused = Refused::Unusable {
                path: path.into(),
                cause,
            };
            return Err(match lack {
                Some(lack) => Error::lacking(lack, refused),
                None => Error::new(refused),
            });
        }
        Ok(Err(error)) => Refused::Damaged {
            path: path.into(),
            cause: api::chain(&error),
        },
        Err(_) => Refused::Damaged {
            path: path.into(),
            cause: "its pages contradict each other".to_owned(),
        },
    };
    Err(Error::new(refused))
}

fn loaded(db: &Database) -> Result<Loaded, redb::Error> {
    let read = db.begin_read()?;
    let entries = entries(&read.open_table(OBJECTS)?)?;
    let mut changes = Vec::new();
    for change in read.open_table(CHANGES)?.iter()? {
        let (revision, replaced) = change?;
        let (key, before) = replaced.value();
        changes.push(Undo {
            revision: revision.value(),
            key: key.to_owned(),
            before: before.map(Bytes::copy_from_slice),
        });
    }
    let meta = read.open_table(META)?;
    let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |number| number.value()));
    Ok(Loaded {
        revision: number(META_REVISION)?,
        entries,
        forgotten: number(META_FORGOTTEN)?,
        changes,
    })
}

/// All objects; a second thread reads them from the end.
fn entries(
    objects: &ReadOnlyTable<&'static str, &'static [u8]>,
) -> Result<Vec<(String, Bytes)>, redb::Error> {
    let all = usize::try_from(objects.len()?).expect("they fit into memory");
    let half = all / 2;
    let copy = |entry: Result<(AccessGuard<'_, &str>, AccessGuard<'_, &[u8]>), StorageError>| {
        let (key, value) = entry?;
        Ok::<_, redb::Error>((
            key.value().to_owned(),
            Bytes::copy_from_slice(value.value()),
        ))
    };
    let (mut first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| {
            let last = objects.iter()?.rev().map(copy);
            last.take(half).collect::<Result<Vec<_>, _>>()
        });
        let first = objects.iter()?.map(copy).take(all - half);
        let first = first.collect::<Result<Vec<_>, _>>()?;
        let second = second.join().expect("reading panics nowhere")?;
        Ok::<_, redb::Error>((first, second))
    })?;
    first.extend(second.into_iter().rev());
    Ok(first)
}

fn number(db: &Database, name: &str) -> Result<Option<u64>, redb::Error> {
    let read = db.begin_read()?;
    Ok(read
        .open_table(META)?
        .get(name)?
        .map(|number| number.value()))
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("cannot make the store {}: {cause}", path.display())]
    Create { path: PathBuf, cause: String },
    #[error("cannot use the store {}: {cause}", path.display())]
    Unusable { path: PathBuf, cause: io::Error },
    #[error("the store {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the store {} has a layout that this version no longer reads", path.display())]
    Older { path: PathBuf },
    #[error("the store {} has format {found}, written by a newer version; this one reads format {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
    #[error("the store {} is damaged or is not a store: {cause}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, cause: String },
}

impl Refused {
    /// Why a file of that format is not read.
    fn format(path: &Path, found: u64) -> Self {
        match found {
            0 => Self::Damaged {
                path: path.into(),
                cause: "it names no format".to_owned(),
            },
            found => Self::Newer {
                path: path.into(),
                found,
            },
        }
    }
}
