//! What is kept of a container on disk: everything that a later agent needs to go on, and nothing that the kernel knows.
//!
//! Each fact is one small file that is replaced as a whole (write beside, flush, rename), and has one writer:
//!
//! | file | written by | says |
//! | --- | --- | --- |
//! | `record.json` | agent, on request | what is wanted |
//! | `removing` | agent, on request | that it must go |
//! | `sets/DIGEST.json` | agent, on request | configuration files |
//! | `journal.json` | supervisor | which of these sets are in force, on trial, tried and refused |
//! | `history.json` | supervisor | restarts, and how the last run ended |
//! | `ready.json` | supervisor | whether the run was ready when it was last probed |
//! | `epoch` | supervisor | the number of the run that may live |
//! | `launch.json`, `bundle/` | supervisor | how a run is started |
//! | `status.json`, `exit.json` | shim | who runs, and how it ended |
//! | `logs/` | shim | what it wrote |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use adapter::{ContainerId, ContainerSpec, RefusedFiles};
use jiff::Timestamp;
use oci_spec::image::Config;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::image::User;

/// The folder of one container.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Whose it is.
    pub(crate) id: ContainerId,
    /// What is wanted, without the content of the files.
    pub(crate) spec: ContainerSpec,
    /// The digest of the image that its reference meant when it came.
    pub(crate) image_digest: String,
    /// How that image is run.
    pub(crate) image: Config,
    /// The set of files that is wanted.
    pub(crate) files: String,
}

/// Configuration files by absolute path.
pub(crate) type FileSet = BTreeMap<String, Vec<u8>>;

/// Which sets of files are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The set that is in force.
    pub(crate) applied: String,
    /// The set that lies in the container now and has not proven itself.
    pub(crate) trying: Option<String>,
    /// The last set that has proven itself for long, while the one in force is still on trial.
    #[serde(default)]
    pub(crate) previous: Option<String>,
    /// A set that was refused, and why.
    pub(crate) refused: Option<RefusedFiles>,
}

/// What the probes said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Of which run.
    pub(crate) epoch: u64,
    /// Whether it may serve.
    pub(crate) ready: bool,
}

/// What was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// How often it was started again after it ended by itself.
    pub(crate) restarts: u32,
    /// How the last run ended.
    pub(crate) last_exit: Option<String>,
    /// The last run whose end was counted.
    pub(crate) counted: u64,
}

/// What a shim needs to start a container and to run programs in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// Its name for the runtime program.
    pub(crate) name: String,
    /// Its control group, with the children `shim` and `c`.
    pub(crate) group: String,
    /// The runtime program.
    pub(crate) runtime: String,
    /// What its processes are and may do.
    pub(crate) rights: Rights,
}

/// What processes of a container are and may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// Who they are.
    pub(crate) user: User,
    /// The capabilities that they keep.
    pub(crate) capabilities: Vec<String>,
    /// Their environment, `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Where they start.
    pub(crate) directory: String,
}

/// A run that lives, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Which run.
    pub(crate) epoch: u64,
    /// Its shim.
    pub(crate) shim: Identity,
    /// Its first process.
    pub(crate) init: Identity,
    /// Since when it runs.
    pub(crate) since: Timestamp,
}

/// A process that cannot be mistaken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: u32,
    /// When it started, in clock ticks.
    pub(crate) started: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Which run.
    pub(crate) epoch: u64,
    /// How.
    pub(crate) end: End,
    /// Whether the kernel killed a process of it because its memory was full.
    pub(crate) out_of_memory: bool,
}

