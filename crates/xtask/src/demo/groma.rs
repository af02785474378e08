//! The program as a user calls it, for the laboratory of the demo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// The laboratory's name: everything that the demo makes on this machine bears it.
const NAME: &str = "demo";
/// Where `groma lab` keeps laboratories.
const LABORATORIES: &str = "/var/lib/groma/labs";

/// The built program and where its laboratory is.
pub(crate) struct Groma {
    programs: PathBuf,
    images: PathBuf,
}

impl Groma {
    /// The program in this folder, with these images.
    pub(crate) fn new(programs: &Path, images: &Path) -> Self {
        Self {
            programs: programs.to_owned(),
            images: images.to_owned(),
        }
    }

    /// Runs a command of the laboratory.
    pub(crate) fn lab(&self, words: &[&str]) -> Result<()> {
        let (command, rest) = words.split_first().context("a command has a word")?;
        let mut program = self.program();
        program
            .args(["lab", command, "--name", NAME])
            .arg("--images")
            .arg(&self.images);
        cargo::run(program.args(rest))
    }

    /// Runs a client command and shows what it prints.
    pub(crate) fn client(&self, words: &[&str]) -> Result<()> {
        cargo::run(
            self.program()
                .arg("--socket")
                .arg(self.socket())
                .args(words),
        )
    }

    /// Runs a client command and gives what it prints.
    pub(crate) fn read(&self, words: &[&str]) -> Result<String> {
        let output = self
            .program()
            .arg("--socket")
            .arg(self.socket())
            .args(words)
            .output()?;
        if !output.status.success() {
            bail!(
                "groma {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Removes the laboratory, whatever is left of it.
    pub(crate) fn down(&self) -> Result<()> {
        self.lab(&["down"])
    }

    /// The program that drives traffic.
    pub(crate) fn probe(&self) -> String {
        self.programs.join("probe").display().to_string()
    }

    /// What to try while it is left running.
    pub(crate) fn print_hints(&self, service: &str, users: &str, endpoint: &str) {
        let groma = self.programs.join("groma").display().to_string();
        let server = self.server().display().to_string();
        println!("\nIt is left running. Try:");
        println!("  export KUBECONFIG={server}/kubeconfig");
        println!("  {groma} get tsvc");
        println!("  {groma} why {service}");
        println!("  {groma} trace {service}");
        println!("  {groma} inventory");
        println!("  {groma} logs -f {service}-app");
        println!(
            "  {groma} lab exec --name {NAME} {users} {} http http://{endpoint}/echo",
            self.probe()
        );
        println!("  {groma} lab stop --name {NAME} milan");
        println!("  {groma} lab down --name {NAME}");
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.programs.join("groma"));
        command.current_dir(cargo::root()).env_remove("KUBECONFIG");
        command
    }

    fn socket(&self) -> PathBuf {
        self.server().join("groma.sock")
    }

    /// The state folder of the laboratory's server.
    fn server(&self) -> PathBuf {
        Path::new(LABORATORIES).join(NAME).join("server")
    }
}
