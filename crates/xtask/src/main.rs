//! What a developer and CI call beside cargo itself: tidy checks, generation, images, live tests, benchmarks.
//!
//! One file per command; run `cargo xtask help` for the list. No other tool is required, and nothing here is part of what
//! is installed.

mod cargo;
mod images;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What a developer and CI call beside cargo itself"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the network functions and pack them as OCI image layouts
    Images {
        /// The folder that gets one folder per image
        #[arg(long, default_value = "target/images")]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Images { out } => images::pack_all(&cargo::root().join(out)),
    }
}
