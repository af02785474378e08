//! `cargo xtask demo`: the main job on this machine, shown and proved with the commands that a user would type.
//!
//! A laboratory of six sites, a service of three components, a chain with two functions; requests with a nonce that must
//! arrive in the application's log, counters of every hop in both directions; then the application's site loses its power.
//! It ends clean, or with --keep it leaves all running and says what to try.

mod groma;
mod watch;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::{self, Profile};
use crate::demo::groma::Groma;
use crate::demo::watch::until_available;
use crate::images;

/// The service of the example.
const SERVICE: &str = "shop";
/// The images of the example.
const IMAGES: [&str; 3] = ["firewall", "limiter", "http-app"];
/// The users of the example, as `groma lab status` names them.
const USERS: &str = "users-madrid-1-users";
/// Requests that prove that packets flow.
const REQUESTS: u32 = 20;

/// Segments of the chain: two functions and an end, each way.
const HOPS: usize = 6;

/// Runs the demo.
pub(crate) fn run(keep: bool) -> Result<()> {
    say("building groma and packing its network functions (the first time takes minutes)");
    let images = cargo::root().join("target/images");
    let programs = images::pack_all(Profile::Dev, &images)?.require(&IMAGES)?;
    let groma = Groma::new(&programs, &images);
    groma.down()?;
    let shown = show(&groma);
    if keep && let Ok(endpoint) = &shown {
        groma.print_hints(SERVICE, USERS, endpoint);
        return Ok(());
    }
    say("removing everything");
    let removed = groma.down();
    shown.and(removed)
}

/// Shows all of it, and returns where the service is reached.
fn show(groma: &Groma) -> Result<String> {
    say("building a laboratory: six sites of three providers, links that really delay");
    groma.lab(&["up", "--file", "examples/demo/topology.yaml"])?;
    say("applying one Service: users -> firewall -> limiter -> app");
    groma.client(&["apply", "--file", "examples/demo/service.yaml"])?;
    let begun = Instant::now();
    let service = until_available(groma, SERVICE, None)?;
    say(&format!(
        "available {:.2} s after it was applied",
        begun.elapsed().as_secs_f64()
    ));
    say("where each part runs, and why not elsewhere");
    groma.client(&["why", SERVICE])?;
    prove(groma, &service, "before")?;
    heal(groma, &service)?;
    endpoint(&service)
}

/// Sends requests as a user, and shows that each took the chain both ways.
fn prove(groma: &Groma, service: &Value, prefix: &str) -> Result<()> {
    let endpoint = endpoint(service)?;
    let before = packets(groma)?;
    say(&format!("requests from a user in Madrid to {endpoint}"));
    send(groma, &endpoint, prefix)?;
    nonces_arrived(groma, prefix)?;
    say("the hops of the chain, both ways, as the kernels of the hosts counted them");
    groma.client(&["trace", SERVICE])?;
    let after = packets(groma)?;
    ensure!(
        after.len() >= HOPS,
        "the chain has {} hops, not {HOPS}",
        after.len()
    );
    for (segment, count) in after {
        let grown = count.saturating_sub(before.get(&segment).copied().unwrap_or(0));
        ensure!(
            grown >= u64::from(REQUESTS),
            "segment {segment} has seen {grown} packets for {REQUESTS} requests"
        );
    }
    Ok(())
}

fn send(groma: &Groma, endpoint: &str, prefix: &str) -> Result<()> {
    let (probe, url, count) = (
        groma.probe(),
        format!("http://{endpoint}/echo"),
        REQUESTS.to_string(),
    );
    let mut words = vec!["exec", USERS, &probe, "http", &url];
    words.extend(["--count", &count, "--rate", "20", "--nonce-prefix", prefix]);
    groma.lab(&words)
}

/// Fails unless the nonce of every request is in the application's log.
fn nonces_arrived(groma: &Groma, prefix: &str) -> Result<()> {
    let log = groma.read(&["logs", &format!("{SERVICE}-app"), "--tail", "100"])?;
    let mut last = "";
    for n in 0..REQUESTS {
        let nonce = format!("nonce={prefix}-{n} ");
        let line = log.lines().find(|line| line.contains(&nonce));
        last = line.with_context(|| format!("{nonce}is not in the application's log"))?;
    }
    say(&format!(
        "all {REQUESTS} nonces arrived in the application's log, the last one:"
    ));
    println!("    {last}");
    Ok(())
}

/// The packets that each segment of the chain has counted so far.
fn packets(groma: &Groma) -> Result<BTreeMap<String, u64>> {
    let traced = groma.read(&["trace", SERVICE, "--output", "json"])?;
    let hops: Vec<Value> = serde_json::from_str(&traced)?;
    let count = |hop: &Value| {
        let segment = hop["sid"].as_str()?.to_owned();
        Some((segment, hop["counters"]["packets"].as_u64().unwrap_or(0)))
    };
    hops.iter()
        .map(|hop| count(hop).context("a hop has a segment"))
        .collect()
}

/// Cuts the power of the application's site and shows the service available again elsewhere.
fn heal(groma: &Groma, service: &Value) -> Result<()> {
    let lost = site_of(service, "app").context("the application is at a site")?;
    say(&format!(
        "cutting the power of {lost}, where the application runs"
    ));
    groma.lab(&["stop", &lost])?;
    let begun = Instant::now();
    let service = until_available(groma, SERVICE, Some(&lost))?;
    let found = site_of(&service, "app").context("the application is at a site")?;
    say(&format!(
        "available again at {found} {:.2} s later (the rule of the example waits 3 s before it moves anything)",
        begun.elapsed().as_secs_f64()
    ));
    prove(groma, &service, "after")
}

fn endpoint(service: &Value) -> Result<String> {
    let endpoint = &service["status"]["endpoints"][0];
    match (endpoint["address"].as_str(), endpoint["port"].as_u64()) {
        (Some(address), Some(port)) => Ok(format!("[{address}]:{port}")),
        _ => bail!("the service has no endpoint"),
    }
}

fn site_of(service: &Value, component: &str) -> Option<String> {
    let components = service["status"]["components"].as_array()?;
    let found = components.iter().find(|known| known["name"] == component)?;
    Some(found["sites"][0].as_str()?.to_owned())
}

fn say(text: &str) {
    println!("\n==> {text}");
}
