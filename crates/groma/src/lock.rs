//! A folder is used by one process at a time; the kernel releases the lock when that process ends, however it ends.

use std::fs::{File, create_dir_all};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// Holds a folder until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder of this lock file, or says that another process has it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
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
