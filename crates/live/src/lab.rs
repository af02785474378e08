//! A laboratory for a test: brought up in a folder of its own under a name of its own, and always removed.
//!
//! It is driven by the commands that a user types; what they print as JSON is read. `processes` finds the programs of the
//! laboratory to stop and kill them, `traces` reads what it has on this machine.

mod processes;
mod traces;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Skip;

pub use processes::Role;
pub use traces::{Running, ip};

/// The folder of the release programs.
pub const PROGRAMS_VARIABLE: &str = "GROMA_BIN";
/// The folder of the packed images.
const IMAGES_VARIABLE: &str = "GROMA_IMAGES";
/// How long anything may take that a test waits for.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The pause between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// How many of the last lines of each log are shown when a test fails.
const LOG_LINES_MAX: usize = 40;
/// How long the probe waits for an answer, in milliseconds.
const ANSWER_MILLIS: &str = "400";

static LABORATORIES: AtomicU32 = AtomicU32::new(0);

/// A laboratory that runs; dropping it removes all of it.
#[derive(Debug)]
pub struct Laboratory {
    name: String,
    folder: TempDir,
    programs: PathBuf,
    images: PathBuf,
    topology: PathBuf,
    hosts: Vec<String>,
}

/// What the probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered with their own nonce.
    pub answered: u64,
    /// All that it said.
    pub said: String,
}

impl Laboratory {
    /// Brings up what a topology file describes.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn up(topology: &Path) -> Result<Self, Skip> {
        let mut missing = lab::requirements::missing();
        missing.extend(adapter_oci::requirements());
        let folder = |variable: &str| env::var_os(variable).map(PathBuf::from);
        let (programs, images) = (folder(PROGRAMS_VARIABLE), folder(IMAGES_VARIABLE));
        let (Some(programs), Some(images)) = (programs, images) else {
            return Err(Skip::because(format!(
                "{PROGRAMS_VARIABLE} and {IMAGES_VARIABLE} are not set; run `cargo xtask live`"
            )));
        };
        if !missing.is_empty() {
            return Err(Skip::because(missing.join("; ")));
        }
        let number = LABORATORIES.fetch_add(1, Ordering::Relaxed) % 100;
        let laboratory = Self {
            name: format!("t{}x{number}", std::process::id()),
            folder: tempfile::tempdir().expect("a folder can be made"),
            programs,
            images,
            topology: topology.to_owned(),
            hosts: hosts(topology),
        };
        laboratory.build();
        Ok(laboratory)
    }

    /// `groma lab up`, also again after its daemon was killed.
    pub fn build(&self) {
        let topology = self.topology.display().to_string();
        self.lab(&["up", "--file", &topology])
            .unwrap_or_else(|error| panic!("the laboratory comes up: {error}"));
    }

    /// `groma lab down`.
    pub fn down(&self) -> Result<(), String> {
        self.lab(&["down"]).map(drop)
    }

    /// The hosts of the topology.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// A command of the laboratory, for example `stop SITE`; what it printed, or what went wrong.
    pub fn lab(&self, words: &[&str]) -> Result<String, String> {
        let (first, rest) = words.split_first().expect("a command has a word");
        let mut command = self.groma();
        command
            .args(["lab", first, "--name", &self.name, "--folder"])
            .arg(self.folder.path())
            .arg("--images")
            .arg(&self.images)
            .args(rest);
        printed(&mut command)
    }

    /// A client command; what it printed, or what went wrong.
    pub fn client(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.groma();
        command
            .arg("--socket")
            .arg(self.state().join("server/groma.sock"))
            .args(words);
        printed(&mut command)
    }

    /// `groma apply` of this text.
    pub fn apply(&self, manifest: &str) -> Result<String, String> {
        let file = self.folder.path().join("manifest.yaml");
        fs::write(&file, manifest).expect("a manifest can be written");
        self.client(&["apply", "--file", &file.display().to_string()])
    }

    /// One object.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value, String> {
        read(&self.client(&["get", kind, name, "--output", "json"])?)
    }

    /// All objects of a kind.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>, String> {
        let list = read(&self.client(&["get", kind, "--output", "json"])?)?;
        let items = list["items"].as_array().cloned();
        items.ok_or_else(|| format!("{kind}: no list was printed but {list}"))
    }

    /// The hops of a chain with their counters.
    pub fn trace(&self, name: &str) -> Result<Vec<Value>, String> {
        let traced = read(&self.client(&["trace", name, "--output", "json"])?)?;
        traced.as_array().cloned().ok_or("no hops".to_owned())
    }

    /// Sends a few requests from a node of the laboratory.
    pub fn probe(&self, node: &str, url: &str, prefix: &str) -> Probed {
        let probe = self.programs.join("probe").display().to_string();
        let words = [
            "exec",
            node,
            &probe,
            "http",
            url,
            "--json",
            "--count",
            "3",
            "--interval",
            "20",
            "--timeout",
            ANSWER_MILLIS,
            "--nonce-prefix",
            prefix,
        ];
        // It ends with an error when nothing was answered, which is a result and not a failure.
        let said = self.lab(&words).unwrap_or_else(|error| error);
        let line = said.lines().find(|line| line.starts_with('{'));
        let summary: Value = line
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let count = |field: &str| summary[field].as_u64().unwrap_or(0);
        Probed {
            sent: count("sent"),
            answered: count("answered"),
            said,
        }
    }

    /// The program that it is driven by.
    pub fn program(&self) -> PathBuf {
        self.programs.join("groma")
    }

    /// The folder where it keeps everything.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn groma(&self) -> Command {
        let mut command = Command::new(self.program());
        command.env_remove("KUBECONFIG");
        command
    }

    fn print_logs(&self) {
        let files = fs::read_dir(self.state().join("log")).into_iter().flatten();
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("---- {}", file.path().display());
            for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Laboratory {
    fn drop(&mut self) {
        if thread::panicking() {
            self.print_logs();
        }
        self.resume();
        let down = self.down();
        if !thread::panicking() {
            assert_eq!(down, Ok(()), "the laboratory can be removed");
        }
    }
}

impl Probed {
    /// Whether every request was answered.
    pub fn all(&self) -> bool {
        self.sent > 0 && self.answered == self.sent
    }

    /// Whether requests were sent and none was answered.
    pub fn none(&self) -> bool {
        self.sent > 0 && self.answered == 0
    }
}

/// Looks again and again until there is what is waited for; tells the last reason when it does not come.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if begun.elapsed() > LIMIT => {
                panic!("waited {} s for {what}: {why}", LIMIT.as_secs())
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn hosts(topology: &Path) -> Vec<String> {
    let text = fs::read_to_string(topology).expect("the topology can be read");
    let documents = api::documents(&text).expect("the topology is YAML");
    let hosts = documents
        .iter()
        .filter(|document| document["kind"] == "Host");
    hosts
        .filter_map(|host| Some(host["metadata"]["name"].as_str()?.to_owned()))
        .collect()
}

fn read(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))
}

fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("groma can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}
