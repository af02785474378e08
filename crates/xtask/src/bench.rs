//! Runs one benchmark by its name: the example `bench_NAME` of the crate `live`, built in release.
//!
//! Each prints a table, and each figure also as one JSON line; PROMISES.md names the commands.

use crate::cargo::{self, Profile};
use crate::images;
use anyhow::{Result, bail};

const EXAMPLES: &str = "crates/live/examples";

/// Runs a benchmark with its own arguments.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    let names = names()?;
    if !names.iter().any(|known| known == name) {
        bail!(
            "there is no benchmark {name}, expected one of: {}",
            names.join(", ")
        );
    }
    let images = cargo::root().join("target/images");
    let programs = images::pack_all(Profile::Release, &images)?.require(&images::names())?;
    let example = format!("bench_{name}");
    let mut command = cargo::cargo();
    command.args(["run", "--quiet", "--release", "--example", &example, "--"]);
    command
        .args(arguments)
        .env("GROMA_BIN", programs)
        .env("GROMA_IMAGES", images);
    cargo::run(&mut command)
}

fn names() -> Result<Vec<String>> {
    let examples = cargo::targets_in(EXAMPLES)?;
    let name = |example: &String| example.strip_prefix("bench_").map(str::to_owned);
    Ok(examples.iter().filter_map(name).collect())
}
