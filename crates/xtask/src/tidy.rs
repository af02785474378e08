//! The checks of this code base that no compiler makes: arrows between crates, manifests, and what a source may say.
//!
//! `cargo test -p xtask` runs them on the workspace, `cargo xtask tidy` prints them. Unwraps and formatting are left to
//! clippy and rustfmt.

mod arrows;
mod examples;
mod files;
mod manifests;
mod sources;

use crate::cargo;
use crate::layers::Layers;
use anyhow::{Result, bail};
use std::path::Path;

/// Prints every problem of the workspace; any is an error.
pub(crate) fn run() -> Result<()> {
    let problems = problems(cargo::root())?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        n => bail!("{n} problems; CONTRIBUTING.md says how this code base is shaped"),
    }
}

fn problems(root: &Path) -> Result<Vec<String>> {
    let layers = Layers::read(root)?;
    let metadata = cargo::metadata()?;
    let files = files::read_all(root)?;
    let mut problems = arrows::check(&layers, &metadata.packages);
    problems.extend(manifests::check(&files));
    problems.extend(sources::check(&layers, &files));
    problems.extend(examples::check(&files));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_is_tidy() {
        let problems = problems(cargo::root()).unwrap();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}
