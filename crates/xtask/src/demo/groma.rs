//! The program as a user calls it, for the laboratory of the demo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// The laboratory's name: everything that the demo makes on this machine bears it.
const NAME: &str = "demo";

/// The built program and where its laboratory is.
pub(crate) struct Groma {
    programs: PathBuf,
    images: PathBuf,
    folder: PathBuf,
}

impl Groma {
    /// The program in this folder, with these images.
    pub(crate) fn new(programs: &Path, images: &Path) -> Self {
        Self {
            programs: programs.to_owned(),
            images: images.to_owned(),
            folder: std::env::temp_dir().join("groma-labs"),
        }
    }

    /// Runs a command of the laboratory.
    pub(crate) fn lab(&self, words: &[&str]) -> Result<()> {
        let (command, rest) = words.split_first().context("a command has a word")?;
        let mut program = self.program();
        program
            .args(["lab", command, "--name", NAME])
            .arg("--folder")
            .arg(&self.folder)
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
    pub(crate) fn print_hints(&self, service: &str, users: &str) {
        let groma = self.programs.join("groma").display().to_string();
        let lab = format!("--name {NAME} --folder {}", self.folder.display());
        println!("\nIt is left running. Try:");
        println!(
            "  export KUBECONFIG={}/{NAME}/server/kubeconfig",
            self.folder.display()
        );
        println!("  {groma} get tsvc");
        println!("  {groma} why {service}");
        println!("  {groma} trace {service}");
        println!("  {groma} inventory");
        println!("  {groma} logs -f {service}-app");
        println!(
            "  {groma} lab exec {lab} {users} {} http http://[ADDRESS]:8080/echo",
            self.probe()
        );
        println!("  {groma} lab stop {lab} milan");
        println!("  {groma} lab down {lab}");
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.programs.join("groma"));
        command.current_dir(cargo::root()).env_remove("KUBECONFIG");
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(NAME).join("server/groma.sock")
    }
}
