//! What tests and laws need besides the API: to act as a user at once, and to look at everything that ever happened.

use std::sync::Arc;

use serde_json::Value;

use crate::failure::Failure;
use crate::history::Event;
use crate::server::Server;

impl Server {
    /// Every visible object, ordered by group, plural, namespace and name.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        self.state()
            .objects
            .all()
            .map(|object| object.value.clone())
            .collect()
    }

    /// The revision of the last visible write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state().revision()
    }

    /// Every change after `revision`, oldest first.
    ///
    /// # Errors
    /// 410 when the kept history does not reach back that far.
    pub fn events_since(&self, revision: u64) -> Result<Vec<Arc<Event>>, Failure> {
        let state = self.state();
        let kept = state.history.since(revision)?;
        Ok(kept.map(|kept| Arc::new(kept.event())).collect())
    }

    /// Forgets the history and closes every watch: clients that start again from where they were get 410.
    pub fn compact(&self) {
        let mut state = self.state();
        state.history.compact();
        state.hub.close_all();
    }

    /// How many watches are open.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.state().hub.len()
    }
}
