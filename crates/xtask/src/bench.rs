//! Runs one benchmark by its name: the example `bench_NAME` of the crate `live`, built in release.
//!
//! Each prints a table, and each figure also as one JSON line; PROMISES.md names the commands.

use crate::{cargo, images};
use anyhow::{Context, Result, bail};

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
    let programs = images::pack_all(&images)?;
    let example = format!("bench_{name}");
    let mut command = cargo::cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "live",
        "--example",
        &example,
        "--",
    ]);
    command
        .args(arguments)
        .env("GROMA_BIN", programs)
        .env("GROMA_IMAGES", images);
    cargo::run(&mut command)
}

fn names() -> Result<Vec<String>> {
    let reading = std::fs::read_dir(cargo::root().join(EXAMPLES));
    let entries = reading.with_context(|| format!("there are no benchmarks in {EXAMPLES}"))?;
    let name = |entry: std::fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_prefix("bench_")?;
        Some(name.strip_suffix(".rs").unwrap_or(name).to_owned())
    };
    let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}
