//! Storage without a disk: what was committed lives as long as the value that was opened.
//!
//! For tests, laws and demos. It acknowledges within the call, starts no thread and takes no time, so that runs in
//! paused time are deterministic. A clone sees the same entries, which stands for "the same disk" after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::store::{Batch, Done, Error, Loaded, Storage, Undo, Write};

/// A map of entries; clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    revision: u64,
    entries: BTreeMap<String, Bytes>,
    forgotten: u64,
    changes: VecDeque<Undo>,
}

impl Storage for Memory {
    fn load(&self) -> Result<Loaded, Error> {
        let kept = self.kept();
        let entries = kept.entries.iter();
        Ok(Loaded {
            revision: kept.revision,
            entries: entries
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            forgotten: kept.forgotten,
            changes: kept.changes.iter().cloned().collect(),
        })
    }

    fn commit(&self, batch: Batch, done: Done) {
        let taken = self.kept().take(batch);
        done(taken);
    }
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.after != self.revision {
            return Err(Error::superseded(batch.after, self.revision));
        }
        self.revision = batch.revision;
        for Write {
            revision,
            key,
            value,
        } in batch.writes
        {
            let before = match value {
                Some(value) => self.entries.insert(key.clone(), value),
                None => self.entries.remove(&key),
            };
            self.changes.push_back(Undo {
                revision,
                key,
                before,
            });
        }
        self.forget(batch.forget);
        Ok(())
    }

    fn forget(&mut self, revision: u64) {
        let kept = self
            .changes
            .partition_point(|undo| undo.revision <= revision);
        if self.changes.drain(..kept).next().is_some() {
            self.forgotten = revision;
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
