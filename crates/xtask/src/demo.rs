//! `cargo xtask demo`: the main job on this machine, shown and proved with the commands that a user would type.
//!
//! A laboratory of six sites, a service of three components, a chain with two functions; requests with a nonce that must
//! arrive in the application's log, counters of every hop in both directions; then the application's site loses its power.
//! It ends clean, or with --keep it leaves all running and says what to try.

mod groma;
mod watch;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::demo::groma::Groma;
use crate::demo::watch::until_available;
use crate::{cargo, images};

/// The service of the example.
const SERVICE: &str = "shop";
/// The users of the example, as `groma lab status` names them.
const USERS: &str = "users-madrid-1-users";
/// Requests that prove that packets flow.
const REQUESTS: u32 = 20;

/// Runs the demo.
pub(crate) fn run(keep: bool) -> Result<()> {
    say("building groma and packing its network functions (the first time takes minutes)");
    let images = cargo::root().join("target/images");
    let programs = images::pack_all(&images)?;
    let groma = Groma::new(&programs, &images);
    groma.down()?;
    let shown = show(&groma);
    if keep && shown.is_ok() {
        groma.print_hints(SERVICE, USERS);
        return shown;
    }
    say("removing everything");
    let removed = groma.down();
    shown.and(removed)
}

fn show(groma: &Groma) -> Result<()> {
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
    heal(groma, &service)
}

/// Sends requests as a user, and shows that they took the chain both ways.
fn prove(groma: &Groma, service: &Value, prefix: &str) -> Result<()> {
    let endpoint = endpoint(service)?;
    say(&format!("requests from a user in Madrid to {endpoint}"));
    let url = format!("http://{endpoint}/echo");
    let count = REQUESTS.to_string();
    groma.lab(&[
        "exec",
        USERS,
        &groma.probe(),
        "http",
        &url,
        "--count",
        &count,
        "--rate",
        "20",
        "--nonce-prefix",
        prefix,
    ])?;
    let log = groma.read(&["logs", &format!("{SERVICE}-app"), "--tail", "100"])?;
    let arrived: Vec<_> = log
        .lines()
        .filter(|line| line.contains(&format!("{prefix}-")))
        .collect();
    ensure!(
        !arrived.is_empty(),
        "no nonce arrived in the application's log"
    );
    say(&format!(
        "{} nonces arrived in the application's log, the last one:",
        arrived.len()
    ));
    println!("    {}", arrived[arrived.len() - 1]);
    say("the hops of the chain, both ways, as the kernels of the hosts counted them");
    groma.client(&["trace", SERVICE])?;
    let traced: Value =
        serde_json::from_str(&groma.read(&["trace", SERVICE, "--output", "json"])?)?;
    let hops = traced.as_array().context("a trace has hops")?;
    let silent = hops
        .iter()
        .filter(|hop| hop["counters"]["packets"].as_u64().unwrap_or(0) == 0)
        .count();
    ensure!(
        hops.len() >= 6 && silent == 0,
        "{silent} of {} hops have seen no packet",
        hops.len()
    );
    Ok(())
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
