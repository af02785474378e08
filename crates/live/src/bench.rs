//! The benchmark of the API server: `groma serve` beside kube-apiserver with etcd, the same client and the same requests.
//!
//! Rounds alternate between both, because machines are noisy: what counts is the ratio within a run. Both store on the
//! same disk and answer when a write is on it. Where no peer can be built, ours is measured alone.

pub mod agents;
pub mod client;
pub mod durable;
pub mod failover;
pub mod load;
pub mod million;
mod objects;
mod side;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::load::{Call, Load, Until};
use crate::bench::side::Side;
use crate::figures::Figure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rounds; medians are over them.
    pub rounds: usize,
    /// Clients that ask at once.
    pub workers: usize,
    /// Objects that each round makes and lists.
    pub objects: usize,
    /// How long each other sort of request goes on.
    pub lasts: Duration,
    /// Watches that are open at once.
    pub watchers: usize,
    /// Writes for a second while they are open.
    pub writes: u32,
}

impl Sizes {
    /// What PROMISES.md speaks of.
    pub const FULL: Self = Self {
        rounds: 3,
        workers: 64,
        objects: 10_000,
        lasts: Duration::from_secs(3),
        watchers: 10_000,
        writes: 500,
    };
    /// Enough to see that it runs.
    pub const SMOKE: Self = Self {
        rounds: 1,
        workers: 2,
        objects: 12,
        lasts: Duration::from_millis(200),
        watchers: 8,
        writes: 50,
    };
}

/// How long a server is left alone before its idle memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// Objects of one page of a list.
const PAGE: usize = 500;

/// What was measured of one server: names, units and the values of all rounds, in the same order for both.
type Measured = Vec<(String, &'static str, Vec<f64>)>;

/// Measures both, or ours alone.
///
/// # Errors
/// When ours cannot be started, or either answers otherwise than expected.
pub async fn run(sizes: &Sizes, with_peer: bool) -> Result<Vec<Figure>> {
    let mut sides = vec![Side::ours().await?];
    if with_peer {
        match Side::peer().await? {
            Ok(peer) => sides.push(peer),
            Err(skip) => eprintln!("there is no peer: {}", skip.0),
        }
    }
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::new()).collect();
    tokio::time::sleep(IDLE.min(sizes.lasts * 2)).await;
    for (side, found) in sides.iter().zip(&mut measured) {
        note(found, "idle: memory", "MB", side.used().memory);
    }
    for round in 0..sizes.rounds {
        for (side, found) in sides.iter().zip(&mut measured) {
            eprintln!("round {} of {}: {}", round + 1, sizes.rounds, side.name);
            requests(side, sizes, round, found)
                .await
                .with_context(|| side.name)?;
        }
    }
    for (side, found) in sides.iter().zip(&mut measured) {
        note(found, "after the load: memory", "MB", side.used().memory);
    }
    for (side, found) in sides.iter().zip(&mut measured) {
        eprintln!("{} watches: {}", sizes.watchers, side.name);
        watchers::measure(side, sizes, |name, unit, value| {
            note(found, name, unit, value)
        })
        .await
        .with_context(|| side.name)?;
    }
    Ok(figures(measured))
}

/// Notes a figure, and tells it at once: the peer may take minutes to the next one.
fn note(found: &mut Measured, name: &str, unit: &'static str, value: f64) {
    eprintln!("  {name}: {value:.2} {unit}");
    match found.iter_mut().find(|(known, ..)| known == name) {
        Some((_, _, values)) => values.push(value),
        None => found.push((name.to_owned(), unit, vec![value])),
    }
}

fn figures(measured: Vec<Measured>) -> Vec<Figure> {
    let mut sides = measured.into_iter();
    let ours = sides.next().unwrap_or_default();
    let peer = sides.next().unwrap_or_default();
    let of_peer = |name: &str| {
        let found = peer.iter().find(|(known, ..)| known == name);
        found.map(|(_, _, values)| values.clone())
    };
    let figure = |(name, unit, ours): (String, &'static str, Vec<f64>)| Figure {
        peer: of_peer(&name).unwrap_or_default(),
        name,
        unit,
        ours,
    };
    ours.into_iter().map(figure).collect()
}

/// One round of every sort of request, in a namespace of its own.
async fn requests(side: &Side, sizes: &Sizes, round: usize, found: &mut Measured) -> Result<()> {
    let namespace = format!("round-{round}");
    side.make_namespace(&namespace).await?;
    let (things, n, workers) = (objects::path(&namespace), sizes.objects, sizes.workers);
    let lasts = Until::Time(sizes.lasts);

    let path = things.clone();
    let create = move |at: usize| Call::post(path.clone(), objects::small(at).into());
    let created = load::run(side, workers, Until::Count(n), Arc::new(create)).await?;
    note_load(found, "create 1 kB", &created);

    let path = things.clone();
    // In another order than that of making.
    let get = move |at: usize| Call::get(format!("{path}/{}", objects::name(at * 7919 % n)));
    let got = load::run(side, workers, lasts, Arc::new(get)).await?;
    note_load(found, "get 1 kB", &got);

    let path = things.clone();
    let apply = move |at: usize, text: usize| {
        let name = format!("applied-{}", at % workers);
        let path = format!("{path}/{name}?fieldManager=bench&force=true");
        Call::apply(path, objects::large(&name, text))
    };
    let same = apply.clone();
    let change = Arc::new(move |at| apply(at, at));
    let changed = load::run(side, workers, lasts, change).await?;
    note_load(found, "apply 10 kB, changed", &changed);
    let same = Arc::new(move |at| same(at, 0));
    load::run(side, 1, Until::Count(workers), same.clone()).await?;
    let kept = load::run(side, workers, lasts, same).await?;
    note_load(found, "apply 10 kB, the same", &kept);

    let listed = load::pages(side, &things, PAGE, n).await?;
    let millis = 1e3 * 10_000.0 / n as f64;
    let mut note = |what, value| note(found, what, "ms", value * millis);
    note("list 10,000 of 1 kB in pages of 500", listed.took);
    note("list 10,000 of 1 kB: server's CPU", listed.server);
    Ok(())
}

fn note_load(found: &mut Measured, kind: &str, load: &Load) {
    let n = load.took_each.len() as f64;
    let mut note = |what: &str, unit, value| note(found, &format!("{kind}: {what}"), unit, value);
    note("rate", "1/s", n / load.took);
    note("p50", "ms", load.quantile(0.5));
    note("p99", "ms", load.quantile(0.99));
    note("server's CPU for each", "us", load.server * 1e6 / n);
    note("client's CPU for each", "us", load.client * 1e6 / n);
}
