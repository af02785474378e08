//! Controllers in Go, on client-go and controller-runtime: the module in `tests/controllers`.

use std::process::Command;

use live::tools;
use live::{Groma, Skip};

use crate::run::must_end_well;

/// The switch between list-then-watch and watch with initial events.
const WATCH_LIST: &str = "KUBE_FEATURE_WatchListClient";
/// How long all tests of the program may take.
const LIMIT: &str = "-test.timeout=3m";

#[test]
fn informers_and_managers_find_what_they_expect() {
    if let Err(skip) = test() {
        skip.report();
    }
}

fn test() -> Result<(), Skip> {
    let program = tools::controllers()?;
    for watch_list in ["true", "false"] {
        let groma = Groma::start(&[])?;
        let mut command = Command::new(&program);
        command.args(["-test.v", LIMIT]).env(WATCH_LIST, watch_list);
        must_end_well(&mut command, &groma);
    }
    Ok(())
}
