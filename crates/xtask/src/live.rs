//! Runs the tests that need privileges and real kernels: everything in the crate `live`, one test at a time but for those
//! that only ask servers.
//!
//! A test that the machine cannot run says `skipped: REASON`, on its output or in the file that `GROMA_SKIPPED` names,
//! and returns; this shows the reason, so that nobody takes it for a pass. Tests find the programs by `GROMA_BIN`
//! (a folder) and the packed images by `GROMA_IMAGES`.

mod tally;

use crate::cargo::{self, Profile};
use crate::images;
use crate::live::tally::Tally;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const TESTS: &str = "crates/live/tests";
/// Those whose tests only ask servers that they start themselves, and can do so side by side.
const SIDE_BY_SIDE: [&str; 2] = ["kubectl", "parity"];
/// What is in the name of each test that proves the laws.
const LAWS: &str = "the_laws";

/// Power cuts that the store must survive in a standard run.
const CRASHES: &str = "100000";

/// Runs the live tests whose names contain `filter`, all without one.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let target = cargo::root().join("target");
    let images = target.join("images");
    let packed = images::pack_all(Profile::Dev, &images)?;
    let skipped = target.join("live-skipped");
    let missing: String = packed
        .missing()
        .map(|why| format!("skipped: {why}\n"))
        .collect();
    fs::write(&skipped, missing).context("cannot write target/live-skipped")?;
    let tests = cargo::targets_in(TESTS)?;
    let (beside, alone): (Vec<&String>, Vec<&String>) = tests
        .iter()
        .partition(|test| SIDE_BY_SIDE.contains(&test.as_str()));
    let run = |tests: &[&String], threads: &str| {
        let mut command = cargo::cargo();
        command.args(["test", "--no-fail-fast"]);
        tests.iter().for_each(|test| {
            command.args(["--test", test]);
        });
        command.args(["--", threads, "--show-output"]).args(filter);
        command
            .env("GROMA_BIN", &packed.programs)
            .env("GROMA_IMAGES", &images)
            .env("GROMA_SKIPPED", &skipped);
        tally(&mut command, &skipped)
    };
    let alone = run(&alone, "--test-threads=1");
    fs::write(&skipped, "").context("cannot write target/live-skipped")?;
    let beside = run(&beside, "--test-threads=3");
    alone.and(beside)?;
    match filter {
        None => laws(&skipped).and(power_cuts(&skipped)),
        Some(_) => Ok(()),
    }
}

/// Cuts the power of the store as often as is promised, which takes longer than other tests.
fn power_cuts(skipped: &Path) -> Result<()> {
    let mut command = cargo::cargo();
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "live",
        "--lib",
        "power_cut",
    ]);
    command.args(["--", "--show-output"]);
    fs::write(skipped, "").context("cannot write target/live-skipped")?;
    tally(command.env("GROMA_CRASHES", CRASHES), skipped)
}

/// Lives one life of each reconciler on a real kube-apiserver: the same tests of the blocks that live many in memory.
fn laws(skipped: &Path) -> Result<()> {
    let mut command = cargo::cargo();
    command.args(["run", "--quiet", "--bin", "with-kubernetes", "--"]);
    command.arg(cargo::cargo().get_program());
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "live",
        "--exclude",
        "runtime",
    ]);
    // One after the other: they share the server, and each wants it for itself.
    command.args(["--no-fail-fast", LAWS, "--", "--test-threads=1"]);
    fs::write(skipped, "").context("cannot write target/live-skipped")?;
    tally(command.env("GROMA_SKIPPED", skipped), skipped)
}

/// Runs the tests, shows what they say, and counts.
fn tally(command: &mut Command, skipped: &Path) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the live tests")?;
    let output = child
        .stdout
        .take()
        .context("the live tests have no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the output of the live tests")?;
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait().context("cannot wait for the live tests")?;
    let noted = fs::read_to_string(skipped).context("cannot read target/live-skipped")?;
    noted.lines().for_each(|line| tally.read_noted(line));
    println!("\n{tally}");
    if !status.success() {
        bail!("live tests failed");
    }
    Ok(())
}
