//! Tests that cannot run here say so, each with its reason, and the reasons are gathered for the end of a run.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// Names the file to which reasons are appended; whoever runs the tests reads it at the end.
const FILE_VARIABLE: &str = "GROMA_SKIPPED";

/// Why a test cannot run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(pub String);

impl Skip {
    /// With what is missing and, where it helps, how to get it.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Prints `skipped: REASON`, past the capturing of test output, and notes it in the gathered file.
    pub fn report(&self) {
        let line = format!("skipped: {}\n", self.0);
        // A closed standard error is no reason to fail a test that does not run.
        let _ = io::stderr().write_all(line.as_bytes());
        if let Some(file) = std::env::var_os(FILE_VARIABLE) {
            let noted = OpenOptions::new()
                .create(true)
                .append(true)
                .open(PathBuf::from(file));
            noted
                .and_then(|mut file| file.write_all(line.as_bytes()))
                .expect("the file of skipped tests can be written");
        }
    }
}
