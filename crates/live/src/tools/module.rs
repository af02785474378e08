//! A Go module in `tests/`: programs of other projects, or of our own, that are built once into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tools::go;
use crate::{Skip, cache};

/// One module, by the name of its folder.
#[derive(Clone, Copy, Debug)]
pub struct Module(pub &'static str);

/// The sources of a module of somebody else.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Where they are.
    pub folder: PathBuf,
    /// As in `v1.36.3`.
    pub version: String,
}

impl Module {
    /// A program of the module.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn program(self, name: &str, package: &str) -> Result<PathBuf, Skip> {
        self.built(name, &["build"], package)
    }

    /// A program that knows its version: its builders link it in, into a variable.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn stamped(
        self,
        name: &str,
        package: &str,
        variable: &str,
        version: &str,
    ) -> Result<PathBuf, Skip> {
        let link = format!("-ldflags=-X {variable}={version}");
        // One without it may be there from before.
        self.built(&format!("{name}-{version}"), &["build", &link], package)
    }

    /// The tests of a package as a program.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn tests(self, name: &str, package: &str) -> Result<PathBuf, Skip> {
        self.built(name, &["test", "-c"], package)
    }

    /// A module that this one depends on.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn dependency(self, path: &str) -> Result<Dependency, Skip> {
        let mut download = Command::new(self.go(path)?);
        download.current_dir(self.path());
        // One that is there already is only looked up.
        download.args(["mod", "download", "-json", path]);
        let said: Value = serde_json::from_str(&super::run(&mut download)?).unwrap_or_default();
        let field = |name: &str| {
            let text = said[name].as_str().map(str::to_owned);
            text.ok_or_else(|| Skip::because(format!("go does not tell the {name} of {path}")))
        };
        Ok(Dependency {
            folder: field("Dir")?.into(),
            version: field("Version")?,
        })
    }

    fn go(self, wanted: &str) -> Result<PathBuf, Skip> {
        go().ok_or_else(|| {
            let folder = self.0;
            Skip::because(format!(
                "Go is not in PATH, so {wanted} cannot be taken from tests/{folder}"
            ))
        })
    }

    fn built(self, name: &str, command: &[&str], package: &str) -> Result<PathBuf, Skip> {
        let go = self.go(name)?;
        cache::once(&self.key()?, name, |unfinished| {
            let mut build = Command::new(&go);
            build.current_dir(self.path()).args(command);
            build.args(["-trimpath", "-o"]).arg(unfinished).arg(package);
            super::run(&mut build).map(drop)
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
