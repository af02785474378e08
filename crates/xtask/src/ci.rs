//! Everything that must hold before a change lands, in the order of how soon it fails.
//!
//! Each step prints how long it took; the first that fails ends the run.

use crate::{cargo, r#gen, live, tidy};
use anyhow::Result;
use std::process::Command;
use std::time::Instant;

/// Runs every check, the live tests last.
pub(crate) fn run() -> Result<()> {
    step("tidy", tidy::run)?;
    step("fmt", || cargo(&["fmt", "--all", "--check"]))?;
    step("gen --check", || r#gen::run(true))?;
    step("deny", deny)?;
    step("clippy", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("doc", doc)?;
    step("test", || {
        cargo(&["test", "--workspace", "--exclude", "live", "--quiet"])
    })?;
    step("live", || live::run(None))
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work()?;
    println!("== {name}: {} s", start.elapsed().as_secs());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo::run(cargo::cargo().args(arguments))
}

fn doc() -> Result<()> {
    let mut command = cargo::cargo();
    command.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ]);
    // Private items are documented too, so links to them lead somewhere.
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    cargo::run(command.env("RUSTDOCFLAGS", flags))
}

/// Licences, bans and sources; the advisories need the network and are left to whoever has it.
fn deny() -> Result<()> {
    let found = Command::new("cargo-deny").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: cargo-deny is not installed");
        return Ok(());
    }
    cargo(&["deny", "check", "bans", "licenses", "sources"])
}
