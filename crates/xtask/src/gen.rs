//! What is generated and kept in the repository: CRDs, the list of condition reasons, the layer table.
//!
//! `gen` writes it; `gen --check` only compares, for CI. A generated file that is no longer made is removed.

mod crds;
mod layer_table;
mod reasons;

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Texts by path from the root of the workspace.
type Outputs = BTreeMap<PathBuf, String>;

/// Generated and nothing else, so what is not made any more goes.
const CRDS: &str = "crates/api/crds";

/// Writes everything that is generated, or with `check` fails when something would change.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = cargo::root();
    let outputs = outputs(root)?;
    let changes = changes(root, &outputs)?;
    for (path, _) in &changes {
        println!(
            "{} {}",
            if check { "is out of date:" } else { "writes" },
            path.display()
        );
    }
    if check && !changes.is_empty() {
        bail!("run `cargo xtask gen` and commit what it writes");
    }
    changes
        .iter()
        .try_for_each(|(path, text)| apply(&root.join(path), *text))
}

fn outputs(root: &Path) -> Result<Outputs> {
    let mut outputs = crds::outputs(Path::new(CRDS))?;
    outputs.insert("docs/reasons.md".into(), reasons::page(root)?);
    outputs.insert("ARCHITECTURE.md".into(), layer_table::page(root)?);
    Ok(outputs)
}

/// What differs from the files there are; no text means that a file has to go.
fn changes<'a>(root: &Path, outputs: &'a Outputs) -> Result<Vec<(PathBuf, Option<&'a str>)>> {
    let differs = |path: &Path, text: &str| {
        fs::read_to_string(root.join(path)).map_or(true, |there| there != text)
    };
    let mut changes = Vec::new();
    for (path, text) in outputs {
        if differs(path, text) {
            changes.push((path.clone(), Some(text.as_str())));
        }
    }
    let there = fs::read_dir(root.join(CRDS))
        .into_iter()
        .flatten()
        .flatten();
    let there = there.map(|entry| Path::new(CRDS).join(entry.file_name()));
    changes.extend(
        there
            .filter(|path| !outputs.contains_key(path))
            .map(|path| (path, None)),
    );
    Ok(changes)
}

fn apply(path: &Path, text: Option<&str>) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let done = match text {
        Some(text) => fs::create_dir_all(folder).and_then(|()| fs::write(path, text)),
        None => fs::remove_file(path),
    };
    done.with_context(|| format!("cannot change {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        let outputs = outputs(cargo::root()).unwrap();
        let changes = changes(cargo::root(), &outputs).unwrap();
        let paths: Vec<_> = changes.iter().map(|(path, _)| path).collect();
        assert!(paths.is_empty(), "run `cargo xtask gen`: {paths:?}");
    }

    #[test]
    fn what_differs_or_is_missing_is_a_change_and_what_is_not_made_goes() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(CRDS)).unwrap();
        for (name, text) in [("same.yaml", "a"), ("other.yaml", "b"), ("stale.yaml", "c")] {
            fs::write(root.path().join(CRDS).join(name), text).unwrap();
        }
        let output = |name: &str| (Path::new(CRDS).join(name), "a".to_owned());
        let outputs = Outputs::from([
            output("same.yaml"),
            output("other.yaml"),
            output("new.yaml"),
        ]);
        let changes = changes(root.path(), &outputs).unwrap();
        let seen: Vec<_> = changes
            .iter()
            .map(|(path, text)| (path.file_name().unwrap().to_str().unwrap(), *text))
            .collect();
        assert_eq!(
            seen,
            [
                ("new.yaml", Some("a")),
                ("other.yaml", Some("a")),
                ("stale.yaml", None)
            ]
        );
    }
}
