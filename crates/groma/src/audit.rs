//! The audit log of `groma serve`, and `groma audit verify`, which judges it.
//!
//! What is recorded and how lines are chained is the matter of the API server; here are the options and the words.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use apiserver::audit::chain::{self, Broken, Intact};
use apiserver::audit::{Audit, Files, Policy};
use clap::{Args, Subcommand};

use crate::places;

/// Bytes of a megabyte, as kube-apiserver counts them.
const MEGABYTE: u64 = 1024 * 1024;

/// Options of the audit log, by the names of kube-apiserver where it has them.
#[derive(Debug, Default, Args)]
pub struct Recording {
    /// Policy in the form of audit.k8s.io/v1 that says what is recorded; without it all writes and all refused requests are,
    /// without their bodies
    #[arg(long, value_name = "FILE")]
    audit_policy: Option<PathBuf>,
    /// File of the audit log; `audit/audit.log` in the state folder unless given
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Megabytes after which the file is set aside under the time
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    audit_log_maxsize: u64,
    /// How many files that were set aside are kept; 0 keeps all
    #[arg(long, value_name = "FILES", default_value_t = 10)]
    audit_log_maxbackup: usize,
}

/// What can be done with an audit log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether the lines of an audit log are as they were written, or name the first that is not
    Verify {
        /// The files of one log, the oldest first; their names sort so
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl Recording {
    /// Opens the log.
    pub fn open(&self, state: &Path) -> anyhow::Result<Audit> {
        let policy = match &self.audit_policy {
            None => Policy::standard(),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the audit policy {}", file.display()))?;
                let policy = Policy::parse(&text).map_err(explained);
                policy.with_context(|| format!("cannot use {}", file.display()))?
            }
        };
        let path = self.audit_log.clone();
        let files = Files {
            path: path.unwrap_or_else(|| places::audit(state)),
            bytes_max: self.audit_log_maxsize * MEGABYTE,
            backups_max: self.audit_log_maxbackup,
        };
        Audit::open(policy, files).map_err(explained)
    }
}

/// Does what the command line asks for.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { files } = command;
    let (text, code) = match chain::verify(files).map_err(explained)? {
        Ok(intact) => (told(&intact), ExitCode::SUCCESS),
        Err(broken) => (named(&broken), ExitCode::FAILURE),
    };
    println!("{text}");
    Ok(code)
}

fn explained(error: api::Error) -> anyhow::Error {
    anyhow::anyhow!(api::chain(&error))
}

fn told(intact: &Intact) -> String {
    let Intact { lines, head, .. } = intact;
    let begin = match intact.from_the_beginning {
        true => "from the beginning",
        false => "after older files that were not given",
    };
    let end = match intact.end_is_known {
        true => "nothing is missing at the end",
        false => "nothing beside the last file says whether lines are missing at the end",
    };
    format!("intact: {lines} lines {begin}; {end}\nhead {head}")
}

fn named(broken: &Broken) -> String {
    let Broken { file, line, why } = broken;
    format!("not intact: {}, line {line}: {why}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_said_in_words() {
        let intact = Intact {
            lines: 3,
            from_the_beginning: true,
            end_is_known: true,
            head: "00ff".to_owned(),
        };
        let text = "intact: 3 lines from the beginning; nothing is missing at the end\nhead 00ff";
        assert_eq!(told(&intact), text);
        let broken = Broken {
            file: "audit.log".into(),
            line: 2,
            why: "the line carries no hash".to_owned(),
        };
        assert_eq!(
            named(&broken),
            "not intact: audit.log, line 2: the line carries no hash"
        );
    }

    #[test]
    fn a_wrong_policy_is_refused_with_its_file() {
        let folder = std::env::temp_dir();
        let recording = Recording {
            audit_policy: Some(folder.join("no-such-policy.yaml")),
            ..Recording::default()
        };
        let told = recording.open(&folder).err().map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains("no-such-policy.yaml")));
    }
}
