//! A Go module in `tests/`: programs of other projects, or of our own, that are built once into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::find;
use crate::{Skip, cache};

/// One module, by the name of its folder.
#[derive(Clone, Copy, Debug)]
pub struct Module(pub &'static str);

impl Module {
    /// A program of the module.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn program(self, name: &str, package: &str) -> Result<PathBuf, Skip> {
        self.built(name, &["build"], package)
    }

    /// The tests of a package as a program.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn tests(self, name: &str, package: &str) -> Result<PathBuf, Skip> {
        self.built(name, &["test", "-c"], package)
    }

    fn built(self, name: &str, command: &[&str], package: &str) -> Result<PathBuf, Skip> {
        let go = find("go").ok_or_else(|| {
            let folder = self.0;
            Skip::because(format!(
                "Go is not in PATH, so {name} cannot be built from tests/{folder}"
            ))
        })?;
        cache::once(&self.key()?, name, |unfinished| {
            let mut build = Command::new(&go);
            build.current_dir(self.path()).args(command);
            build.args(["-trimpath", "-o"]).arg(unfinished).arg(package);
            super::run(&mut build)
        })
    }

    /// Its folder.
    #[must_use]
    pub fn path(self) -> PathBuf {
        super::tests_folder().join(self.0)
    }

    /// Of the versions of all dependencies, and of our own sources where the module has some.
    fn key(self) -> Result<String, Skip> {
        let mut files = vec![self.path().join("go.sum")];
        sources(&self.path(), &mut files)?;
        let mut ingredients = Vec::new();
        for file in files {
            ingredients.push(fs::read(&file).map_err(|error| cache::unusable(&file, &error))?);
        }
        Ok(cache::key(self.0, &ingredients))
    }
}

/// The Go sources below a folder, in order.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Skip> {
    let entries = fs::read_dir(folder).map_err(|error| cache::unusable(folder, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "go") {
            found.push(path);
        }
    }
    Ok(())
}
