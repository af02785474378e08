//! The programs of a laboratory: the server, and an agent for each host. They outlive the daemon.
//!
//! A program is recognised by its arguments, which name the laboratory's folder, so nothing has to be recorded: whoever
//! starts one and is killed before the next line leaves nothing that cannot be found again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use linux::Namespace;
use linux::process::{Process, pids};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::build::failed;
use crate::settings::Settings;

/// How long a program may take to end when it is asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// One program of a laboratory.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in the laboratory: `server`, `agent-mad-1`.
    pub name: String,
    /// Its arguments after the program's name; no other process has the same.
    pub arguments: Vec<String>,
    /// The name of the network namespace it runs in; the daemon's own when not given.
    pub namespace: Option<String>,
}

/// All programs of a laboratory that run, also those that its topology does not name any more: one of these commands, with
/// an argument that leads into the laboratory's folder.
pub fn running(settings: &Settings, commands: &BTreeSet<String>) -> Result<Vec<Program>> {
    let ours = |arguments: &Vec<String>| {
        let command = arguments.first();
        command.is_some_and(|command| commands.contains(command))
            && arguments
                .iter()
                .any(|argument| Path::new(argument).starts_with(&settings.state))
    };
    let found = pids().map_err(failed)?.into_iter();
    let found = found.filter_map(arguments).filter(ours);
    let program = |arguments: Vec<String>| Program {
        name: arguments.join(" "),
        arguments,
        namespace: None,
    };
    Ok(found.map(program).collect())
}

/// The arguments of a process after its program's name; nothing of one that has ended.
fn arguments(pid: u32) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    Some(
        line.split_terminator('\0')
            .skip(1)
            .map(str::to_owned)
            .collect(),
    )
}

/// The command line of a program that belongs to a laboratory of that name in another folder: one of these commands that
/// bears a mark of it.
pub fn elsewhere(settings: &Settings, commands: &BTreeSet<String>) -> Result<Option<String>> {
    let other = |arguments: &Vec<String>| {
        let known = arguments
            .first()
            .is_some_and(|first| commands.contains(first));
        let marked = arguments
            .iter()
            .any(|word| word.starts_with(&settings.prefix()));
        let here = arguments
            .iter()
            .any(|word| Path::new(word).starts_with(&settings.state));
        known && marked && !here
    };
    let mut lines = pids().map_err(failed)?.into_iter().filter_map(arguments);
    Ok(lines.find(other).map(|arguments| arguments.join(" ")))
}

impl Program {
    /// Its running process, if there is one.
    pub fn find(&self) -> Result<Option<Process>> {
        let mut pids = pids().map_err(failed)?.into_iter();
        Ok(pids.find_map(|pid| {
            // Opened before it is looked at again, so that a number used anew cannot slip in.
            let process = Process::open(pid).ok().filter(|_| self.is(pid))?;
            (!process.has_ended()).then_some(process)
        }))
    }

    fn is(&self, pid: u32) -> bool {
        arguments(pid).is_some_and(|arguments| arguments == self.arguments)
    }

    /// Starts it. One that runs already must not be started again; ask [`Program::find`] first.
    pub fn start(&self, settings: &Settings) -> Result<Process> {
        let fail = |error| {
            Error::caused(
                ErrorKind::Unavailable,
                format!("cannot start {}", self.name),
                error,
            )
        };
        let log = log(&settings.log(&self.name)).map_err(fail)?;
        let mut command = Command::new(&settings.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(fail)?)
            .stderr(log);
        // A group of its own: what is typed at the daemon's terminal does not reach it.
        command.process_group(0);
        let spawned = match &self.namespace {
            Some(namespace) => open(namespace)?.run(|| command.spawn()).map_err(failed)?,
            None => command.spawn(),
        };
        Process::open(spawned.map_err(fail)?.id()).map_err(failed)
    }

    /// Asks it to end, and kills it if it does not.
    pub async fn stop(&self) -> Result<()> {
        self.end(Signal::TERM, GRACE).await
    }

    /// Kills it at once, as a power cut does.
    pub async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL, Duration::ZERO).await
    }

    async fn end(&self, signal: Signal, grace: Duration) -> Result<()> {
        let asked = Instant::now();
        while let Some(process) = self.find()? {
            process.signal(signal).map_err(failed)?;
            while !(process.reap().is_some() || process.has_ended()) {
                if asked.elapsed() > grace {
                    process.signal(Signal::KILL).map_err(failed)?;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

fn open(namespace: &str) -> Result<Namespace> {
    crate::build::existing(namespace)
}

fn log(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
