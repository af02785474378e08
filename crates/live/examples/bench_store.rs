//! `cargo xtask bench store [PART [NUMBER]]`: what storing costs. The parts are `writes`, `failover`, `agents` (so many) and
//! `million` (objects, or so many).

use std::path::Path;

use anyhow::{Result, bail};
use live::bench::{agents, durable, failover, million};
use live::figures;

/// How often everything is measured.
const ROUNDS: usize = 3;
const AGENTS: usize = 10_000;
const OBJECTS: usize = 1_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let found = match arguments[..] {
        [] => {
            let mut all = durable::run(ROUNDS).await?;
            all.extend(failover::run(ROUNDS).await?);
            all.extend(agents::run(AGENTS, ROUNDS).await?);
            all.extend(million::run(OBJECTS, ROUNDS).await?);
            all
        }
        ["writes"] => durable::run(ROUNDS).await?,
        ["failover"] => failover::run(ROUNDS).await?,
        ["agents"] => agents::run(AGENTS, ROUNDS).await?,
        ["agents", n] => agents::run(n.parse()?, ROUNDS).await?,
        ["million"] => million::run(OBJECTS, ROUNDS).await?,
        ["million", n] => million::run(n.parse()?, ROUNDS).await?,
        [agents::WORD, n, state] => return agents::be(n.parse()?, Path::new(state)).await,
        _ => bail!("expected nothing, writes, failover, agents [NUMBER] or million [NUMBER]"),
    };
    figures::print("store", &found);
    Ok(())
}
