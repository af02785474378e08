//! Runs a client to its end.

use std::process::{Command, Stdio};

use live::Groma;

/// Runs a client against a server; it must end well.
#[track_caller]
pub fn must_end_well(command: &mut Command, groma: &Groma) {
    drop(printed(command, groma));
}

/// What a client prints that must end well.
#[track_caller]
pub fn printed(command: &mut Command, groma: &Groma) -> String {
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
    String::from_utf8_lossy(&output.stdout).into_owned()
}
