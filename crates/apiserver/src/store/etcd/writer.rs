//! The one that writes: batches as transactions, each asked until it is known whether it was done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Handle;

use super::gateway::Failed;
use super::place::{FORMAT, Head, Place, delete, delete_all, put, writer_name};
use super::{BYTES_MAX, WRITES_MAX};
use crate::store::{Batch, Error, Write};

/// How many changes are forgotten before etcd is told to forget them, too.
const COMPACT_EVERY: u64 = 1_000;

/// Writes batches, one transaction after the other.
pub(super) struct Writer {
    place: Arc<Place>,
    runtime: Handle,
    name: String,
    /// The head, and at which revision of etcd it was written; unknown before the first batch.
    at: Option<(Head, u64)>,
    /// Revisions of ours that were written, and at which of etcd's.
    written: BTreeMap<u64, u64>,
    /// Up to which revision etcd was told to forget.
    compacted: u64,
}

impl Writer {
    pub(super) fn new(place: Arc<Place>, runtime: Handle) -> Result<Self, Failed> {
        Ok(Self {
            place,
            runtime,
            name: writer_name()?,
            at: None,
            written: BTreeMap::new(),
            compacted: 0,
        })
    }

    /// Writes as many of the first batches as fit into one transaction, and says how many.
    pub(super) fn commit(&mut self, batches: &[Batch]) -> Result<usize, Error> {
        let together = together(batches);
        self.write(&batches[..together]).map(|()| together)
    }

    fn write(&mut self, batches: &[Batch]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(());
        };
        let (before, head_at) = self.at()?;
        let found = before.revision;
        let mut after = found;
        for batch in batches {
            if batch.after != after {
                return Err(Error::superseded(batch.after, after));
            }
            after = batch.revision;
        }
        let head = Head {
            format: FORMAT,
            revision: last.revision,
            forgotten: last.forget.min(first.after).max(before.forgotten),
            writer: self.name.clone(),
        };
        let writes = batches.iter().flat_map(|batch| &batch.writes);
        let success = self.operations(&head, writes);
        let done = self.asked(&head, head_at, success)?;
        match done {
            Some(at) => {
                self.written.insert(head.revision, at);
                self.forget(head.forgotten);
                self.at = Some((head, at));
                Ok(())
            }
            None => Err(Error::superseded(first.after, found)),
        }
    }

    /// The head as it was last written: by this process, or as it was claimed. Who has claimed nothing takes it as it is.
    fn at(&mut self) -> Result<(Head, u64), Error> {
        let place = &self.place;
        if let Some(at) = place.claimed() {
            self.at = Some(at);
        }
        if let Some(at) = &self.at {
            return Ok(at.clone());
        }
        let read = self.runtime.block_on(place.patiently(|| place.read_head()));
        let (head, at, _) = read.map_err(Error::new)?;
        self.at = Some((head.clone(), at));
        Ok((head, at))
    }

    fn operations<'w>(&self, head: &Head, writes: impl Iterator<Item = &'w Write>) -> Vec<Value> {
        let place = &self.place;
        let mut operations = Vec::new();
        for write in writes {
            let key = place.object(&write.key);
            operations.push(match &write.value {
                Some(value) => put(&key, value),
                None => delete(&key),
            });
            operations.push(put(&place.change(write.revision), write.key.as_bytes()));
        }
        let (first, end) = (place.change(0), place.change(head.forgotten + 1));
        operations.push(delete_all(&first, &end));
        operations.push(place.put_head(head));
        operations
    }

    /// Asks until it is known whether it was done: at which revision of etcd, or not, because of somebody else.
    fn asked(&self, head: &Head, head_at: u64, success: Vec<Value>) -> Result<Option<u64>, Error> {
        let unchanged = self.place.is_unchanged(head_at);
        let asked = || async {
            let gateway = &self.place.gateway;
            let full = match gateway.transaction(&[&unchanged], &success).await {
                Ok(done) if done.succeeded => return Ok(Some(done.header.revision)),
                Ok(_) => None,
                Err(Failed::Full(why)) => Some(why),
                Err(error) => return Err(error),
            };
            // Perhaps it was done when it was not answered, or with the last of the space.
            let (found, at, _) = self.place.read_head().await?;
            match full {
                Some(why) if found != *head => Err(Failed::Full(why)),
                _ => Ok((found == *head).then_some(at)),
            }
        };
        let asked = self.runtime.block_on(self.place.patiently(asked));
        asked.map_err(Error::from)
    }

    /// Lets etcd forget, too, from time to time.
    fn forget(&mut self, forgotten: u64) {
        let later = self.written.split_off(&(forgotten + 1));
        let oldest = std::mem::replace(&mut self.written, later).pop_last();
        let Some((revision, at)) = oldest else {
            return;
        };
        if revision < self.compacted + COMPACT_EVERY {
            self.written.insert(revision, at);
            return;
        }
        self.compacted = revision;
        let compacted = self.runtime.block_on(self.place.gateway.compact(at));
        if let Err(error) = compacted {
            tracing::warn!(error = api::chain(&error), "etcd keeps what is forgotten");
        }
    }
}

/// How many of the first batches fit into one transaction.
fn together(batches: &[Batch]) -> usize {
    let (mut writes, mut bytes, mut keys) = (0, 0, BTreeSet::new());
    for (n, batch) in batches.iter().enumerate() {
        let values = batch.writes.iter().filter_map(|write| write.value.as_ref());
        writes += batch.writes.len();
        bytes += values.map(Bytes::len).sum::<usize>();
        let are_new = batch.writes.iter().all(|write| keys.insert(&write.key));
        if n > 0 && (!are_new || writes > WRITES_MAX || bytes > BYTES_MAX) {
            return n;
        }
    }
    batches.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[&str], bytes: usize) -> Batch {
        let write = |key: &&str| Write {
            revision: 1,
            key: (*key).to_owned(),
            value: Some(Bytes::from(vec![b'x'; bytes])),
        };
        Batch {
            after: 0,
            revision: 1,
            writes: keys.iter().map(write).collect(),
            forget: 0,
        }
    }

    #[test]
    fn as_many_batches_go_together_as_fit() {
        let names: Vec<String> = (0..2 * WRITES_MAX).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let single: Vec<Batch> = names.iter().map(|name| batch(&[name], 1)).collect();
        assert_eq!(together(&single), WRITES_MAX);
        assert_eq!(together(&single[..3]), 3);
        let twice = [batch(&["a"], 1), batch(&["b"], 1), batch(&["a"], 1)];
        assert_eq!(together(&twice), 2);
        let long = [batch(&["a"], BYTES_MAX), batch(&["b"], 1)];
        assert_eq!(together(&long), 1);
        let too_long = [batch(&["a", "b"], BYTES_MAX)];
        assert_eq!(together(&too_long), 1, "one goes alone, whatever it is");
    }
}
