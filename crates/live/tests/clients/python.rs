//! The Python client of the Kubernetes project.

use std::process::Command;

use live::tools::python;
use live::{Groma, Skip};

use crate::run::must_end_well;

#[test]
fn the_python_client_finds_what_it_expects() {
    if let Err(skip) = test() {
        skip.report();
    }
}

fn test() -> Result<(), Skip> {
    let python = python::python()?;
    // The tests ask for changes that are forgotten: fewer than the server makes when it starts.
    let groma = Groma::start(&["--history", "50"])?;
    let mut command = Command::new(python);
    command
        .current_dir(python::folder())
        .args(["-m", "unittest", "-v"])
        // Nothing is written into the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    must_end_well(&mut command, &groma);
    Ok(())
}
