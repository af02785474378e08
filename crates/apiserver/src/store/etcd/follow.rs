//! Hearing what another server writes: a watch of etcd from where everything was loaded, gapless over any number of
//! connections and members.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::gateway::{Event, Failed};
use super::place::{AGAIN, Head, Place};
use crate::store::{Batch, Write};

/// After so long without a word it is looked whether something was missed: a member that is cut off from the others says
/// nothing, too.
const QUIET: Duration = Duration::from_secs(1);

/// What was heard so far.
struct Heard {
    /// The revision of etcd up to which everything was.
    at: u64,
    /// The last revision.
    revision: u64,
}

/// What one transaction did.
#[derive(Default)]
struct Transaction {
    head: Option<Head>,
    /// Revisions by the key that each has changed.
    changes: BTreeMap<String, u64>,
    /// Values by their keys; `None` where it was removed.
    values: BTreeMap<String, Option<Bytes>>,
}

impl Place {
    /// Tells every batch that is written after `revision`, which was loaded, until that is not possible any more, or `tell`
    /// says so.
    pub(super) async fn follow(
        &self,
        revision: u64,
        mut tell: impl FnMut(Batch) -> Result<(), Failed>,
    ) -> Failed {
        let at = self.loaded();
        let mut heard = Heard { at, revision };
        loop {
            match self.hear(&mut heard, &mut tell).await {
                Ok(()) => {}
                // Who is not answered asks again, another one.
                Err(Failed::Unreachable(why)) => {
                    tracing::warn!(why, "a watch of etcd ended; it goes on");
                    self.gateway.next();
                    sleep(AGAIN).await;
                }
                Err(failed) => return failed,
            }
        }
    }

    /// Hears what one watch says, for as long as it says all.
    async fn hear(
        &self,
        heard: &mut Heard,
        tell: &mut impl FnMut(Batch) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        // Changes, head and objects, in this order.
        let ((first, _), (_, end)) = (self.changes(), self.objects());
        let (gateway, from) = (&self.gateway, heard.at + 1);
        let open = || gateway.watch(&first, &end, from, false);
        let mut watch = self.patiently(open).await?;
        let mut events = Vec::new();
        loop {
            let Some(watched) = watch.next_within(QUIET).await? else {
                let (_, written, _) = self.patiently(|| self.read_head()).await?;
                if written > heard.at {
                    return Ok(());
                }
                self.hears();
                continue;
            };
            if watched.compact_revision > 0 {
                let why = "etcd has forgotten what this server has not heard yet";
                return Err(Failed::Odd(why.to_owned()));
            }
            if watched.canceled {
                return Err(Failed::Unreachable(watched.cancel_reason));
            }
            events.extend(watched.events);
            if watched.fragment {
                continue;
            }
            self.hears();
            // Transactions come whole, and in order.
            let is_one = |a: &Event, b: &Event| a.kv.mod_revision == b.kv.mod_revision;
            for events in mem::take(&mut events).chunk_by(is_one) {
                let done = self.transaction(events)?;
                if let Some(batch) = done.batch(heard.revision)? {
                    heard.revision = batch.revision;
                    tell(batch)?;
                }
                heard.at = events.last().map_or(heard.at, |last| last.kv.mod_revision);
            }
        }
    }

    fn transaction(&self, events: &[Event]) -> Result<Transaction, Failed> {
        let mut done = Transaction::default();
        let (changes, head) = (self.changes(), self.head());
        for event in events {
            let pair = &event.kv;
            let is_change = (&changes.0..&changes.1).contains(&&pair.key.to_vec());
            if pair.key == head {
                let head = serde_json::from_slice(&pair.value);
                done.head = Some(head.map_err(|why| Failed::Odd(format!("the head says {why}")))?);
            } else if is_change && !event.removes() {
                let odd = || Failed::Odd(format!("a change {:?}", pair.key));
                let (revision, key) = self.change_of(pair).ok_or_else(odd)?;
                done.changes.insert(key, revision);
            } else if !is_change {
                let value = (!event.removes()).then(|| pair.value.clone());
                done.values.insert(self.key_of(pair)?, value);
            }
        }
        Ok(done)
    }
}

impl Transaction {
    /// What it wrote after that revision; `None` if it only said who writes.
    fn batch(mut self, after: u64) -> Result<Option<Batch>, Failed> {
        let Some(head) = self.head.filter(|head| head.revision > after) else {
            return Ok(None);
        };
        // Of what was not there when it was removed, etcd tells nothing.
        let write = |(key, revision): (String, u64)| Write {
            revision,
            value: self.values.remove(&key).flatten(),
            key,
        };
        let mut writes: Vec<Write> = self.changes.into_iter().map(write).collect();
        writes.sort_by_key(|write| write.revision);
        if !self.values.is_empty() {
            let keys: Vec<_> = self.values.keys().collect();
            return Err(Failed::Odd(format!("no change says why {keys:?} changed")));
        }
        Ok(Some(Batch {
            after,
            revision: head.revision,
            writes,
            forget: head.forgotten,
        }))
    }
}
