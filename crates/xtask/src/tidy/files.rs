//! The text files of the workspace that are checked, by path from its root.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where checked files lie; whatever else is in the folder is not ours to judge.
const PLACES: &[&str] = &[
    ".cargo",
    ".ci",
    "Makefile",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "PROMISES.md",
    "Cargo.toml",
    "changes",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "functions",
    "tests",
    "tools",
];

const ENDINGS: &[&str] = &["md", "rs", "sh", "toml", "txt", "yaml"];

/// Folders that programs write into.
const SKIPPED: &[&str] = &["target", "node_modules"];

/// One text file.
pub(crate) struct File {
    /// From the root of the workspace, with `/` between.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The folder of the crate it belongs to: `crates/api` is `api`.
    pub(crate) fn package(&self) -> Option<&str> {
        let mut parts = self.path.split('/');
        let known = matches!(parts.next(), Some("crates" | "functions"));
        parts.next().filter(|_| known)
    }

    /// The lines that are not tests, with their numbers; a test module stands at the end of its file.
    pub(crate) fn lines_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        let end = if is_test {
            0
        } else {
            self.text
                .find("#[cfg(test)]\nmod tests {")
                .unwrap_or(self.text.len())
        };
        (1..).zip(self.text[..end].lines())
    }
}

/// Reads every checked file, in order.
pub(crate) fn read_all(root: &Path) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    for place in PLACES {
        walk(&root.join(place), &mut paths)?;
    }
    let read = |path: PathBuf| -> Result<File> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let path = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        Ok(File { path, text })
    };
    paths.into_iter().map(read).collect()
}

fn walk(path: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.is_dir() && !SKIPPED.contains(&name.as_ref()) {
        let reading =
            std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        let mut inside: Vec<_> = reading
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        inside.sort_unstable();
        return inside.iter().try_for_each(|path| walk(path, paths));
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    if path.is_file() && (ENDINGS.contains(&ending.as_ref()) || name == "Makefile" || name == "run")
    {
        paths.push(path.to_owned());
    }
    Ok(())
}
