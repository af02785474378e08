//! What a developer and CI call beside cargo itself: tidy checks, generation, images, live tests, benchmarks.
//!
//! One file per command; run `cargo xtask help` for the list. No other tool is required, and nothing here is part of what
//! is installed.

mod bench;
mod cargo;
mod ci;
mod demo;
mod r#gen;
mod images;
mod layers;
mod live;
mod scenario;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cargo::Profile;

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
    /// Check the shape of the code base: arrows, manifests, sources
    Tidy,
    /// Rewrite CRDs, docs/reasons.md and the layer table
    Gen {
        /// Change nothing; fail when something would change
        #[arg(long)]
        check: bool,
    },
    /// Build the network functions and pack them as OCI image layouts
    Images {
        /// The folder that gets one folder per image
        #[arg(long, default_value = "target/images")]
        out: PathBuf,
    },
    /// Run one scenario of the testbed; UPDATE=1 rewrites it
    Scenario { file: PathBuf },
    /// Run a benchmark and print its table
    Bench {
        name: String,
        /// Arguments of the benchmark itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests that need root, namespaces and containers
    Live {
        /// Only tests whose names contain this
        filter: Option<String>,
    },
    /// The main job on this machine, shown and proved
    Demo {
        /// Leave it running
        #[arg(long)]
        keep: bool,
    },
    /// Everything that must hold before a change lands
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Tidy => tidy::run(),
        Command::Gen { check } => r#gen::run(check),
        Command::Images { out } => {
            let packed = images::pack_all(Profile::Release, &cargo::root().join(out))?;
            packed.require(&images::names()).map(drop)
        }
        Command::Scenario { file } => scenario::run(&file),
        Command::Bench { name, arguments } => bench::run(&name, &arguments),
        Command::Live { filter } => live::run(filter.as_deref()),
        Command::Demo { keep } => demo::run(keep),
        Command::Ci => ci::run(),
    }
}
