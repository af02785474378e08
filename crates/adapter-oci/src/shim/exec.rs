//! A program in a running container, with the container's own user, capabilities, filter and control group.
//!
//! No state of the runtime program is needed: the container is entered by a handle of its first process, and its control
//! group first of all, so that a removal at the same time cannot miss it.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use linux::cgroup::Hierarchies;
use linux::process::Process;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::disk::{Folder, Launch, Rights, Status};
use crate::spawn::{self, Child};
use crate::{bundle, spawn::filters};

/// The exit status of a program that does not exist, as shells have it.
const NOT_FOUND: u8 = 127;

/// What a signal counts as: this plus its number.
const SIGNAL_BASE: i32 = 128;

/// Runs a program and waits for it; its exit status is the answer.
pub(super) fn exec(folder: &Folder, program: &str, arguments: &[&str]) -> io::Result<u8> {
    let gone = || io::Error::other("the container does not run");
    let launch: Launch = folder.read("launch.json")?.ok_or_else(gone)?;
    let status: Status = folder.read("status.json")?.ok_or_else(gone)?;
    let init = Process::find(status.init.pid, status.init.started).ok_or_else(gone)?;
    let child = child(&launch.rights)?;
    enter(&launch.group, &init)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(
        launch
            .rights
            .environment
            .iter()
            .filter_map(|line| line.split_once('=')),
    );
    command.current_dir(&launch.rights.directory);
    spawn::as_child(&mut command, child);
    match command.status() {
        Ok(status) => {
            let signal = status.signal().map(|signal| SIGNAL_BASE + signal);
            let code = status.code().or(signal).unwrap_or(SIGNAL_BASE);
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("{program}: not found");
            Ok(NOT_FOUND)
        }
        Err(error) => Err(io::Error::other(format!("{program}: {error}"))),
    }
}

fn child(rights: &Rights) -> io::Result<Child> {
    Ok(Child {
        uid: rights.user.uid,
        gid: rights.user.gid,
        groups: rights.user.groups.clone(),
        capabilities: bundle::capability_set(&rights.capabilities).map_err(io::Error::other)?,
        filters: filters()?,
    })
}

/// Moves this process into the container; its control group first, which cannot be seen from inside.
fn enter(group: &str, init: &Process) -> io::Result<()> {
    let group = Hierarchies::detect()
        .map_err(io::Error::other)?
        .group(group);
    let entrance = group.child("c").entrance().map_err(io::Error::other)?;
    entrance.enter()?;
    linux::process::close_others_on_exec()?;
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    Ok(move_into_thread_name_spaces(init.as_fd(), all)?)
}
