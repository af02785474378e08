//! Which server writes: the one whose lease holds one key of etcd, which says where it is reached. Others follow it.
//!
//! That only one writes does not rest on time: whoever writes after another is superseded, whatever he believes. The lease
//! says who should try.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::Background;
use super::gateway::{Failed, base64};
use super::place::{Place, delete, put};

/// How long the key stays after the one that holds it was last heard of.
const LEASE: Duration = Duration::from_secs(10);
/// How often the lease is renewed, and whether the key is free is looked at.
const RENEW: Duration = Duration::from_secs(2);

/// How long giving it back may take.
const REVOKE_PATIENCE: Duration = Duration::from_secs(2);

/// Holds the key until it is dropped or lost.
pub struct Leading {
    place: Arc<Place>,
    background: Arc<Background>,
    lease: String,
    renewing: AbortHandle,
    lost: watch::Receiver<bool>,
    term: Term,
    until: watch::Sender<Instant>,
    revision: u64,
    /// When whoever wrote before has certainly ended.
    alone_from: Instant,
}

/// Until when nobody else can write.
#[derive(Clone)]
pub struct Term(watch::Receiver<Instant>);

impl Term {
    /// Whether nobody else can have written until now.
    #[must_use]
    pub fn lasts(&self) -> bool {
        Instant::now() < *self.0.borrow()
    }
}

impl Leading {
    /// The last revision that another has written.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Waits until whoever wrote before, and fell silent, has certainly ended: one lease more. Nothing of it can be stored
    /// any more, but what it does elsewhere may still be on its way.
    pub async fn alone(&self) {
        sleep_until(self.alone_from).await;
    }

    /// Until when nobody else can write.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term.clone()
    }

    /// Returns when the key is lost: somebody else may write from now on.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // Who renews it goes only after it has said so.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.renewing.abort();
        self.until.send_replace(Instant::now());
        let revoking = async { timeout(REVOKE_PATIENCE, self.place.leave(&self.lease)).await };
        let handle = self.background.handle();
        let revoked = thread::scope(|scope| scope.spawn(|| handle.block_on(revoking)).join());
        if !matches!(revoked, Ok(Ok(Ok(())))) {
            tracing::warn!("the next server that writes waits until the lease ends by itself");
        }
    }
}

/// Waits until nobody else holds the key, and holds it; it says where this server is reached.
pub(super) async fn lead(
    place: Arc<Place>,
    background: Arc<Background>,
    url: String,
) -> Result<Leading, Failed> {
    let (taken, revision) = loop {
        let taken = place.patiently(|| place.take(&url)).await?;
        let is_ours = place.is_held(&taken.lease);
        // It may take so long that the key is another's meanwhile.
        if let Some(revision) = place.patiently(|| place.claim(&is_ours)).await? {
            break (taken, revision);
        }
    };
    let lease = taken.lease;
    let silent = !taken.was_left && revision > 0;
    let (says, lost) = watch::channel(false);
    let (until, term) = watch::channel(taken.asked + LEASE);
    let renewing = background.handle().spawn({
        let (place, lease, until) = (place.clone(), lease.clone(), until.clone());
        async move {
            place.renew(&lease, &until).await;
            until.send_replace(Instant::now());
            says.send_replace(true);
        }
    });
    Ok(Leading {
        term: Term(term),
        until,
        revision,
        alone_from: Instant::now() + if silent { LEASE } else { Duration::ZERO },
        place,
        background,
        lease,
        renewing: renewing.abort_handle(),
        lost,
    })
}

/// The key is held.
struct Taken {
    lease: String,
    /// When that lease was asked for.
    asked: Instant,
    /// Whether whoever held it before has ended in order.
    was_left: bool,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct Renewed {
    result: Remaining,
}

#[derive(Deserialize)]
struct Remaining {
    /// Absent once it has ended.
    #[serde(rename = "TTL", default)]
    ttl: Option<String>,
}

impl Place {
    fn writer(&self) -> Vec<u8> {
        format!("{}writer", self.prefix).into_bytes()
    }

