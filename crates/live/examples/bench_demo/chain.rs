//! A chain alone: between users and a workload that already run, on two hosts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::{AVAILABLE, Network, ServiceFunctionChain, Workload};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::groma::Groma;
use crate::rounds::{answer, millis, until};

/// How long one request may take: a few times the way from Madrid to Valencia and back.
const REQUEST: Duration = Duration::from_millis(40);

/// Milliseconds from the chain's creation to the first answer through it.
pub async fn first_answer(groma: &Groma) -> Result<f64> {
    let client = groma.client().await?;
    let chains: Api<ServiceFunctionChain> = Api::default_namespaced(client.clone());
    let address = workload(&client).await?;
    let users = groma.users()?;
    let chain = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "ServiceFunctionChain",
        "metadata": {"name": "bench"},
        "spec": {"network": "bench", "from": {"users": {"sites": ["madrid"]}}, "to": "bench"},
    }))?;
    let begun = Instant::now();
    chains.create(&PostParams::default(), &chain).await?;
    answer(&users, address, REQUEST, None).await?;
    let took = millis(begun.elapsed());
    remove(&client).await?;
    Ok(took)
}

/// An application in Valencia, as soon as it is available; where it serves.
async fn workload(client: &Client) -> Result<SocketAddr> {
    let networks: Api<Network> = Api::default_namespaced(client.clone());
    let network = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Network", "metadata": {"name": "bench"},
        "spec": {"prefix": "fd20:ffff::/64", "domain": "backbone"},
    }))?;
    networks.create(&PostParams::default(), &network).await?;
    let workloads: Api<Workload> = Api::default_namespaced(client.clone());
    let workload = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Workload", "metadata": {"name": "bench"},
        "spec": {
            "artefacts": [{"form": "container", "image": "layout:http-app"}],
            "resources": {"cpu": "100m", "memory": "64Mi"},
            "network": "bench", "ports": [{"name": "http", "port": 8080}],
            "eligibility": {"sites": ["valencia"]},
        },
    }))?;
    workloads.create(&PostParams::default(), &workload).await?;
    let status = async || Ok::<_, anyhow::Error>(workloads.get("bench").await?.status);
    until(async || {
        let status = status().await?;
        Ok(status.is_some_and(|status| status.conditions.is_true(AVAILABLE)))
    })
    .await?;
    let endpoints = status().await?.context("it has a status")?.endpoints;
    let endpoint = endpoints.first().context("it has an endpoint")?;
    Ok(SocketAddr::new(endpoint.address.into(), endpoint.port))
}

async fn remove(client: &Client) -> Result<()> {
    let how = DeleteParams::background();
    let chains: Api<ServiceFunctionChain> = Api::default_namespaced(client.clone());
    let workloads: Api<Workload> = Api::default_namespaced(client.clone());
    let networks: Api<Network> = Api::default_namespaced(client.clone());
    chains.delete("bench", &how).await?;
    until(async || Ok(chains.get_opt("bench").await?.is_none())).await?;
    workloads.delete("bench", &how).await?;
    until(async || Ok(workloads.get_opt("bench").await?.is_none())).await?;
    networks.delete("bench", &how).await?;
    until(async || Ok(networks.get_opt("bench").await?.is_none())).await
}
