//! The programs of a laboratory, found by their arguments, to stop, continue and kill them.

use std::fs;

use linux::process::Process;
use rustix::process::Signal;

use super::Laboratory;

/// What a process of the laboratory is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `groma lab run`.
    Daemon,
    /// `groma serve`.
    Server,
    /// `groma agent` of this host.
    Agent(String),
    /// `groma shim run` of a container.
    Shim,
}

impl Laboratory {
    /// The programs that run.
    pub fn processes(&self) -> Vec<(Role, Process)> {
        let folder = self.folder.path().display().to_string();
        let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let found = pids.filter_map(|pid| {
            let process = Process::open(pid).ok()?;
            // Read after it was opened, so that a number used anew cannot slip in.
            let words = words(pid);
            let ours = words.iter().any(|word| word.starts_with(&folder));
            let role = ours.then(|| role(&words)).flatten()?;
            (!process.has_ended()).then_some((role, process))
        });
        found.collect()
    }

    /// Stops all agents until [`Laboratory::resume`]; they are alive but do nothing, so nobody starts them again.
    pub fn freeze_agents(&self) {
        self.signal_agents(Signal::STOP);
    }

    /// Lets stopped agents go on.
    pub fn resume(&self) {
        self.signal_agents(Signal::CONT);
    }

    fn signal_agents(&self, signal: Signal) {
        let agents = self.processes();
        for (_, process) in agents
            .iter()
            .filter(|(role, _)| matches!(role, Role::Agent(_)))
        {
            process.signal(signal).expect("an agent takes a signal");
        }
    }
}

fn words(pid: u32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split_terminator('\0').map(str::to_owned).collect()
}

fn role(words: &[String]) -> Option<Role> {
    let word = |n: usize| words.get(n).map(String::as_str);
    match (word(1)?, word(2)) {
        ("lab", Some("run")) => Some(Role::Daemon),
        ("serve", _) => Some(Role::Server),
        ("agent", Some("--host")) => Some(Role::Agent(word(3)?.to_owned())),
        ("shim", Some("run")) => Some(Role::Shim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart_by_their_arguments() {
        let role_of = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            role(&words)
        };
        assert_eq!(role_of("groma lab run --name x"), Some(Role::Daemon));
        assert_eq!(role_of("groma serve --state x"), Some(Role::Server));
        assert_eq!(
            role_of("groma agent --host a --state x"),
            Some(Role::Agent("a".to_owned()))
        );
        assert_eq!(role_of("/proc/self/exe shim run x 1"), Some(Role::Shim));
        assert_eq!(role_of("groma lab up --name x"), None);
    }
}
