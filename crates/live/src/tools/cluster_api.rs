//! The managers of Cluster API, unchanged, and the sources that they come from: definitions and webhooks stand there, too.

use std::path::PathBuf;

use crate::Skip;
use crate::tools::module::Module;

const MODULE: Module = Module("cluster-api");
/// The Go module that has them all.
const DEPENDENCY: &str = "sigs.k8s.io/cluster-api";
/// The name of each, and its package in the module.
const MANAGERS: [(&str, &str); 3] = [
    ("core", "core"),
    ("bootstrap", "bootstrap/kubeadm"),
    ("control-plane", "controlplane/kubeadm"),
];

/// One of the programs.
#[derive(Clone, Debug)]
pub struct Manager {
    /// What it is called here.
    pub name: &'static str,
    /// The file to run.
    pub program: PathBuf,
    /// The folder of its definitions, webhooks and roles.
    pub config: PathBuf,
}

/// All three.
///
/// # Errors
/// Why they cannot be built.
pub fn managers() -> Result<Vec<Manager>, Skip> {
    let sources = MODULE.dependency(DEPENDENCY)?.folder;
    let mut managers = Vec::new();
    for (name, package) in MANAGERS {
        let program = MODULE.program(name, &format!("{DEPENDENCY}/{package}"))?;
        managers.push(Manager {
            name,
            program,
            config: sources.join(package).join("config"),
        });
    }
    Ok(managers)
}
