//! Configuration files: put into a running container, proven, and put back when it refuses them.
//!
//! The journal says which set lies in the container and has not proven itself. It is written before the files are, so that
//! a crash at any point is followed by another try of the same set.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapter::RefusedFiles;
use api::wdm::OnChange;
use tokio::time::{Instant, sleep};

use super::run::Run;
use super::{Over, Supervisor};
use crate::bundle::{known_signal, mounts};
use crate::disk::{FileSet, Folder, replace};
use crate::supervisor::probe::{PROBE_AGAIN, Prober};

/// How long a container must stay alive with new files before they count as taken.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a container may take to be ready with new files.
const PROVE_LIMIT: Duration = Duration::from_secs(20);

/// The permissions of a configuration file: its container may run as anybody. The way to it on the host is closed.
const FILE_MODE: u32 = 0o444;

/// What came of a set of files.
pub(super) enum Proof {
    Taken,
    Refused(String),
    Over(Over),
}

impl Supervisor {
    /// The set that a run starts with.
    pub(super) fn files_to_run(&self) -> &str {
        self.journal
            .trying
            .as_ref()
            .unwrap_or(&self.journal.applied)
    }

    /// Before a start: a newer set is tried with it.
    pub(super) fn take_wanted_files(&mut self) {
        if self.journal.trying.is_none()
            && let Some(wanted) = self.newer_files()
        {
            self.journal.trying = Some(wanted);
            self.keep_journal();
        }
    }

    /// The set that is wanted, if it is neither in force nor refused.
    fn newer_files(&self) -> Option<String> {
        let wanted = self.wanted.borrow().files.clone();
        let refused = self.journal.refused.as_ref();
        let known = wanted == self.journal.applied
            || refused.is_some_and(|refused| refused.digest == wanted);
        (!known).then_some(wanted)
    }

    /// Gives a newer set to a running container; `Some` if the run must end for it.
    pub(super) async fn give_wanted_files(&mut self, run: &Run) -> Option<Over> {
        let Some(wanted) = self.newer_files() else {
            self.forget_refusal();
            return None;
        };
        self.journal.trying = Some(wanted);
        self.keep_journal();
        self.give_files(run).await
    }

    /// What is wanted is in force: an earlier refusal says nothing any more.
    fn forget_refusal(&mut self) {
        if self.journal.applied == self.wanted.borrow().files
            && self.journal.refused.take().is_some()
        {
            self.keep_journal();
            self.show_files();
        }
    }

    /// Puts the set that is tried into the container, tells it, and waits for the proof.
    pub(super) async fn give_files(&mut self, run: &Run) -> Option<Over> {
        match self.put_and_tell(run).await {
            Ok(true) => self.prove_files(run).await,
            Ok(false) => Some(Over::NewFiles),
            Err(why) => self.put_back(run, why).await,
        }
    }

    /// Waits until the container has proven the set that is tried.
    pub(super) async fn prove_files(&mut self, run: &Run) -> Option<Over> {
        match self.proof(run).await {
            Proof::Taken => {
                self.accept();
                None
            }
            Proof::Refused(why) => self.put_back(run, why).await,
            Proof::Over(Over::Ended(why)) => {
                self.update(|state| state.ready = false);
                self.refuse(why.clone());
                Some(Over::Ended(why))
            }
            Proof::Over(over) => Some(over),
        }
    }

    /// Puts the files that are to run into place and tells the container; false if it must be started anew for them.
    async fn put_and_tell(&self, run: &Run) -> Result<bool, String> {
        let text = |error: io::Error| format!("cannot write the files: {error}");
        let new = self.folder.set(self.files_to_run()).map_err(text)?;
        let restarts = matches!(self.record.spec.on_change, OnChange::Restart {});
        if restarts || folders_differ(&self.folder, &new) {
            return Ok(false);
        }
        put(&self.folder, &new).map_err(text)?;
        self.tell(run).await.map(|()| true)
    }

    async fn tell(&self, run: &Run) -> Result<(), String> {
        match &self.record.spec.on_change {
            OnChange::Restart {} => Ok(()),
            OnChange::Signal { signal } => {
                let signal = known_signal("onChange.signal", signal).map_err(|error| error.what)?;
                let init = run.init().ok_or("it does not run any more")?;
                init.signal(signal).map_err(|error| api::chain(&error))
            }
            OnChange::Http { port, path } => self.prober().post(*port, path).await,
        }
    }

