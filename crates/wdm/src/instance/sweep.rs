//! Removes containers that have no Instance any more: what a host still runs after it was forgotten and came back.

use adapter::ContainerRuntime;
use api::{Instance, Result};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use runtime::failed;
use std::collections::BTreeSet;

/// How many Instances are asked for at once.
const PAGE: u32 = 500;

/// Removes every container of this host without an Instance, after one complete list of the host's Instances.
///
/// The containers are listed first: an Instance exists before its container, so one that is not listed afterwards was
/// deleted. A list that fails removes nothing.
pub async fn sweep<C: ContainerRuntime>(
    client: &Client,
    host: &str,
    containers: &C,
) -> Result<usize> {
    let running = containers.list().await?;
    let known = uids(client, host).await?;
    let mut n_removed = 0;
    for id in running.iter().filter(|id| !known.contains(&id.uid)) {
        tracing::warn!(container = %id, "removing a container without an instance");
        containers.remove(id).await?;
        n_removed += 1;
    }
    Ok(n_removed)
}

/// Removes every container of this host: for one that was forgotten.
pub async fn clear<C: ContainerRuntime>(containers: &C) -> Result<()> {
    for id in containers.list().await? {
        tracing::warn!(container = %id, "removing a container of a host that was forgotten");
        containers.remove(&id).await?;
    }
    Ok(())
}

async fn uids(client: &Client, host: &str) -> Result<BTreeSet<String>> {
    let api: Api<Instance> = Api::all(client.clone());
    let mut params = ListParams::default()
        .fields(&format!("spec.host={host}"))
        .limit(PAGE);
    let mut uids = BTreeSet::new();
    loop {
        // Only names and uids are asked for: one Instance that does not parse must not keep what others left behind.
        let page = api
            .list_metadata(&params)
            .await
            .map_err(failed(format!("list the instances of host {host}")))?;
        uids.extend(page.items.iter().filter_map(ResourceExt::uid));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(uids),
        }
    }
}
