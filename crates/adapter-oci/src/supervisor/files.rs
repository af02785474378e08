//! Configuration files: put into a running container, proven, and put back when it refuses them.
//!
//! The journal says which set lies in the container and has not proven itself. It is written before the files are, so that
//! a crash at any point is followed by another try of the same set. A set that was taken is on trial for a while: the
//! first good answer may have come from a program that had not read it yet.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapter::RefusedFiles;
use api::wdm::OnChange;
use tokio::time::{Instant, sleep, timeout};

use super::run::Run;
use super::{Over, Supervisor};
use crate::bundle::{known_signal, mounts};
use crate::disk::{FileSet, Folder, replace};
use crate::supervisor::probe::PROBE_AGAIN;

/// How long a container must stay alive with new files before they count as taken.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a container may take to be ready with new files.
const PROVE_LIMIT: Duration = Duration::from_secs(20);

/// How long a container is on trial with files that it has taken; longer where its probe needs more time to fail.
const TRIAL: Duration = Duration::from_secs(20);

/// The permissions of a configuration file: its container may run as anybody. The way to it on the host is closed.
const FILE_MODE: u32 = 0o444;

impl Supervisor {
    /// The set that a run starts with.
    pub(super) fn files_to_run(&self) -> &str {
        self.journal
            .trying
            .as_ref()
            .unwrap_or(&self.journal.applied)
    }

    /// Before a start: a newer set is tried with it, and none that nobody wants any more.
    pub(super) fn take_wanted_files(&mut self) {
        let newer = self.newer_files();
        if self.journal.trying != newer {
            self.journal.trying = newer;
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

    /// Gives a newer set to a running container, unless one is being tried; `Some` if the run must end for it.
    pub(super) async fn give_wanted_files(&mut self, run: &Run) -> Option<Over> {
        let Some(wanted) = self.newer_files() else {
            self.forget_refusal();
            return None;
        };
        if self.journal.trying.is_some() {
            return None;
        }
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

    /// Puts the set that is tried into the container and tells it.
    pub(super) async fn give_files(&mut self, run: &Run) -> Option<Over> {
        match self.put_and_tell(run).await {
            Ok(true) => None,
            Ok(false) => Some(Over::NewFiles),
            Err(why) => self.put_back(run, why).await,
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

    /// Waits until the set that is tried or on trial has passed, or says why it has not; for ever if there is none.
    pub(super) async fn verdict(&self) -> Result<(), String> {
        match (&self.journal.trying, &self.journal.previous) {
            (Some(_), _) => self.settle().await,
            (None, Some(_)) => self.trial().await,
            (None, None) => std::future::pending().await,
        }
    }

    async fn settle(&self) -> Result<(), String> {
        let deadline = Instant::now() + PROVE_LIMIT;
        sleep(SETTLE).await;
        let Some(probe) = &self.record.spec.execution.readiness else {
            return Ok(());
        };
        let prober = self.prober();
        loop {
            match prober.check(probe).await {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() >= deadline => {
                    return Err(format!("not ready within {PROVE_LIMIT:?}: {why}"));
                }
                Err(_) => sleep(PROBE_AGAIN).await,
            }
        }
    }

    async fn trial(&self) -> Result<(), String> {
        let Some(probe) = &self.record.spec.execution.readiness else {
            sleep(TRIAL).await;
            return Ok(());
        };
        let to_fail = Duration::from(probe.period_seconds) * (probe.failure_threshold + 1);
        let failed = timeout(TRIAL.max(to_fail), self.prober().failed(probe)).await;
        failed.map_or(Ok(()), |why| Err(format!("not ready any more: {why}")))
    }

    /// The set that is tried is in force, on trial from now on; or its trial is over.
    pub(super) fn accept(&mut self) {
        match self.journal.trying.take() {
            Some(taken) => {
                let before = std::mem::replace(&mut self.journal.applied, taken);
                // What has not passed its own trial is nothing to go back to, and what has needs no other one.
                let proven = self.journal.previous.take().unwrap_or(before);
                self.journal.previous = Some(proven).filter(|one| *one != self.journal.applied);
                self.journal.refused = None;
            }
            None => self.journal.previous = None,
        }
        self.keep_journal();
        self.show_files();
    }

    /// Notes that the set that is tried or on trial was refused, if there is one; the one before it counts again.
    pub(super) fn refuse(&mut self, why: String) {
        let Some(digest) = self.take_unproven() else {
            return;
        };
        tracing::warn!(container = %self.record.id, why, "a container refused new files");
        self.journal.refused = Some(RefusedFiles { digest, why });
        self.keep_journal();
        self.show_files();
    }

    /// Whether the container has files that have not passed their trial.
    pub(super) fn has_unproven(&self) -> bool {
        self.journal.trying.is_some() || self.journal.previous.is_some()
    }

    fn take_unproven(&mut self) -> Option<String> {
        if let Some(tried) = self.journal.trying.take() {
            return Some(tried);
        }
        let previous = self.journal.previous.take()?;
        Some(std::mem::replace(&mut self.journal.applied, previous))
    }

    /// Refuses, and gives the container what it had; one that does not take even that is started anew.
    pub(super) async fn put_back(&mut self, run: &Run, why: String) -> Option<Over> {
        self.refuse(why);
        self.give_back(run).await
    }

    /// Takes back the set that is tried, which nobody wants any more, before its time is over.
    pub(super) async fn withdraw(&mut self, run: &Run) -> Option<Over> {
        self.journal.trying = None;
        self.keep_journal();
        self.give_back(run).await
    }

    /// Whether other files lie in the container than it should have: a kill came between.
    pub(super) fn lies_otherwise(&self) -> bool {
        let Ok(set) = self.folder.set(self.files_to_run()) else {
            return false;
        };
        let (folders, base) = (mounts::folders(set.keys()), self.folder.path("files"));
        let lies = |(path, content): (&String, &Vec<u8>)| {
            let place = mounts::place(&folders, path).map(|place| base.join(place));
            place.is_none_or(|place| fs::read(place).is_ok_and(|there| there == *content))
        };
        !set.iter().all(lies)
    }

    /// Gives the container what it had.
    async fn give_back(&self, run: &Run) -> Option<Over> {
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