impl Exit {
    /// Whether the program ended itself. Who sends SIGKILL is somebody else, but for the kernel when memory is full.
    pub(crate) fn is_its_own(&self) -> bool {
        match self.end {
            End::Status(_) => true,
            End::Signal(signal) => {
                signal != rustix::process::Signal::KILL.as_raw() || self.out_of_memory
            }
            End::NotStarted(_) => false,
        }
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It never ran.
    NotStarted(String),
}

impl Folder {
    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a fact; `None` if it is not there.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                io::Error::new(
                    ErrorKind::InvalidData,
                    format!("{}: {error}", self.path(name).display()),
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a fact as a whole.
    pub(crate) fn write<T: Serialize>(&self, name: &str, fact: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec(fact).map_err(io::Error::other)?;
        replace(&self.path(name), &bytes, 0o600)
    }

    /// Takes a fact away.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The number of the run that may live.
    pub(crate) fn epoch(&self) -> io::Result<u64> {
        Ok(self.read("epoch")?.unwrap_or(0))
    }

    /// Declares every run so far over: a shim that is late finds another number than its own and leaves.
    pub(crate) fn next_epoch(&self) -> io::Result<u64> {
        let next = self.epoch()? + 1;
        self.write("epoch", &next)?;
        Ok(next)
    }

    /// The end of a run, if it was written down.
    pub(crate) fn exit_of(&self, epoch: u64) -> io::Result<Option<Exit>> {
        let exit: Option<Exit> = self.read("exit.json")?;
        Ok(exit.filter(|exit| exit.epoch == epoch))
    }

    /// Keeps a set of files under its digest.
    pub(crate) fn keep_set(&self, digest: &str, files: &FileSet) -> io::Result<()> {
        fs::create_dir_all(self.path("sets"))?;
        self.write(&set_name(digest), files)
    }

    /// A set of files.
    pub(crate) fn set(&self, digest: &str) -> io::Result<FileSet> {
        self.read(&set_name(digest))?.ok_or_else(|| {
            io::Error::new(
                ErrorKind::NotFound,
                format!("{}: configuration {digest} is lost", self.0.display()),
            )
        })
    }

    /// Removes all sets but these. Only for who writes sets: another could take away one that is being written.
    pub(crate) fn forget_sets(&self, kept: &[&str]) -> io::Result<()> {
        for entry in fs::read_dir(self.path("sets"))? {
            let entry = entry?;
            let name = entry.file_name();
            if !kept.iter().any(|digest| name == *format!("{digest}.json")) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn set_name(digest: &str) -> String {
    format!("sets/{digest}.json")
}

/// Replaces a file as a whole: readers see the old content or the new one, also after a power cut.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut beside = std::ffi::OsString::from(".new-");
    beside.push(name);
    let fresh = path.with_file_name(beside);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_run_is_not_the_one_that_may_live() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder(place.path().to_owned());
        assert_eq!(folder.epoch().expect("none yet"), 0);
        assert_eq!(folder.next_epoch().expect("written"), 1);
        assert_eq!(folder.next_epoch().expect("written"), 2);
        let exit = Exit {
            epoch: 1,
            end: End::Status(0),
            out_of_memory: false,
        };
        folder.write("exit.json", &exit).expect("written");
        assert_eq!(folder.exit_of(2).expect("readable"), None);
        assert_eq!(folder.exit_of(1).expect("readable"), Some(exit));
    }

    #[test]
    fn an_end_that_others_made_is_not_the_programs_own() {
        let exit = |end, out_of_memory| Exit {
            epoch: 1,
            end,
            out_of_memory,
        };
        assert!(exit(End::Status(1), false).is_its_own());
        assert!(exit(End::Signal(11), false).is_its_own());
        assert!(exit(End::Signal(9), true).is_its_own());
        assert!(!exit(End::Signal(9), false).is_its_own());
        assert!(!exit(End::NotStarted("no router".to_owned()), false).is_its_own());
    }

    #[test]
    fn only_the_sets_that_are_needed_are_kept() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder(place.path().to_owned());
        let files = FileSet::from([("/etc/a/b".to_owned(), b"\xff\0".to_vec())]);
        for digest in ["one", "two"] {
            folder.keep_set(digest, &files).expect("kept");
        }
        folder.forget_sets(&["two"]).expect("forgotten");
        assert!(folder.set("one").is_err());
        assert_eq!(folder.set("two").expect("still there"), files);
    }
}
