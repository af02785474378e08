//! What a supervisor shows and remembers.

use adapter::{ContainerPhase, ContainerState, FilesState};

use super::Supervisor;

impl Supervisor {
    /// What is seen before anything was looked at.
    pub(super) fn first_state(&self) -> ContainerState {
        ContainerState {
            phase: match self.wanted.borrow().removing {
                true => ContainerPhase::Stopping,
                false => ContainerPhase::Starting,
            },
            digest: self.record.spec.digest(),
            image_digest: Some(self.record.image_digest.clone()),
            ready: false,
            restarts: self.history.restarts,
            last_exit: self.history.last_exit.clone(),
            files: self.files_state(),
        }
    }

    fn files_state(&self) -> FilesState {
        FilesState {
            given: self.wanted.borrow().files.clone(),
            applied: Some(self.journal.applied.clone()),
            refused: self.journal.refused.clone(),
        }
    }

    /// Changes what is seen; whoever listens gets a hint if it became different.
    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerState)) {
        let changed = self.state.send_if_modified(|state| {
            let Some(state) = state else { return false };
            let before = state.clone();
            change(state);
            *state != before
        });
        if changed {
            self.hint();
        }
    }

    /// Shows what the journal says.
    pub(super) fn show_files(&self) {
        let files = self.files_state();
        self.update(|state| state.files = files);
    }

    /// Tells those who listen to look again; nobody listening is no error.
    pub(super) fn hint(&self) {
        let _ = self.host.hints.send(self.record.id.clone());
    }

    /// Remembers that the last run ended by itself; it counts once, whoever sees it how often.
    pub(super) fn count_end(&mut self, why: String) {
        let epoch = self.folder.epoch().unwrap_or_default();
        if self.history.counted >= epoch {
            return;
        }
        tracing::info!(container = %self.record.id, why, "a container ended and is started again");
        self.history.counted = epoch;
        self.history.restarts += 1;
        self.history.last_exit = Some(why);
        self.keep("history.json", &self.history);
        let (restarts, last_exit) = (self.history.restarts, self.history.last_exit.clone());
        self.update(|state| {
            state.restarts = restarts;
            state.last_exit = last_exit;
        });
    }

    /// Writes a fact down. What cannot be written is lost with the agent, not with the container, so life goes on.
    pub(super) fn keep<T: serde::Serialize>(&self, name: &str, fact: &T) {
        if let Err(error) = self.folder.write(name, fact) {
            let container = &self.record.id;
            tracing::error!(%container, name, error = api::chain(&error), "cannot write to disk");
        }
    }
}
