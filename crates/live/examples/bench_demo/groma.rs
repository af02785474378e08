//! The laboratory that is measured, built by the released program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use kube::Client;
use linux::Namespace;

/// The laboratory's name; one run at a time.
const NAME: &str = "benchdemo";
/// The namespace of the users.
const USERS: &str = "benchdemo-u-madrid-1-users";

/// A laboratory that is up.
pub struct Groma {
    program: PathBuf,
    images: PathBuf,
    folder: tempfile::TempDir,
}

impl Groma {
    /// Builds the demo's topology.
    pub fn up() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set; run `cargo xtask bench demo`"))
        };
        let program = variable("GROMA_BIN")?.join("groma");
        let groma = Self {
            program,
            images: variable("GROMA_IMAGES")?,
            folder: tempfile::tempdir()?,
        };
        groma.lab(&["up", "--file", "examples/demo/topology.yaml"])?;
        Ok(groma)
    }

    /// Removes it.
    pub fn down(&self) -> Result<()> {
        self.lab(&["down"])
    }

    /// Runs a command of the laboratory.
    pub fn lab(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["lab", words[0], "--name", NAME])
            .arg("--folder")
            .arg(self.folder.path())
            .arg("--images")
            .arg(&self.images);
        let output = command
            .args(&words[1..])
            .output()
            .context("cannot run groma")?;
        if !output.status.success() {
            bail!(
                "groma lab {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// A client of its server.
    pub async fn client(&self) -> Result<Client> {
        cli::Access::socket(self.folder.path().join(NAME).join("server/groma.sock"))
            .client()
            .await
    }

    /// What the command lines of its programs contain.
    pub fn mark(&self) -> String {
        self.folder.path().join(NAME).display().to_string()
    }

    /// Where the users are.
    pub fn users(&self) -> Result<Namespace> {
        linux::netns::open(USERS)?.context("the namespace of the users is gone")
    }
}
