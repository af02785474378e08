//! Runs one scenario of the testbed; `UPDATE=1` rewrites its expected output.

use crate::cargo;
use anyhow::{Result, bail};
use std::path::Path;

/// Runs the scenario in a file.
pub(crate) fn run(file: &Path) -> Result<()> {
    let Ok(path) = file.canonicalize() else {
        bail!(
            "there is no scenario {}; they lie in crates/testbed/scenarios",
            file.display()
        );
    };
    let mut command = cargo::cargo();
    command.args([
        "test",
        "--quiet",
        "--test",
        "scenarios",
        "--",
        "--nocapture",
    ]);
    cargo::run(command.env("SCENARIO", path))
}