    /// Holds while the key is of that lease.
    fn is_held(&self, lease: &str) -> Value {
        json!({
            "target": "LEASE", "result": "EQUAL", "key": base64(&self.writer()), "lease": lease,
        })
    }

    /// Stands while nobody writes because whoever did has ended in order.
    fn left(&self) -> Vec<u8> {
        format!("{}writer-left", self.prefix).into_bytes()
    }

    async fn value(&self, key: &[u8]) -> Result<Option<Bytes>, Failed> {
        let end = [key, b"\0"].concat();
        let mut page = self.gateway.page(key, &end, 0, 1).await?;
        Ok(page.kvs.pop().map(|pair| pair.value))
    }

    /// Where the server is reached that writes, if one does.
    pub(super) async fn leader(&self) -> Result<Option<String>, Failed> {
        let url = self.value(&self.writer()).await?;
        let url = url.map(|url| url.to_vec());
        let odd = |_| Failed::Odd("the server that writes does not say where it is".to_owned());
        let url = url.map(String::from_utf8).transpose().map_err(odd)?;
        // Somebody fills it.
        Ok(url.filter(|url| !url.is_empty()))
    }

    /// Takes the key once it is free.
    async fn take(&self, url: &str) -> Result<Taken, Failed> {
        let mut told = false;
        loop {
            let asked = Instant::now();
            let grant = json!({"TTL": LEASE.as_secs().to_string()});
            let Granted { id } = self.gateway.call("/v3/lease/grant", &grant).await?;
            let key = base64(&self.writer());
            let is_free = json!({
                "target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0",
            });
            let value = base64(url.as_bytes());
            let was_left = self.value(&self.left()).await?.is_some();
            let put = json!({"requestPut": {"key": key, "value": value, "lease": id}});
            let took = [put, delete(&self.left())];
            match self.gateway.transaction(&[&is_free], &took).await {
                Ok(done) if done.succeeded => {
                    return Ok(Taken {
                        lease: id,
                        asked,
                        was_left,
                    });
                }
                // The lease may have ended meanwhile.
                Ok(_) | Err(Failed::Refused(_)) => {}
                Err(error) => return Err(error),
            }
            if let Err(error) = self.revoke(&id).await {
                tracing::debug!(error = api::chain(&error), "the lease ends by itself");
            }
            if !told {
                tracing::info!("another server writes; this one follows it");
                told = true;
            }
            sleep(RENEW).await;
        }
    }

    /// Renews the lease until it cannot be any more.
    async fn renew(&self, lease: &str, until: &watch::Sender<Instant>) {
        loop {
            sleep(RENEW).await;
            let (asked, end) = (Instant::now(), *until.borrow());
            let keep = json!({"ID": lease});
            let kept = self.gateway.call("/v3/lease/keepalive", &keep);
            let kept: Result<Result<Renewed, _>, _> = timeout_at(end, kept).await;
            match kept {
                Ok(Ok(kept)) if kept.result.ttl.is_some() => {
                    until.send_replace(asked + LEASE);
                }
                Ok(Ok(_)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = api::chain(&error), "cannot renew the lease");
                }
            }
        }
    }

    /// Gives the key back, so that another server need not wait.
    async fn leave(&self, lease: &str) -> Result<(), Failed> {
        let left = [put(&self.left(), b"in order"), delete(&self.writer())];
        let is_ours = self.is_held(lease);
        self.gateway.transaction(&[&is_ours], &left).await?;
        self.revoke(lease).await
    }

    async fn revoke(&self, lease: &str) -> Result<(), Failed> {
        let asked = json!({"ID": lease});
        let revoked: Value = self.gateway.call("/v3/lease/revoke", &asked).await?;
        drop(revoked);
        Ok(())
    }
}
