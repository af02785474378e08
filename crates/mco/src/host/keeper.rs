//! Renews the Lease of a host from its agent, for as long as the agent lives.
//!
//! It is a plain loop and no reconciler: nothing is decided, and nobody has to read that it went well.

use api::{Error, ErrorKind, Host, SYSTEM_NAMESPACE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use runtime::{Clock, deleting, failed};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use crate::host::{RENEWAL, SILENCE_MAX};

/// Renews the host's Lease every two seconds until `shutdown` completes. Failures are logged and tried again;
/// `forgotten` is told each time that there is no such Host, or that the server lets this agent do nothing.
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
                Ok(Err(error))
                    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Forbidden) =>
                {
                    warn!(host, error = api::chain(&error), "lease not renewed");
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

/// A host that was forgotten, or is just being forgotten, gets no Lease again.
async fn create(
    client: &Client,
    leases: &Api<Lease>,
    host: &str,
    spec: LeaseSpec,
) -> api::Result<()> {
    let hosts: Api<Host> = Api::all(client.clone());
    let found = hosts.get(host).await;
    let found = found.map_err(failed(format!("read host {host}")))?;
    if deleting(&found) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("cannot create lease {host}: the host is being deleted"),
        ));
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(host.to_owned()),
            owner_references: found.owner_ref(&()).map(|owner| vec![owner]),
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tests::process::Ground;
    use crate::tests::world::host;

    async fn held_host(ground: &Ground) -> Api<Host> {
        ground.create(&host("mad-1", "mad", 1)).await;
        let hosts: Api<Host> = Api::all(ground.user.clone());
        let patch = json!({"metadata": {"finalizers": ["groma.dev/host"]}});
        let patch: Patch<Value> = Patch::Merge(patch);
        let params = PatchParams::default();
        hosts.patch("mad-1", &params, &patch).await.unwrap();
        hosts
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_its_hosts_and_comes_not_back_while_the_host_goes() {
        let ground = Ground::new();
        let hosts = held_host(&ground).await;
        renew(&ground.user, "mad-1").await.unwrap();
        let leases: Api<Lease> = Api::namespaced(ground.user.clone(), SYSTEM_NAMESPACE);
        let lease = leases.get("mad-1").await.unwrap();
        let uid = hosts.get("mad-1").await.unwrap().metadata.uid.unwrap();
        assert_eq!(lease.metadata.owner_references.unwrap()[0].uid, uid);
        let params = Default::default();
        leases.delete("mad-1", &params).await.unwrap();
        hosts.delete("mad-1", &params).await.unwrap();
        let refused = renew(&ground.user, "mad-1").await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert_eq!(leases.get_opt("mad-1").await.unwrap(), None);
    }
}
