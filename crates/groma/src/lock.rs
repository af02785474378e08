//! A folder is used by one process at a time; the kernel releases the lock when that process ends, however it ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, OFlags, flock};

/// Mode of a folder that is made here.
const FOLDER_MODE: u32 = 0o700;
/// Mode of the lock: who can open it can hold it, so that nobody else could use the folder.
const LOCK_MODE: u32 = 0o600;
/// The bit of a mode that lets everybody write.
const ALL_WRITE: u32 = 0o002;

/// Holds a folder until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder of this lock file, which is made for its owner only, or says that another process has it, or
    /// that anybody could plant files in it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            make(folder).with_context(|| format!("cannot use {}", folder.display()))?;
        }
        let file = open(path).with_context(|| format!("cannot make {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "{} is held: another process uses this folder",
                path.display()
            ),
            Err(errno) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

fn make(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    match folder.metadata()?.mode() & ALL_WRITE {
        0 => Ok(()),
        _ => bail!("everybody may write there; `chmod o-w` it, or say another folder"),
    }
}

/// Never through a link, which may lead to a file of somebody else.
fn open(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    file.set_permissions(Permissions::from_mode(LOCK_MODE))?;
    Ok(file)
}
