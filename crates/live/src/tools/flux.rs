//! Flux's controllers, unchanged, and the definitions that come with their sources.

use std::path::PathBuf;

use crate::Skip;
use crate::tools::module::Module;

const MODULE: Module = Module("flux");
/// The name of each; its module is called the same.
const CONTROLLERS: [&str; 2] = ["source-controller", "kustomize-controller"];
const OWNER: &str = "github.com/fluxcd";

/// One of the programs.
#[derive(Clone, Debug)]
pub struct Controller {
    /// As it calls itself.
    pub name: &'static str,
    /// The file to run.
    pub program: PathBuf,
    /// The folder of its definitions.
    pub definitions: PathBuf,
}

/// The controllers of sources and of what is applied from them.
///
/// # Errors
/// Why they cannot be built.
pub fn controllers() -> Result<Vec<Controller>, Skip> {
    let mut controllers = Vec::new();
    for name in CONTROLLERS {
        let package = format!("{OWNER}/{name}");
        let sources = MODULE.dependency(&package)?.folder;
        controllers.push(Controller {
            name,
            program: MODULE.program(name, &package)?,
            definitions: sources.join("config/crd/bases"),
        });
    }
    Ok(controllers)
}
