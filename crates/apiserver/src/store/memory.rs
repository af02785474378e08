//! Storage without a disk: what was committed lives as long as the value that was opened.
//!
//! For tests, laws and demos. It acknowledges within the call, starts no thread and takes no time, so that runs in
//! paused time are deterministic. A clone sees the same entries, which stands for "the same disk" after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::store::{Batch, Done, Error, Loaded, Storage};

/// A map of entries; clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    revision: u64,
    entries: BTreeMap<String, Bytes>,
}

impl Storage for Memory {
    fn load(&self) -> Result<Loaded, Error> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = kept
            .entries
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Loaded {
            revision: kept.revision,
            entries,
        })
    }

    fn commit(&self, batch: Batch, done: Done) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(batch);
        done(Ok(()));
    }
}

impl Kept {
    fn take(&mut self, batch: Batch) {
        self.revision = batch.revision;
        for write in batch.writes {
            match write.value {
                Some(value) => self.entries.insert(write.key, value),
                None => self.entries.remove(&write.key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn keeps_the_contract() {
        let memory = Memory::default();
        contract::check(move || memory.clone());
    }
}
