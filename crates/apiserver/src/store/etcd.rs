//! Storage in etcd, on as many machines as it has members.
//!
//! Every object is one key, and beside them stand a head, which says what the last revision is, and one small key for each
//! change that is kept. A batch is one transaction that holds only if nobody has written the head since: of two servers
//! that write, one is [superseded](crate::store::Error::is_superseded). What was before a change, etcd's own history says.
//!
//! A transaction that was not answered is asked again. If it was done the first time, the head says so, by who wrote it.
//! While no member answers, writes wait.

mod election;
mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

pub use self::election::Leading;
pub use self::gateway::Members;
use self::gateway::{Failed, Gateway, Pair, base64};
use crate::store::committer::Committer;
use crate::store::{Batch, Done, Error, Limits, Loaded, Storage, Undo, Write};

/// Writes of one transaction: each is two operations, of which etcd takes 128 unless it is told otherwise, and a few are
/// ours.
const WRITES_MAX: usize = 60;
/// Bytes of the values of one transaction: etcd takes 1.5 MiB unless it is told otherwise.
const BYTES_MAX: usize = 1024 * 1024;
/// How long to wait before a transaction that was not answered is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a server waits at its start for a member that answers.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a kept change may be on its way when a server starts.
const PAST_PATIENCE: Duration = Duration::from_secs(30);
/// How many changes are forgotten before etcd is told to forget them, too.
const COMPACT_EVERY: u64 = 1_000;

/// Objects in etcd. Dropping it waits for what was submitted.
pub struct Etcd {
    committer: Committer,
    place: Arc<Place>,
    background: Arc<Background>,
}

/// Drives the connections, for whoever asks and wherever he may wait.
struct Background(Option<Runtime>);

impl Background {
    fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("etcd").enable_all();
        builder.build().map(Some).map(Self)
    }

    fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref();
        runtime.expect("it runs until it is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for it is forbidden where tasks run; there is nothing to wait for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where everything is.
struct Place {
    gateway: Gateway,
    prefix: String,
    /// Nobody waits any longer for a member that does not answer.
    closing: AtomicBool,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.place.closing.store(true, Ordering::Relaxed);
    }
}

/// The last revision, and who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// [`FORMAT`].
    format: u64,
    revision: u64,
    forgotten: u64,
    /// Of one process that writes.
    writer: String,
}

/// The layout of the keys.
const FORMAT: u64 = 1;

impl Etcd {
    /// Uses the keys below `prefix`, such as `/groma/`.
    ///
    /// # Errors
    /// When a file cannot be read or a URL is none. Whether etcd answers is not tried.
    pub fn open(members: &Members, prefix: &str) -> Result<Self, Error> {
        let gateway = Gateway::new(members).map_err(Error::new)?;
        let place = Arc::new(Place {
            gateway,
            prefix: prefix.to_owned(),
            closing: AtomicBool::new(false),
        });
        let background = Arc::new(Background::start().map_err(Error::new)?);
        let handle = background.handle().clone();
        let mut writer = Writer::new(place.clone(), handle).map_err(Error::new)?;
        Ok(Self {
            committer: Committer::start(move |batches| writer.commit(batches)),
            place,
            background,
        })
    }
}

impl Etcd {
    /// Waits until no other server writes, and keeps others waiting until the handle is dropped.
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn lead(&self) -> Result<Leading, Error> {
        let (place, background) = (self.place.clone(), self.background.clone());
        let handle = background.handle().clone();
        let leading = handle.spawn(election::lead(place, background));
        let leading = leading.await.map_err(Error::new)?;
        leading.map_err(Error::new)
    }
}

impl Storage for Etcd {
    fn load(&self) -> Result<Loaded, Error> {
        let place = &self.place;
        let loading = async {
            let found = timeout(START_PATIENCE, place.patiently(|| place.read_head())).await;
            let late = || Failed::Unreachable(format!("none has for {START_PATIENCE:?}"));
            found.unwrap_or_else(|_| Err(late()))?;
            // It takes as long as there is much.
            place.patiently(|| place.load()).await
        };
        let loaded = std::thread::scope(|scope| {
            // Who asks may be within a runtime of its own.
            let thread = scope.spawn(|| self.background.handle().block_on(loading));
            thread.join().expect("loading panics nowhere")
        });
        loaded.map_err(Error::new)
    }

    fn commit(&self, batch: Batch, done: Done) {
        self.committer.submit(batch, done);
    }

    fn limits(&self) -> Limits {
        Limits {
            writes: WRITES_MAX,
            bytes: BYTES_MAX,
            each_key_once: true,
        }
    }
}

