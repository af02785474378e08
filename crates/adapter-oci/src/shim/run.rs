//! One run of a container, from the runtime program's start to the last byte of its output.
//!
//! Single-threaded; waits for two things: output, and the end of the container's first process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use linux::cgroup::{Group, Hierarchies};
use linux::process::{Ended, Process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, set_child_subreaper, setsid};

use crate::disk::{End, Exit, Folder, Identity, Launch, Status};
use crate::shim::output::Output;
use crate::supervisor::remove_folder;

/// How long the rest of a container may take to die after its first process.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// How much of a failed start is kept as its reason, in bytes.
const REASON_MAX: usize = 2 << 10;

/// Runs the container of a folder, unless a later run was declared meanwhile.
pub(super) fn run(folder: &Folder, epoch: u64) -> io::Result<()> {
    let _ = setsid();
    set_child_subreaper(Pid::from_raw(1))?;
    // The agent put this process into its control group before it became this program. Recovery declares a new epoch
    // first and kills the group then: either the new number is seen here, or this process is killed there.
    if folder.epoch()? != epoch {
        return Err(io::Error::other(format!("run {epoch} is over already")));
    }
    let launch: Launch = fact(folder, "launch.json")?;
    let inner = Hierarchies::detect().map_err(io::Error::other)?;
    let inner = inner.group(&launch.group).child("c");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut output = Output::open(folder.path("logs"), epoch)?;
    let end = match start(folder, &launch, writer) {
        Ok(init) => {
            announce(folder, epoch, &init)?;
            attend(&init, &mut File::from(reader), &mut output, &inner)?
        }
        Err(error) => (End::NotStarted(reason(&error, reader)), false),
    };
    let _ = fs::remove_dir_all(folder.path("runtime"));
    let exit = Exit {
        epoch,
        end: end.0,
        out_of_memory: end.1,
    };
    folder.write("exit.json", &exit)
}

fn fact<T: serde::de::DeserializeOwned>(folder: &Folder, name: &str) -> io::Result<T> {
    folder
        .read(name)?
        .ok_or_else(|| io::Error::other(format!("{} is missing", folder.path(name).display())))
}

/// Starts the container by the runtime program's command line, which runc, crun and youki share.
fn start(folder: &Folder, launch: &Launch, output: OwnedFd) -> io::Result<Process> {
    // A folder of its own each time: a program that was killed leaves half a file, which stops the next one.
    let place = folder.path("starting");
    remove_folder(&place)?;
    fs::create_dir(&place)?;
    let pid_file = place.join("pid");
    let status = Command::new(&launch.runtime)
        .arg("--root")
        .arg(folder.path("runtime"))
        .args(["run", "--detach", "--no-new-keyring", "--bundle"])
        .arg(folder.path("bundle"))
        .arg("--pid-file")
        .arg(&pid_file)
        .arg(&launch.name)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{}: {status}", launch.runtime)));
    }
    let pid = fs::read_to_string(pid_file)?.trim().parse();
    // This process is the container's parent (sub-reaper), so the number cannot have been used again.
    Process::open(pid.map_err(io::Error::other)?).map_err(io::Error::other)
}

/// Writes down who runs, then tells the agent, if it still listens.
fn announce(folder: &Folder, epoch: u64, init: &Process) -> io::Result<()> {
    let own = Process::open(std::process::id()).map_err(io::Error::other)?;
    let status = Status {
        epoch,
        shim: identity(&own),
        init: identity(init),
        since: Timestamp::now(),
    };
    folder.write("status.json", &status)?;
    let _ = rustix::io::write(io::stdout(), b"r");
    Ok(())
}

fn identity(process: &Process) -> Identity {
    Identity {
        pid: process.pid(),
        started: process.started(),
    }
}

/// Keeps what the container writes until its first process ends; then ends the rest of it.
fn attend(
    init: &Process,
    reader: &mut File,
    output: &mut Output,
    inner: &Group,
) -> io::Result<(End, bool)> {
    let mut open = true;
    loop {
        let mut polled = vec![PollFd::new(init, PollFlags::IN)];
        if open {
            polled.push(PollFd::new(&*reader, PollFlags::IN));
        }
        poll(&mut polled, None)?;
        let ready = |at: usize| polled.get(at).is_some_and(|one| !one.revents().is_empty());
        let (ended, readable) = (ready(0), ready(1));
        drop(polled);
        if readable {
            open = copy(reader, output)?;
        }
        if ended {
            break;
        }
    }
    let out_of_memory = inner.oom_kills() > 0;
    let end = match init.reap() {
        Some(Ended::Exit(status)) => End::Status(status),
        Some(Ended::Signal(signal)) => End::Signal(signal),
        None => return Err(io::Error::other("the container's status was lost")),
    };
    inner.remove(KILL_LIMIT).map_err(io::Error::other)?;
    // Nobody is left who could write: the pipe ends.
    while copy(reader, output)? {}
    Ok((end, out_of_memory))
}

/// Keeps what is there; false at the end. A full disk must not stop a container, so what cannot be written is lost.
fn copy(reader: &mut File, output: &mut Output) -> io::Result<bool> {
    let mut buffer = [0; CHUNK];
    let count = reader.read(&mut buffer)?;
    let _ = output.write(&buffer[..count]);
    Ok(count > 0)
}

/// Why the runtime program failed: it writes that where the container would have written. Only what is there is read: if
/// the program was killed, a child of it may hold the pipe open for ever.
fn reason(error: &io::Error, reader: OwnedFd) -> String {
    let mut said = Vec::new();
    let limit = u64::try_from(REASON_MAX).unwrap_or(u64::MAX);
    let _ = rustix::io::ioctl_fionbio(&reader, true);
    let _ = File::from(reader).take(limit).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    match said.trim() {
        "" => error.to_string(),
        said => said.replace('\n', "; "),
    }
}