    async fn proof(&self, run: &Run) -> Proof {
        let mut wanted = self.wanted.clone();
        tokio::select! {
            () = run.ended() => Proof::Over(Over::Ended(self.how_it_ended(run))),
            Ok(_) = wanted.wait_for(|wanted| wanted.removing) => Proof::Over(Over::Removing),
            proof = self.settle() => proof,
        }
    }

    async fn settle(&self) -> Proof {
        let deadline = Instant::now() + PROVE_LIMIT;
        sleep(SETTLE).await;
        let Some(probe) = &self.record.spec.execution.readiness else {
            return Proof::Taken;
        };
        let prober: Prober = self.prober();
        loop {
            match prober.check(probe).await {
                Ok(()) => return Proof::Taken,
                Err(why) if Instant::now() >= deadline => {
                    return Proof::Refused(format!("not ready within {PROVE_LIMIT:?}: {why}"));
                }
                Err(_) => sleep(PROBE_AGAIN).await,
            }
        }
    }

    fn accept(&mut self) {
        if let Some(taken) = self.journal.trying.take() {
            self.journal.applied = taken;
            self.journal.refused = None;
            self.keep_journal();
            self.show_files();
        }
    }

    /// Notes that the set that is tried was refused; the one before it counts again.
    pub(super) fn refuse(&mut self, why: String) {
        if let Some(digest) = self.journal.trying.take() {
            tracing::warn!(container = %self.record.id, why, "a container refused new files");
            self.journal.refused = Some(RefusedFiles { digest, why });
            self.keep_journal();
            self.show_files();
        }
    }

    /// Refuses, and gives the container what it had; one that does not take even that is started anew.
    async fn put_back(&mut self, run: &Run, why: String) -> Option<Over> {
        self.refuse(why);
        match self.put_and_tell(run).await {
            Ok(true) => None,
            Ok(false) => Some(Over::NewFiles),
            Err(why) => {
                tracing::warn!(container = %self.record.id, why, "the previous files are applied by a restart");
                Some(Over::NewFiles)
            }
        }
    }

    fn keep_journal(&self) {
        self.keep("journal.json", &self.journal);
    }
}

/// Puts a set of files where the container sees it: each file by a rename, none of them half written.
pub(super) fn put(folder: &Folder, set: &FileSet) -> io::Result<()> {
    let base = folder.path("files");
    let folders = mounts::folders(set.keys());
    let mut wanted = BTreeSet::new();
    for folder in &folders {
        fs::create_dir_all(base.join(mounts::folder_name(folder)))?;
    }
    for (path, content) in set {
        let Some(place) = mounts::place(&folders, path).map(|place| base.join(place)) else {
            continue;
        };
        fs::create_dir_all(place.parent().unwrap_or(&base))?;
        if !fs::read(&place).is_ok_and(|there| there == *content) {
            replace(&place, content, FILE_MODE)?;
        }
        wanted.insert(place);
    }
    remove_others(&base, &wanted)
}

/// Removes the files that are not wanted any more. Their folders stay: they may be mounted.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Whether the new set needs a folder that is not mounted.
fn folders_differ(folder: &Folder, new: &FileSet) -> bool {
    let mounted = folder.path("files");
    let needed = mounts::folders(new.keys());
    !needed
        .iter()
        .all(|needed| mounted.join(mounts::folder_name(needed)).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[(&str, &str)]) -> FileSet {
        let owned =
            |(path, content): &(&str, &str)| ((*path).to_owned(), content.as_bytes().to_vec());
        files.iter().map(owned).collect()
    }

    #[test]
    fn a_set_replaces_another_and_leaves_nothing_of_it() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder(place.path().to_owned());
        put(&folder, &set(&[("/etc/a/one", "1"), ("/etc/a/b/two", "2")])).expect("put");
        put(&folder, &set(&[("/etc/a/one", "one")])).expect("put");
        let base = folder.path("files").join(mounts::folder_name("/etc/a"));
        assert_eq!(fs::read_to_string(base.join("one")).expect("there"), "one");
        assert!(!base.join("b/two").exists());
    }

    #[test]
    fn a_new_folder_needs_another_start() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder(place.path().to_owned());
        put(&folder, &set(&[("/etc/a/one", "1")])).expect("put");
        assert!(!folders_differ(&folder, &set(&[("/etc/a/two", "2")])));
        assert!(folders_differ(&folder, &set(&[("/etc/b/two", "2")])));
    }
}
