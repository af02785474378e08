//! One round: the service is applied, heals after a power cut, and is deleted; each step timed as a client sees it.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::{AVAILABLE, Instance, Placement, Service, Workload};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use linux::Namespace;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::chain;
use crate::groma::Groma;
use crate::usage::{Usage, usage};

/// How often things are looked at; the resolution of every figure.
const LOOK: Duration = Duration::from_millis(2);
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one request may take: more than the way there and back twice.
const REQUEST: Duration = Duration::from_millis(150);

/// Milliseconds of each step.
pub struct Round {
    pub available: f64,
    pub chain: f64,
    pub decision: f64,
    pub running: f64,
    pub first_answer: f64,
    pub heal: f64,
    pub gone: f64,
}

/// One round, and what the programs used meanwhile.
pub async fn one(groma: &Groma) -> Result<(Round, Usage)> {
    let chain = chain::first_answer(groma).await?;
    let client = groma.client().await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let begun = Instant::now();
    services.create(&PostParams::default(), &example()?).await?;
    let decision = decision(&client).await?;
    let (requested, all_running) = instances(&client).await?;
    let users = groma.users()?;
    let address = endpoint(&services).await?;
    answer(&users, address, REQUEST, None).await?;
    let first_answer = millis(all_running.elapsed());
    until(async || Ok(is_available(&services.get("shop").await?))).await?;
    let available = millis(begun.elapsed());
    let used = usage(groma).await?;
    let heal = heal(groma, &services, &users, address).await?;
    let deleting = Instant::now();
    services.delete("shop", &DeleteParams::background()).await?;
    until(async || Ok(services.get_opt("shop").await?.is_none())).await?;
    let gone = millis(deleting.elapsed());
    Ok((
        Round {
            available,
            chain,
            decision,
            running: requested,
            first_answer,
            heal,
            gone,
        },
        used,
    ))
}

fn example() -> Result<Service> {
    let text = std::fs::read_to_string("examples/demo/service.yaml")
        .context("run this in the root of the project")?;
    let documents = api::documents(&text)?;
    Ok(serde_json::from_value(documents[0].clone())?)
}

/// From the last workload seen to the placement seen.
async fn decision(client: &Client) -> Result<f64> {
    let workloads: Api<Workload> = Api::default_namespaced(client.clone());
    let placements: Api<Placement> = Api::default_namespaced(client.clone());
    let all = ListParams::default();
    until(async || Ok(workloads.list(&all).await?.items.len() == 3)).await?;
    let seen = Instant::now();
    until(async || Ok(!placements.list(&all).await?.items.is_empty())).await?;
    Ok(millis(seen.elapsed()))
}

/// The median time from an instance seen to it available, and when the last one was.
async fn instances(client: &Client) -> Result<(f64, Instant)> {
    let api: Api<Instance> = Api::default_namespaced(client.clone());
    let begun = Instant::now();
    let mut seen = std::collections::BTreeMap::new();
    let mut took: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
    while took.len() < 3 {
        for instance in api.list(&ListParams::default()).await?.items {
            let first = *seen.entry(instance.name_any()).or_insert_with(Instant::now);
            let available = instance
                .status
                .as_ref()
                .is_some_and(|status| status.conditions.is_true(AVAILABLE));
            if available {
                took.entry(instance.name_any())
                    .or_insert_with(|| millis(first.elapsed()));
            }
        }
        if begun.elapsed() > PATIENCE {
            bail!("the instances did not become available");
        }
        sleep(LOOK).await;
    }
    let mut times: Vec<f64> = took.into_values().collect();
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], Instant::now()))
}

async fn endpoint(services: &Api<Service>) -> Result<SocketAddr> {
    let begun = Instant::now();
    loop {
        let service = services.get("shop").await?;
        if let Some(endpoint) = service
            .status
            .iter()
            .flat_map(|status| &status.endpoints)
            .next()
        {
            let address: Ipv6Addr = endpoint.address;
            return Ok(SocketAddr::new(address.into(), endpoint.port));
        }
        if begun.elapsed() > PATIENCE {
            bail!("the service has no endpoint");
        }
        sleep(LOOK).await;
    }
}

/// Cuts the power of the application's site; the time until requests are answered from another one.
async fn heal(
    groma: &Groma,
    services: &Api<Service>,
    users: &Namespace,
    address: SocketAddr,
) -> Result<f64> {
    let service = services.get("shop").await?;
    let components = service
        .status
        .map(|status| status.components)
        .unwrap_or_default();
    let app = components
        .iter()
        .find(|component| component.name == "app")
        .context("there is no app")?;
    let site = app.sites.first().context("the app is nowhere")?.to_string();
    let cut = Instant::now();
    groma.lab(&["stop", &site])?;
    answer(users, address, REQUEST, Some(&site)).await?;
    let healed = millis(cut.elapsed());
    groma.lab(&["start", &site])?;
    until(async || Ok(is_available(&services.get("shop").await?))).await?;
    Ok(healed)
}

/// Asks as a user until there is an answer within `limit`, from another site than `not_from`.
pub async fn answer(
    users: &Namespace,
    address: SocketAddr,
    limit: Duration,
    not_from: Option<&str>,
) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match timeout(limit, ask(users, address)).await {
            Ok(Ok(site)) if not_from != Some(site.as_str()) => return Ok(()),
            _ => sleep(LOOK).await,
        }
    }
    bail!("no request was answered")
}

/// One request over a new connection; the site that answered.
async fn ask(users: &Namespace, address: SocketAddr) -> Result<String> {
    let mut stream = users.tcp_socket(address)?.connect(address).await?;
    stream
        .write_all(b"GET /echo?nonce=bench HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let body = text
        .split_once("\r\n\r\n")
        .context("an answer has a body")?
        .1;
    let start = body.find('{').context("the body is JSON")?;
    let end = body.rfind('}').context("the body is JSON")?;
    let answer: Value = serde_json::from_str(&body[start..=end])?;
    Ok(answer["site"].as_str().unwrap_or_default().to_owned())
}

fn is_available(service: &Service) -> bool {
    service
        .status
        .as_ref()
        .is_some_and(|status| status.conditions.is_true(AVAILABLE))
}

/// Looks again and again until it holds.
pub async fn until(mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        if begun.elapsed() > PATIENCE {
            bail!("it took longer than {} s", PATIENCE.as_secs());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// A time as figures are given.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
