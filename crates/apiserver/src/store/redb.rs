//! Storage in one file on this machine's disk, by the redb library.
//!
//! One thread commits ([`committer`]). Whatever was submitted while the previous commit was syncing goes into the next
//! one, so that many writers share one sync (group commit). A batch is acknowledged after redb's two-phase commit
//! returned: the file was synced once for the pages and once more for the root that names them.
//! Opening verifies the checksum of every page; a damaged file, or one of a newer version, is refused.
//! There is no repair beyond what redb does after a crash, and no second copy.

mod committer;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use self::committer::Committer;
use crate::store::{Batch, Done, Error, Loaded, Storage};

/// The layout of the tables below; a file with a higher number was written by a newer version.
const FORMAT: u64 = 1;
/// Memory that redb may use for pages; the server itself holds all objects, so little is enough.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Only the owner may read what is stored: Secrets are among it.
const FILE_MODE: u32 = 0o600;

/// Every object, by its key.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// Numbers about the file, by the names below.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The layout of the file, see [`FORMAT`].
const META_FORMAT: &str = "format";
/// The revision of the last batch.
const META_REVISION: &str = "revision";

/// Objects in one file. Dropping it waits for what was submitted.
pub struct Redb {
    /// Declared first, so that its thread has ended before the file is closed.
    committer: Committer,
    db: Arc<Database>,
}

impl Redb {
    /// Opens the store at `path`, or makes an empty one that only its owner may read.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged or no store at all, and when a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            create(path).map_err(|source| {
                Error::new(Refused::Create {
                    path: path.into(),
                    cause: api::chain(&*source),
                })
            })?;
        }
        let mut db = guarded(path, || {
            Ok(Builder::new().set_cache_size(CACHE_BYTES).open(path)?)
        })?;
        let intact = guarded(path, || Ok(db.check_integrity()?))?;
        if !intact {
            tracing::warn!(path = %path.display(), "free space of the store was rebuilt");
        }
        let format = guarded(path, || Ok(number(&db, META_FORMAT)?.unwrap_or_default()))?;
        understood(path, format)?;
        Ok(Self::over(db))
    }

    /// Storage over a database that is open and understood.
    fn over(db: Database) -> Self {
        let db = Arc::new(db);
        Self {
            committer: Committer::start(Arc::clone(&db)),
            db,
        }
    }
}

impl Storage for Redb {
    fn load(&self) -> Result<Loaded, Error> {
        loaded(&self.db).map_err(Error::new)
    }

    fn commit(&self, batch: Batch, done: Done) {
        self.committer.submit(batch, done);
    }
}

/// Makes an empty store under another name and links it, so that a crash never leaves half a store at `path`.
fn create(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
    initialise(
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(FileBackend::new(file)?)?,
    )?;
    File::open(&unfinished)?.sync_all()?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    File::open(
        path.parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?
    .sync_all()?;
    Ok(())
}

/// Writes the tables and the format of an empty store.
fn initialise(db: Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    write.open_table(OBJECTS)?;
    write.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    write.commit()?;
    Ok(())
}

/// Runs what reads an unverified file; redb panics on some damage, which is turned into a refusal here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Error> {
    let refused = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Refused::InUse { path: path.into() },
        Ok(Err(redb::Error::UpgradeRequired(_))) => Refused::Older { path: path.into() },
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

fn understood(path: &Path, format: u64) -> Result<(), Error> {
    match format {
        FORMAT => Ok(()),
        0 => Err(Error::new(Refused::Damaged {
            path: path.into(),
            cause: "it names no format".to_owned(),
        })),
        found => Err(Error::new(Refused::Newer {
            path: path.into(),
            found,
        })),
    }
}

fn loaded(db: &Database) -> Result<Loaded, redb::Error> {
    let read = db.begin_read()?;
    let objects = read.open_table(OBJECTS)?;
    let mut entries = Vec::new();
    for entry in objects.iter()? {
        let (key, value) = entry?;
        entries.push((
            key.value().to_owned(),
            Bytes::copy_from_slice(value.value()),
        ));
    }
    let revision = read
        .open_table(META)?
        .get(META_REVISION)?
        .map_or(0, |revision| revision.value());
    Ok(Loaded { revision, entries })
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
    #[error("the store {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the store {} has a layout that this version no longer reads", path.display())]
    Older { path: PathBuf },
    #[error("the store {} has format {found}, written by a newer version; this one reads format {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
    #[error("the store {} is damaged or is not a store: {cause}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, cause: String },
}
