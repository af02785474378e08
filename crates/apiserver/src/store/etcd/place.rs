//! What stands under which key of etcd, and how it is read: everything as of one revision, and the past that led there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::gateway::{Failed, Gateway, Pair, base64};
use crate::store::{Loaded, Undo};

/// How long to wait before a transaction that was not answered is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
/// How long a kept change may be on its way when a server starts.
const PAST_PATIENCE: Duration = Duration::from_secs(30);

/// Where everything is.
pub(super) struct Place {
    pub(super) gateway: Gateway,
    pub(super) prefix: String,
    /// Nobody waits any longer for a member that does not answer.
    closing: AtomicBool,
    /// As of which revision of etcd everything was loaded.
    loaded: AtomicU64,
    /// The head as this process has claimed it, and at which revision of etcd.
    claimed: Mutex<Option<(Head, u64)>>,
    /// When it was last sure that nothing of the others was missed.
    heard: Mutex<Option<Instant>>,
}

/// The last revision, and who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// [`FORMAT`].
    pub(super) format: u64,
    pub(super) revision: u64,
    pub(super) forgotten: u64,
    /// Of one process that writes.
    pub(super) writer: String,
}

/// The layout of the keys.
pub(super) const FORMAT: u64 = 1;
/// So many digits has a revision in a key, so that keys are in the order of revisions.
const REVISION_DIGITS: usize = 20;

impl Place {
    pub(super) fn new(gateway: Gateway, prefix: &str) -> Self {
        Self {
            gateway,
            prefix: prefix.to_owned(),
            closing: AtomicBool::new(false),
            loaded: AtomicU64::new(0),
            claimed: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// The head as this process has claimed it: whoever writes from there is refused once another one has.
    pub(super) fn claimed(&self) -> Option<(Head, u64)> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.take()
    }

    /// Nothing that others have written until now was missed.
    pub(super) fn hears(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it was so a moment ago.
    pub(super) fn has_heard(&self, within: Duration) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|at| at.elapsed() <= within)
    }

    /// As of which revision of etcd everything was loaded.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Nobody waits any longer for a member that does not answer.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Holds if nobody has written the head since that revision of etcd.
    pub(super) fn is_unchanged(&self, head_at: u64) -> Value {
        json!({
            "target": "MOD", "result": "EQUAL",
            "key": base64(&self.head()), "mod_revision": head_at.to_string(),
        })
    }

    /// Writes the head.
    pub(super) fn put_head(&self, head: &Head) -> Value {
        let head = serde_json::to_vec(head).expect("texts become JSON");
        put(&self.head(), &head)
    }

    pub(super) fn head(&self) -> Vec<u8> {
        format!("{}head", self.prefix).into_bytes()
    }

    pub(super) fn object(&self, key: &str) -> Vec<u8> {
        format!("{}objects/{key}", self.prefix).into_bytes()
    }

    pub(super) fn change(&self, revision: u64) -> Vec<u8> {
        format!("{}changes/{revision:0REVISION_DIGITS$}", self.prefix).into_bytes()
    }

    /// From the first object to after the last one.
    pub(super) fn objects(&self) -> (Vec<u8>, Vec<u8>) {
        let after = format!("{}objects0", self.prefix);
        (self.object(""), after.into_bytes())
    }

    pub(super) fn changes(&self) -> (Vec<u8>, Vec<u8>) {
        let after = format!("{}changes0", self.prefix);
        (self.change(0), after.into_bytes())
    }

    /// The head, and at which revision of etcd it was written; as of now.
    pub(super) async fn read_head(&self) -> Result<(Head, u64, u64), Failed> {
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

    pub(super) async fn load(&self) -> Result<Loaded, Failed> {
        let (head, written, now) = self.read_head().await?;
        let (first, end) = self.objects();
        let (pairs, _) = self.gateway.range(&first, &end, Some(now)).await?;
        if head.revision == 0 && !pairs.is_empty() {
            let why = "a restore has broken off there: do it again, or take another prefix";
            return Err(Failed::Odd(why.to_owned()));
        }
        let mut entries = Vec::with_capacity(pairs.len());
        for pair in pairs {
            entries.push((self.key_of(&pair)?, pair.value));
        }
        let past = self.past(written, now).await?;
        self.loaded.store(now, Ordering::Relaxed);
        self.hears();
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

    /// Writes the head anew while a comparison holds, so that whoever wrote before cannot go on; answers with the last
    /// revision, or nothing once it does not hold.
    pub(super) async fn claim(&self, holds: &Value) -> Result<Option<u64>, Failed> {
        loop {
            let (head, at, _) = self.read_head().await?;
            let head = Head {
                format: FORMAT,
                writer: writer_name()?,
                ..head
            };
            let compare = [holds, &self.is_unchanged(at)];
            let put = [self.put_head(&head)];
            let done = self.gateway.transaction(&compare, &put).await?;
            if done.succeeded {
                let revision = head.revision;
                let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
                *claimed = Some((head, done.header.revision));
                return Ok(Some(revision));
            }
            if !self.gateway.transaction(&[holds], &[]).await?.succeeded {
                return Ok(None);
            }
        }
    }

    /// The key of an object.
    pub(super) fn key_of(&self, pair: &Pair) -> Result<String, Failed> {
        let key = pair.key.get(self.object("").len()..);
        let key = key.and_then(|key| std::str::from_utf8(key).ok());
        let odd = || Failed::Odd(format!("a key {:?}", pair.key));
        key.map(str::to_owned).ok_or_else(odd)
    }

    /// Which revision has changed which object.
    pub(super) fn change_of(&self, pair: &Pair) -> Option<(u64, String)> {
        let digits = pair.key.get(self.change(0).len() - REVISION_DIGITS..)?;
        let revision = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some((revision, String::from_utf8(pair.value.to_vec()).ok()?))
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
            let mut watch = self.gateway.watch(&head, &end, from, true).await?;
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
            let (revision, key) = self.change_of(pair)?;
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

    /// Asks again for as long as nobody answers and the storage is open.
    pub(super) async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Failed>
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

/// The operation that sets a key.
pub(super) fn put(key: &[u8], value: &[u8]) -> Value {
    json!({"requestPut": {"key": base64(key), "value": base64(value)}})
}

/// The operation that removes a key.
pub(super) fn delete(key: &[u8]) -> Value {
    json!({"requestDeleteRange": {"key": base64(key)}})
}

/// The operation that removes a range of keys.
pub(super) fn delete_all(first: &[u8], end: &[u8]) -> Value {
    json!({"requestDeleteRange": {"key": base64(first), "range_end": base64(end)}})
}

/// A name for one that writes.
pub(super) fn writer_name() -> Result<String, Failed> {
    let mut name = [0; 16];
    rand::fill(&mut name).map_err(|_| Failed::Odd("there is no randomness".to_owned()))?;
    Ok(base64(&name))
}
