//! `cargo xtask bench demo`: how long the main job takes on this machine, and what it costs.
//!
//! A laboratory of the demo's topology, several rounds of the demo's service: applied, timed at each step as a client
//! sees it, healed after a power cut, deleted. Medians over the rounds; machines are noisy. There is no peer that does
//! the whole job, so the figures stand alone.

mod chain;
mod groma;
mod rounds;
mod usage;

use anyhow::Result;
use live::figures::{self, Figure};

use crate::groma::Groma;
use crate::rounds::Round;
use crate::usage::{Usage, usage};

/// Rounds unless the first argument says otherwise.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    let groma = Groma::up()?;
    let measured = measure(&groma, rounds).await;
    groma.down()?;
    figures::print("demo", &measured?);
    Ok(())
}

async fn measure(groma: &Groma, n_rounds: usize) -> Result<Vec<Figure>> {
    let idle = usage(groma).await?;
    let mut rounds = Vec::new();
    let mut working = Vec::new();
    for number in 0..n_rounds {
        eprintln!("round {} of {n_rounds}", number + 1);
        let (round, used) = rounds::one(groma).await?;
        rounds.push(round);
        working.push(used);
    }
    let of = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let millis = |name, value| Figure::alone(name, "ms", of(value));
    let mut figures = vec![
        millis("apply to Available", |round| round.available),
        millis("workloads seen to placement stored", |round| round.decision),
        millis("instance requested to running", |round| round.running),
        millis(
            "last instance available to first answer through the chain",
            |round| round.first_answer,
        ),
        millis("chain created to first answer, two hosts", |round| {
            round.chain
        }),
        millis("power cut to answers from elsewhere", |round| round.heal),
        millis("deleted to gone", |round| round.gone),
    ];
    add_usage(&mut figures, "idle", std::slice::from_ref(&idle));
    add_usage(&mut figures, "working", &working);
    Ok(figures)
}

fn add_usage(figures: &mut Vec<Figure>, when: &str, used: &[Usage]) {
    let of = |value: fn(&Usage) -> f64| used.iter().map(value).collect::<Vec<_>>();
    let names: [(&'static str, &'static str); 5] = match when {
        "idle" => [
            ("serve, idle: CPU", "% of a core"),
            ("serve, idle: memory", "MB"),
            ("agent, idle: CPU", "% of a core"),
            ("agent, idle: memory", "MB"),
            ("shim, idle: memory", "MB"),
        ],
        _ => [
            ("serve, working: CPU", "% of a core"),
            ("serve, working: memory", "MB"),
            ("agent, working: CPU", "% of a core"),
            ("agent, working: memory", "MB"),
            ("shim, working: memory", "MB"),
        ],
    };
    let values: [fn(&Usage) -> f64; 5] = [
        |used| used.serve.cpu,
        |used| used.serve.memory,
        |used| used.agent.cpu,
        |used| used.agent.memory,
        |used| used.shim.memory,
    ];
    for ((name, unit), value) in names.into_iter().zip(values) {
        let values = of(value);
        // Without a container there is no shim to measure.
        if values.iter().any(|value| *value > 0.0) {
            figures.push(Figure::alone(name, unit, values));
        }
    }
}
