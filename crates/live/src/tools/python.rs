//! The Python client of Kubernetes: an environment of its own in the cache, with exactly the packages that are locked.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::tools::find;
use crate::{Skip, cache};

/// The folder of the lock file and of the tests that run in the environment.
const FOLDER: &str = "python";

/// A Python that has the packages.
///
/// # Errors
/// Why there is none.
pub fn python() -> Result<PathBuf, Skip> {
    let base = find("python3").ok_or_else(|| {
        Skip::because(
            "python3 is not in PATH, so the Python client of Kubernetes cannot be installed",
        )
    })?;
    let lock = folder().join("requirements.txt");
    let locked = fs::read(&lock).map_err(|error| cache::unusable(&lock, &error))?;
    let version = Command::new(&base).arg("--version").output();
    let version = version.map_err(|error| cache::unusable(&base, &error))?;
    let key = cache::key(FOLDER, &[locked, version.stdout]);
    let environment = cache::once(&key, "environment", |unfinished| {
        // One that was begun and not finished is made anew.
        super::run(
            Command::new(&base)
                .args(["-m", "venv", "--clear"])
                .arg(unfinished),
        )?;
        super::run(
            Command::new(unfinished.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--require-hashes"])
                .args(["--only-binary", ":all:", "-r"])
                .arg(&lock),
        )
        .map(drop)
    })?;
    Ok(environment.join("bin/python"))
}

/// Where the Python tests are.
#[must_use]
pub fn folder() -> PathBuf {
    super::tests_folder().join(FOLDER)
}
