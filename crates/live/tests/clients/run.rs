//! Runs a client to its end.

use std::process::{Command, Stdio};

use live::Groma;

/// Runs a client against a server; it must end well.
#[track_caller]
pub fn must_end_well(command: &mut Command, groma: &Groma) {
    let output = command
        .env("KUBECONFIG", groma.kubeconfig())
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} runs: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
