//! Renews the Lease of a host from its agent, for as long as the agent lives.
//!
//! It is a plain loop and no reconciler: nothing is decided, and nobody has to read that it went well.

use api::{ErrorKind, Host, SYSTEM_NAMESPACE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use runtime::{Clock, failed};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use crate::host::{RENEWAL, SILENCE_MAX};

/// Renews the host's Lease every two seconds until `shutdown` completes. Failures are logged and tried again;
/// `forgotten` is told each time that there is no such Host.
pub async fn keep_lease(
    client: Client,
    host: &str,
    forgotten: &Notify,
    shutdown: impl Future<Output = ()>,
) {
    let work = async {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(RENEWAL, renew(&client, host)).await {
                Ok(Ok(())) => debug!(host, "lease renewed"),
                Ok(Err(error)) if error.kind == ErrorKind::NotFound => {
                    warn!(host, "there is no such host");
                    forgotten.notify_one();
                }
                Ok(Err(error)) => warn!(host, error = api::chain(&error), "lease not renewed"),
                Err(_) => warn!(host, "lease not renewed in time"),
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = work => {}
    }
}

async fn renew(client: &Client, host: &str) -> api::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let now = MicroTime(Clock::system().now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": host}});
    let done = leases
        .patch(host, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            create(client, &leases, host, spec(host, now)).await
        }
        done => done
            .map(drop)
            .map_err(failed(format!("renew lease {host}"))),
    }
}

fn spec(host: &str, now: MicroTime) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(host.to_owned()),
        lease_duration_seconds: i32::try_from(SILENCE_MAX.as_secs()).ok(),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        ..LeaseSpec::default()
    }
}

/// A host that was forgotten gets no Lease again.
async fn create(
    client: &Client,
    leases: &Api<Lease>,
    host: &str,
    spec: LeaseSpec,
) -> api::Result<()> {
    let hosts: Api<Host> = Api::all(client.clone());
    hosts
        .get(host)
        .await
        .map_err(failed(format!("read host {host}")))?;
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(host.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    leases
        .create(&PostParams::default(), &lease)
        .await
        .map(drop)
        .map_err(failed(format!("create lease {host}")))
}
