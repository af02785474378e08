//! Durable writes of 64 clients: `groma serve` beside etcd alone, on the same disk and in turns.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bench::load::{self, Call, Until};
use crate::bench::objects;
use crate::bench::side::Side;
use crate::etcd::Cluster;
use crate::figures::Figure;
use crate::{Skip, tools};

const CLIENTS: usize = 64;
/// Writes of each round.
const WRITES: usize = 20_000;
/// Bytes of an object as it is sent.
const BYTES: usize = 1_000;

/// What one side did in a round.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Round {
    /// Writes a second.
    rate: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

/// Measures so many rounds.
///
/// # Errors
/// When a server does not start, or refuses a write.
pub async fn run(rounds: usize) -> Result<Vec<Figure>> {
    let side = Side::ours().await?;
    let peer = Cluster::start(1).and_then(|cluster| Ok((cluster, tools::etcd_load()?)));
    if let Err(Skip(why)) = &peer {
        eprintln!("there is no peer: {why}");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        ours.push(creates(&side, round).await?);
        if let Ok((cluster, program)) = &peer {
            theirs.push(puts(Command::new(program), cluster, round)?);
        }
    }
    let figure = |name: &str, unit, value: fn(&Round) -> f64| Figure {
        name: format!("durable creates of 1 kB, {CLIENTS} clients: {name}"),
        unit,
        ours: ours.iter().map(value).collect(),
        peer: theirs.iter().map(value).collect(),
    };
    Ok(vec![
        figure("rate", "1/s", |round| round.rate),
        figure("p50", "ms", |round| round.p50),
        figure("p99", "ms", |round| round.p99),
    ])
}

async fn creates(side: &Side, round: usize) -> Result<Round> {
    let namespace = format!("durable-{round}");
    side.make_namespace(&namespace).await?;
    let path = objects::path(&namespace);
    let create = move |at: usize| Call::post(path.clone(), objects::small(at).into());
    let load = load::run(side, CLIENTS, Until::Count(WRITES), Arc::new(create)).await?;
    Ok(Round {
        rate: load.took_each.len() as f64 / load.took,
        p50: load.quantile(0.5),
        p99: load.quantile(0.99),
    })
}

fn puts(mut program: Command, cluster: &Cluster, round: usize) -> Result<Round> {
    let members = cluster.members();
    let (certificate, key) = members.certificate.context("clients show one")?;
    let authority = members.authority.context("it is known")?;
    let said = program
        .arg(format!("-endpoint={}", members.urls[0]))
        .arg(format!("-cacert={}", authority.display()))
        .arg(format!("-cert={}", certificate.display()))
        .arg(format!("-key={}", key.display()))
        .arg(format!("-prefix=/round-{round}/"))
        .arg(format!("-clients={CLIENTS}"))
        .arg(format!("-writes={WRITES}"))
        .arg(format!("-bytes={BYTES}"))
        .output()?;
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.success(), "etcd refuses: {error}");
    Ok(serde_json::from_slice(&said.stdout)?)
}