impl Place {
    fn head(&self) -> Vec<u8> {
        format!("{}head", self.prefix).into_bytes()
    }

    fn object(&self, key: &str) -> Vec<u8> {
        format!("{}objects/{key}", self.prefix).into_bytes()
    }

    fn change(&self, revision: u64) -> Vec<u8> {
        format!("{}changes/{revision:020}", self.prefix).into_bytes()
    }

    /// From the first object to after the last one.
    fn objects(&self) -> (Vec<u8>, Vec<u8>) {
        let after = format!("{}objects0", self.prefix);
        (self.object(""), after.into_bytes())
    }

    fn changes(&self) -> (Vec<u8>, Vec<u8>) {
        let after = format!("{}changes0", self.prefix);
        (self.change(0), after.into_bytes())
    }

    /// The head, and at which revision of etcd it was written; as of now.
    async fn read_head(&self) -> Result<(Head, u64, u64), Failed> {
        let key = self.head();
        let end = [&key[..], b"\0"].concat();
        let page = self.gateway.page(&key, &end, 0, 1).await?;
        let now = page.header.revision;
        let Some(pair) = page.kvs.first() else {
            return Ok((Head::default(), 0, now));
        };
        let head: Head = serde_json::from_slice(&pair.value)
            .map_err(|error| Failed::Odd(format!("the head says {error}")))?;
        match head.format {
            FORMAT => Ok((head, pair.mod_revision, now)),
            newer => Err(Failed::Odd(format!(
                "the layout {newer} is of a newer version; this one reads {FORMAT}"
            ))),
        }
    }

    async fn load(&self) -> Result<Loaded, Failed> {
        let (head, written, now) = self.read_head().await?;
        let (first, end) = self.objects();
        let (pairs, _) = self.gateway.range(&first, &end, Some(now)).await?;
        let mut entries = Vec::with_capacity(pairs.len());
        for pair in pairs {
            entries.push((self.key_of(&pair)?, pair.value));
        }
        let past = self.past(written, now).await?;
        Ok(Loaded {
            revision: head.revision,
            entries,
            forgotten: if past.is_empty() {
                head.revision
            } else {
                head.forgotten
            },
            changes: past,
        })
    }

    /// Writes the head anew, so that whoever wrote before cannot go on: what is loaded from here on stays so.
    async fn claim(&self) -> Result<(), Failed> {
        loop {
            let (head, at, _) = self.read_head().await?;
            let mut name = [0; 16];
            rand::fill(&mut name).map_err(|_| Failed::Odd("there is no randomness".to_owned()))?;
            let head = Head {
                format: FORMAT,
                writer: base64(&name),
                ..head
            };
            let key = base64(&self.head());
            let unchanged = json!({
                "target": "MOD", "result": "EQUAL", "key": key, "mod_revision": at.to_string(),
            });
            let head = serde_json::to_vec(&head).expect("texts become JSON");
            let put = json!({"requestPut": {"key": key, "value": base64(&head)}});
            if self
                .gateway
                .transaction(&[&unchanged], &[put])
                .await?
                .succeeded
            {
                return Ok(());
            }
        }
    }

    /// The key of an object.
    fn key_of(&self, pair: &Pair) -> Result<String, Failed> {
        let key = pair.key.get(self.object("").len()..);
        let key = key.and_then(|key| std::str::from_utf8(key).ok());
        let odd = || Failed::Odd(format!("a key {:?}", pair.key));
        key.map(str::to_owned).ok_or_else(odd)
    }

    /// What undoes each kept change, as etcd has kept it; nothing if it has forgotten any.
    async fn past(&self, written: u64, now: u64) -> Result<Vec<Undo>, Failed> {
        let (first, end) = self.changes();
        let (changes, _) = self.gateway.range(&first, &end, Some(now)).await?;
        let Some(oldest) = changes.first() else {
            return Ok(Vec::new());
        };
        let (from, mut befores) = (oldest.mod_revision, BTreeMap::new());
        let before_it = from.saturating_sub(1);
        let (head, (_, end)) = (self.head(), self.objects());
        let reading = async {
            // Head and objects are written by the same transactions, and lie side by side.
            let mut watch = self.gateway.watch(&head, &end, from).await?;
            let mut seen = before_it;
            while seen < written {
                let watched = watch.next().await?;
                if watched.compact_revision > 0 {
                    return Ok(false);
                }
                if watched.canceled {
                    return Err(Failed::Unreachable(watched.cancel_reason));
                }
                for event in watched.events {
                    seen = event.kv.mod_revision;
                    if event.kv.key == head {
                        continue;
                    }
                    if event.lacks_before() {
                        return Ok(false);
                    }
                    let before = event.prev_kv.map(|pair| pair.value);
                    befores.insert((seen, self.key_of(&event.kv)?), before);
                }
            }
            Ok(true)
        };
        let late = || Failed::Unreachable(format!("it takes longer than {PAST_PATIENCE:?}"));
        let kept = timeout(PAST_PATIENCE, reading).await;
        // A server without a past serves, too.
        let kept = kept
            .unwrap_or_else(|_| Err(late()))
            .unwrap_or_else(|error| {
                tracing::warn!(error = api::chain(&error), "what was before is not known");
                false
            });
        let undo = |pair: &Pair| {
            let digits = pair.key.get(self.change(0).len() - 20..)?;
            let revision = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let key = String::from_utf8(pair.value.to_vec()).ok()?;
            // Of what was not there when it was removed, etcd tells nothing.
            let before = befores.get(&(pair.mod_revision, key.clone()));
            let before = before.cloned().flatten();
            Some(Undo {
                revision,
                key,
                before,
            })
        };
        match kept {
            false => Ok(Vec::new()),
            true => Ok(changes
                .iter()
                .map(undo)
                .collect::<Option<_>>()
                .unwrap_or_default()),
        }
    }
}

