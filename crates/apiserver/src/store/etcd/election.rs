//! Which server writes: the one whose lease holds one key of etcd. Others wait until it is gone.
//!
//! That only one writes does not rest on time: whoever writes after another is superseded, whatever he believes. The lease
//! says who should try.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Background;
use super::gateway::{Failed, base64};
use super::place::Place;

/// How long the key stays after the one that holds it was last heard of, in seconds.
const LEASE_SECONDS: u64 = 10;
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
}

impl Leading {
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
        let revoking = async { timeout(REVOKE_PATIENCE, self.place.revoke(&self.lease)).await };
        let handle = self.background.handle();
        let revoked = thread::scope(|scope| scope.spawn(|| handle.block_on(revoking)).join());
        if !matches!(revoked, Ok(Ok(Ok(())))) {
            tracing::warn!("the next server that writes waits until the lease ends by itself");
        }
    }
}

/// Waits until nobody else holds the key, and holds it.
pub(super) async fn lead(
    place: Arc<Place>,
    background: Arc<Background>,
) -> Result<Leading, Failed> {
    let lease = place.patiently(|| place.take()).await?;
    place.patiently(|| place.claim()).await?;
    let (says, lost) = watch::channel(false);
    let renewing = background.handle().spawn({
        let (place, lease) = (place.clone(), lease.clone());
        async move {
            place.renew(&lease).await;
            says.send_replace(true);
        }
    });
    Ok(Leading {
        place,
        background,
        lease,
        renewing: renewing.abort_handle(),
        lost,
    })
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

    /// Takes the key once it is free; answers with the lease that holds it.
    async fn take(&self) -> Result<String, Failed> {
        let mut told = false;
        loop {
            let grant = json!({"TTL": LEASE_SECONDS.to_string()});
            let Granted { id } = self.gateway.call("/v3/lease/grant", &grant).await?;
            let key = base64(&self.writer());
            let is_free = json!({
                "target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0",
            });
            let put = json!({"requestPut": {"key": key, "lease": id}});
            match self.gateway.transaction(&[&is_free], &[put]).await {
                Ok(done) if done.succeeded => return Ok(id),
                // The lease may have ended meanwhile.
                Ok(_) | Err(Failed::Refused(_)) => {}
                Err(error) => return Err(error),
            }
            if let Err(error) = self.revoke(&id).await {
                tracing::debug!(error = api::chain(&error), "the lease ends by itself");
            }
            if !told {
                tracing::info!("another server writes; this one waits until it is gone");
                told = true;
            }
            sleep(RENEW).await;
        }
    }

    /// Renews the lease until it cannot be any more.
    async fn renew(&self, lease: &str) {
        let lasts = Duration::from_secs(LEASE_SECONDS);
        let mut renewed = Instant::now();
        while renewed.elapsed() < lasts {
            sleep(RENEW).await;
            let asked = Instant::now();
            let keep = json!({"ID": lease});
            let left = lasts.saturating_sub(renewed.elapsed());
            let kept = self.gateway.call("/v3/lease/keepalive", &keep);
            let kept: Result<Result<Renewed, _>, _> = timeout(left, kept).await;
            match kept {
                Ok(Ok(kept)) if kept.result.ttl.is_some() => renewed = asked,
                Ok(Ok(_)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = api::chain(&error), "cannot renew the lease");
                }
            }
        }
    }

    async fn revoke(&self, lease: &str) -> Result<(), Failed> {
        let asked = json!({"ID": lease});
        let revoked: serde_json::Value = self.gateway.call("/v3/lease/revoke", &asked).await?;
        drop(revoked);
        Ok(())
    }
}
