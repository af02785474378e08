//! Programs of other projects for the live tests: given by the user, or made once into the cache from what `tests/` locks.

pub mod cluster_api;
pub mod flux;
pub mod keycloak;
pub mod module;
pub mod python;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::module::Module;
use crate::{Skip, cache};

/// The module of the real control plane and of kubectl.
const KUBERNETES: Module = Module("kubernetes");
/// The module of a kubectl that is one minor version older.
const OLDER_KUBECTL: Module = Module("kubectl-1.35");
/// The module of Helm.
const HELM: Module = Module("helm");
/// The module of Kubernetes' own end-to-end tests.
const END_TO_END: Module = Module("kubernetes-e2e");
/// The module of our own controllers on other people's libraries.
const CONTROLLERS: Module = Module("controllers");
/// The packages in them.
const HELM_PACKAGE: &str = "helm.sh/helm/v3/cmd/helm";
const END_TO_END_PACKAGE: &str = "k8s.io/kubernetes/test/e2e";
const KUBECTL_PACKAGE: &str = "k8s.io/kubernetes/cmd/kubectl";
const API_SERVER_PACKAGE: &str = "k8s.io/kubernetes/cmd/kube-apiserver";
const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
/// Where kube-apiserver keeps its version; clients look whether it is new enough for them.
const VERSION_VARIABLE: &str = "k8s.io/component-base/version.gitVersion";
const ETCD_PACKAGE: &str = "go.etcd.io/etcd/server/v3";
/// The module of a program of our own that writes bodies as Go clients do.
const BODIES: Module = Module("bodies");
/// The module of a program of our own that writes to etcd.
const ETCD_LOAD: Module = Module("etcd-load");
/// The oldest minor version of kubectl that is of use where none can be built.
const KUBECTL_MINOR_MIN: u32 = 30;

/// The kubectl to test with: the one that `KUBECTL` names, else the one of the Go module, else one of the machine.
///
/// # Errors
/// Why there is none.
pub fn kubectl() -> Result<PathBuf, Skip> {
    if let Some(given) = env::var_os("KUBECTL") {
        return Ok(given.into());
    }
    match go() {
        Some(_) => KUBERNETES.program("kubectl", KUBECTL_PACKAGE),
        None => installed_kubectl().ok_or_else(|| {
            Skip::because(format!(
                "neither Go (to build kubectl from tests/kubernetes) nor a kubectl of at least 1.{KUBECTL_MINOR_MIN} is here; tools/setup.sh brings Go, or set KUBECTL to one"
            ))
        }),
    }
}

/// The kubectl of the minor version before; the server must serve both.
///
/// # Errors
/// Why it cannot be built.
pub fn older_kubectl() -> Result<PathBuf, Skip> {
    OLDER_KUBECTL.program("kubectl", ".")
}

/// Helm.
///
/// # Errors
/// Why it cannot be built.
pub fn helm() -> Result<PathBuf, Skip> {
    HELM.program("helm", HELM_PACKAGE)
}

/// The chart that is in its folder.
#[must_use]
pub fn helm_chart() -> PathBuf {
    HELM.path().join("chart")
}

/// Kubernetes' own end-to-end tests as a program.
///
/// # Errors
/// Why it cannot be built.
pub fn end_to_end() -> Result<PathBuf, Skip> {
    END_TO_END.tests("e2e.test", END_TO_END_PACKAGE)
}

/// The list of those that the server must pass.
#[must_use]
pub fn end_to_end_specs() -> PathBuf {
    END_TO_END.path().join("specs.txt")
}

/// The controllers that we wrote on client-go and controller-runtime, as a program of tests.
///
/// # Errors
/// Why it cannot be built.
pub fn controllers() -> Result<PathBuf, Skip> {
    CONTROLLERS.tests("controllers", ".")
}

/// kube-apiserver and etcd, from the Go module.
///
/// # Errors
/// Why they cannot be built.
pub fn api_server() -> Result<(PathBuf, PathBuf), Skip> {
    let version = KUBERNETES.dependency(KUBERNETES_MODULE)?.version;
    let (name, package) = ("kube-apiserver", API_SERVER_PACKAGE);
    let server = KUBERNETES.stamped(name, package, VERSION_VARIABLE, &version)?;
    Ok((server, etcd()?))
}

/// etcd.
///
/// # Errors
/// Why it cannot be built.
pub fn etcd() -> Result<PathBuf, Skip> {
    KUBERNETES.program("etcd", ETCD_PACKAGE)
}

/// A program that writes to etcd as many clients do at once.
///
/// # Errors
/// Why it cannot be built.
pub fn etcd_load() -> Result<PathBuf, Skip> {
    ETCD_LOAD.program("etcd-load", ".")
}

/// The program that writes bodies as Kubernetes' Go clients do.
///
/// # Errors
/// Why it cannot be built.
pub fn bodies() -> Result<PathBuf, Skip> {
    BODIES.program("bodies", ".")
}

/// The folder of the locks, sources and data that are not Rust.
fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

/// What a command prints that makes something; one that fails is a reason to skip.
fn run(command: &mut Command) -> Result<String, Skip> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .output()
        .map_err(|error| cache::unusable(&program, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it said nothing");
    Err(Skip::because(format!("{command:?} failed: {last}")))
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

/// Go: that of the machine, else what `tools/setup.sh` put into the cache.
fn go() -> Option<PathBuf> {
    let fetched = || cache::home().ok().map(|home| home.join("go/bin/go"));
    find("go").or_else(|| fetched().filter(|go| go.is_file()))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
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
}