/// Writes batches, one transaction after the other.
struct Writer {
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
    fn new(place: Arc<Place>, runtime: Handle) -> Result<Self, std::io::Error> {
        let mut name = [0; 16];
        rand::fill(&mut name).map_err(|_| std::io::Error::other("there is no randomness"))?;
        Ok(Self {
            place,
            runtime,
            name: base64(&name),
            at: None,
            written: BTreeMap::new(),
            compacted: 0,
        })
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<(), Error> {
        let mut rest = batches;
        while !rest.is_empty() {
            let together = together(rest);
            let (now, later) = rest.split_at(together);
            self.write(now)?;
            rest = later;
        }
        Ok(())
    }

    /// Writes batches that fit into one transaction.
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

    /// The head as it was last written.
    fn at(&mut self) -> Result<(Head, u64), Error> {
        if let Some(at) = &self.at {
            return Ok(at.clone());
        }
        let place = &self.place;
        let read = self.runtime.block_on(place.patiently(|| place.read_head()));
        let (head, at, _) = read.map_err(Error::new)?;
        self.at = Some((head.clone(), at));
        Ok((head, at))
    }

    fn operations<'w>(&self, head: &Head, writes: impl Iterator<Item = &'w Write>) -> Vec<Value> {
        let place = &self.place;
        let put = |key: &[u8], value: &[u8]| json!({"requestPut": {"key": base64(key), "value": base64(value)}});
        let mut operations = Vec::new();
        for write in writes {
            let key = place.object(&write.key);
            operations.push(match &write.value {
                Some(value) => put(&key, value),
                None => json!({"requestDeleteRange": {"key": base64(&key)}}),
            });
            operations.push(put(&place.change(write.revision), write.key.as_bytes()));
        }
        let (first, end) = (place.change(0), place.change(head.forgotten + 1));
        let forgotten = json!({"key": base64(&first), "range_end": base64(&end)});
        operations.push(json!({"requestDeleteRange": forgotten}));
        let head = serde_json::to_vec(head).expect("texts become JSON");
        operations.push(put(&place.head(), &head));
        operations
    }

    /// Asks until it is known whether it was done: at which revision of etcd, or not, because of somebody else.
    fn asked(&self, head: &Head, head_at: u64, success: Vec<Value>) -> Result<Option<u64>, Error> {
        let key = base64(&self.place.head());
        let unchanged = json!({
            "target": "MOD", "result": "EQUAL", "key": key, "mod_revision": head_at.to_string(),
        });
        let asked = || async {
            let gateway = &self.place.gateway;
            let done = gateway.transaction(&[&unchanged], &success).await?;
            if done.succeeded {
                return Ok(Some(done.header.revision));
            }
            // Perhaps it was done when it was not answered.
            let (found, at, _) = self.place.read_head().await?;
            Ok((found == *head).then_some(at))
        };
        let asked = self.runtime.block_on(self.place.patiently(asked));
        asked.map_err(Error::new)
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

impl Place {
    /// Asks again for as long as nobody answers and the storage is open.
    async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut told = false;
        loop {
            match ask().await {
                Err(Failed::Unreachable(why)) if !self.closing.load(Ordering::Relaxed) => {
                    if !told {
                        tracing::warn!(why, "etcd does not answer; it is asked again");
                        told = true;
                    }
                    sleep(AGAIN).await;
                }
                answered => {
                    if told {
                        tracing::info!("etcd answers again");
                    }
                    return answered;
                }
            }
        }
    }
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
