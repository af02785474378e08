//! `cargo xtask bench apiserver [ROUNDS] [--alone]`: the API server beside kube-apiserver with etcd.

use anyhow::Result;
use live::bench::{self, Sizes};
use live::figures;

/// Measures ours without the peer.
const ALONE: &str = "--alone";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut sizes = Sizes::FULL;
    for argument in arguments.iter().filter(|argument| *argument != ALONE) {
        sizes.rounds = argument.parse()?;
    }
    let with_peer = !arguments.iter().any(|argument| argument == ALONE);
    figures::print("apiserver", &bench::run(&sizes, with_peer).await?);
    Ok(())
}
