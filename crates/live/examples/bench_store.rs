//! `cargo xtask bench store [OBJECTS]`: a store with a million objects, or as many as are asked for.

use anyhow::Result;
use live::bench::million;
use live::figures;

/// Objects of the standard run.
const OBJECTS: usize = 1_000_000;
/// How often the server is started on them.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let objects = std::env::args().nth(1);
    let objects = objects.map_or(Ok(OBJECTS), |objects| objects.parse())?;
    figures::print("store", &million::run(objects, ROUNDS).await?);
    Ok(())
}
