//! The shim: the process between the agent and one container, which outlives the agent.
//!
//! `run FOLDER EPOCH` starts the container by the runtime program, keeps what it writes, and writes down how it ended.
//! `exec FOLDER -- COMMAND…` runs a program in a container that runs. Both are the agent's own program started anew, and
//! must get control before any thread is made: namespaces and forks do not mix with threads.
//!
//! A shim decides nothing: it never restarts, and never removes more than the processes of its own container.

mod exec;
mod output;
mod run;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use crate::disk::Folder;

/// The exit status of a program that could not be run, as shells have it.
const CANNOT_RUN: u8 = 126;

/// The main function of `groma shim`, with the arguments that follow the word `shim`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn dispatch(arguments: &[String]) -> io::Result<ExitCode> {
    let parts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["run", folder, epoch] => {
            let epoch = epoch.parse().map_err(io::Error::other)?;
            run::run(&Folder(folder.into()), epoch).map(|()| ExitCode::SUCCESS)
        }
        ["exec", folder, "--", program, rest @ ..] => {
            exec::exec(&Folder(folder.into()), program, rest).map(ExitCode::from)
        }
        _ => Err(io::Error::other(
            "usage: shim run FOLDER EPOCH | shim exec FOLDER -- COMMAND [ARGUMENT…]",
        )),
    }
}
