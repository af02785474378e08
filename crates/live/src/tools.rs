//! Programs of Kubernetes for the live tests: given by the user, or built once from the Go module in
//! `tests/kubernetes` into a cache folder.
//!
//! A build is keyed by the module's `go.sum`, so a new version is built beside the old one and nothing is built twice.

use std::env;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Skip;

/// Where the Go module is.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/kubernetes");
/// The packages in it.
const KUBECTL_PACKAGE: &str = "k8s.io/kubernetes/cmd/kubectl";
const API_SERVER_PACKAGE: &str = "k8s.io/kubernetes/cmd/kube-apiserver";
const ETCD_PACKAGE: &str = "go.etcd.io/etcd/server/v3";
/// The oldest minor version of kubectl that is of use where none can be built.
const KUBECTL_MINOR_MIN: u32 = 30;
/// Letters of the hash that name a folder of the cache.
const KEY_CHARS: usize = 16;

/// The kubectl to test with: the one that `KUBECTL` names, else the one of the Go module, else one of the machine.
///
/// # Errors
/// Why there is none.
pub fn kubectl() -> Result<PathBuf, Skip> {
    if let Some(given) = env::var_os("KUBECTL") {
        return Ok(given.into());
    }
    match find("go") {
        Some(go) => built(&go, "kubectl", KUBECTL_PACKAGE),
        None => installed_kubectl().ok_or_else(|| {
            Skip::because(format!(
                "neither Go (to build kubectl from tests/kubernetes) nor a kubectl of at least 1.{KUBECTL_MINOR_MIN} is in PATH; set KUBECTL to one"
            ))
        }),
    }
}

/// kube-apiserver and etcd, from the Go module.
///
/// # Errors
/// Why they cannot be built.
pub fn api_server() -> Result<(PathBuf, PathBuf), Skip> {
    let go = find("go").ok_or_else(|| {
        Skip::because("Go is not in PATH, so kube-apiserver cannot be built from tests/kubernetes")
    })?;
    let server = built(&go, "kube-apiserver", API_SERVER_PACKAGE)?;
    Ok((server, built(&go, "etcd", ETCD_PACKAGE)?))
}

/// The program in the cache, built first if it is not there.
fn built(go: &Path, name: &str, package: &str) -> Result<PathBuf, Skip> {
    let folder = cache()?.join(key()?);
    let program = folder.join(name);
    fs::create_dir_all(&folder).map_err(|error| unusable(&folder, &error))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(|error| unusable(&lock_path, &error))?;
    // Test programs may run at once; the first builds, the others wait. Released when the file is closed.
    lock.lock().map_err(|error| unusable(&lock_path, &error))?;
    if !program.exists() {
        build(go, &program, package)?;
    }
    Ok(program)
}

/// Builds beside the program and renames it, so that an interrupted build leaves none.
fn build(go: &Path, program: &Path, package: &str) -> Result<(), Skip> {
    let unfinished = program.with_extension("new");
    let mut command = Command::new(go);
    command
        .current_dir(MODULE)
        .args(["build", "-trimpath", "-o"])
        .arg(&unfinished)
        .arg(package);
    let output = command.output().map_err(|error| unusable(go, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing").to_owned();
        return Err(Skip::because(format!("go build {package} failed: {last}")));
    }
    fs::rename(&unfinished, program).map_err(|error| unusable(program, &error))
}

/// `$XDG_CACHE_HOME/groma`, or `~/.cache/groma`.
fn cache() -> Result<PathBuf, Skip> {
    let named = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    let base = base.ok_or_else(|| {
        Skip::because("neither XDG_CACHE_HOME nor HOME is set, so nothing can be cached")
    })?;
    Ok(base.join("groma"))
}

fn key() -> Result<String, Skip> {
    let path = Path::new(MODULE).join("go.sum");
    let sums = fs::read(&path).map_err(|error| unusable(&path, &error))?;
    let mut key = String::from("kubernetes-");
    for byte in Sha256::digest(sums).iter().take(KEY_CHARS / 2) {
        write!(key, "{byte:02x}").expect("writing to a string cannot fail");
    }
    Ok(key)
}

fn installed_kubectl() -> Option<PathBuf> {
    let kubectl = find("kubectl")?;
    let output = Command::new(&kubectl)
        .args(["version", "--client"])
        .output()
        .ok()?;
    let minor = client_minor(&String::from_utf8_lossy(&output.stdout))?;
    (minor >= KUBECTL_MINOR_MIN).then_some(kubectl)
}

/// The minor version in `Client Version: v1.32.4`.
fn client_minor(text: &str) -> Option<u32> {
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Client Version: v1."))?;
    version.split('.').next()?.parse().ok()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn unusable(path: &Path, error: &std::io::Error) -> Skip {
    Skip::because(format!("cannot use {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_kubectl_prints() {
        let text = "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0\n";
        assert_eq!(client_minor(text), Some(32));
        assert_eq!(client_minor("Client Version: v2.0.0"), None);
    }

    #[test]
    fn the_key_changes_with_the_module_only() {
        assert_eq!(key(), key());
        assert_eq!(
            key().map(|key| key.len()),
            Ok("kubernetes-".len() + KEY_CHARS)
        );
    }
}
