//! Calls of cargo, and what its metadata says of the workspace.
//!
//! All of the workspace is built together, and never one package of it: shared dependencies would get other features then,
//! and be built twice.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How programs are built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// As tests are: soon.
    Dev,
    /// As users get them; what is measured.
    Release,
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("this crate lies two folders below the root")
}

/// Builds every program and returns the folder they are in.
pub(crate) fn build_programs(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--bins"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    run(&mut command)?;
    Ok(metadata()?.target_directory.join(folder))
}

/// The targets, as `--test` and `--example` take them, whose sources lie in a folder: a file or a folder each.
pub(crate) fn targets_in(folder: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(root().join(folder));
    let entries = entries.with_context(|| format!("cannot read {folder}"))?;
    let name = |entry: std::fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        Some(file.strip_suffix(".rs").unwrap_or(&file).to_owned())
    };
    let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Cargo, called in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a command to its end; one that fails is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", words(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", words(command));
    }
    Ok(())
}

/// A command as it would be typed.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let arguments = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(arguments);
    words.join(" ")
}

/// The part of `cargo metadata` that is read here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One crate of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency as the manifest states it.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal one; else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set when it lies in this workspace.
    pub(crate) path: Option<PathBuf>,
}

/// What cargo knows of the crates of the workspace.
pub(crate) fn metadata() -> Result<Metadata> {
    let mut command = cargo();
    command.args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let output = command.output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")
}
