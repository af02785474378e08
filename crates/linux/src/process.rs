//! Processes by handle: a pidfd, with the start time that proves whose it is.
//!
//! A number alone names another process once it is used again. A [`Process`] is opened first and compared afterwards, so
//! reuse cannot slip in. It waits for nobody: its descriptor becomes readable when the process ends, and callers wait
//! for that in their own way.
#![allow(
    unsafe_code,
    reason = "close_range(2) is unsafe to call because it could close descriptors that are in use; here it only marks them"
)]

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::{Error, Result};

/// Where `starttime` stands in `/proc/PID/stat`, counted from the state that follows the name in parentheses.
const STAT_START_TIME: usize = 19;

/// An open handle of a process.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    started: u64,
    handle: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exit(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl Process {
    /// The process of that number that runs now. Only a parent, which reaps it itself, can be sure which one that is.
    pub fn open(pid: u32) -> Result<Self> {
        let fail = |errno| Error::new(format!("cannot open process {pid}"), errno);
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| fail(Errno::INVAL))?;
        let handle = pidfd_open(number, PidfdFlags::empty()).map_err(fail)?;
        let started = start_time(pid).ok_or_else(|| fail(Errno::SRCH))?;
        Ok(Self {
            pid,
            started,
            handle,
        })
    }

    /// The process of that number, if it is the one that started then.
    pub fn find(pid: u32, started: u64) -> Option<Self> {
        Self::open(pid)
            .ok()
            .filter(|process| process.started == started)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in clock ticks since the machine did.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Sends it a signal; one that has ended takes none, and that is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(errno) if errno != Errno::SRCH => Err(Error::new(
                format!("cannot send {signal:?} to process {}", self.pid),
                errno,
            )),
            _ => Ok(()),
        }
    }

    /// Whether it handles a signal or holds it back for later. The first process of a pid namespace does not even get one
    /// that it neither handles nor blocks (pid_namespaces(7)), so a program that has just started misses it; none can
    /// avoid `SIGKILL`.
    pub fn heeds(&self, signal: Signal) -> bool {
        if signal == Signal::KILL {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let bit = 1_u64 << (signal.as_raw() - 1);
        ["SigCgt:", "SigBlk:"].iter().any(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & bit != 0)
        })
    }

    /// Whether it has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut polled, Some(&Timespec::default())), Ok(1..))
    }

    /// Takes the status of a child that has ended; `None` while it runs, and if somebody else has taken it.
    pub fn reap(&self) -> Option<Ended> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.handle.as_fd()), options).ok()??;
        let exit = status.exit_status().map(Ended::Exit);
        exit.or(status.terminating_signal().map(Ended::Signal))
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The numbers of all processes that run now.
pub fn pids() -> Result<Vec<u32>> {
    let fail = |error| Error::new("cannot list processes", error);
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// The signals that are known by name.
const SIGNALS: [(&str, Signal); 20] = [
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGILL", Signal::ILL),
    ("SIGTRAP", Signal::TRAP),
    ("SIGABRT", Signal::ABORT),
    ("SIGBUS", Signal::BUS),
    ("SIGFPE", Signal::FPE),
    ("SIGKILL", Signal::KILL),
    ("SIGUSR1", Signal::USR1),
    ("SIGSEGV", Signal::SEGV),
    ("SIGUSR2", Signal::USR2),
    ("SIGPIPE", Signal::PIPE),
    ("SIGALRM", Signal::ALARM),
    ("SIGTERM", Signal::TERM),
    ("SIGCONT", Signal::CONT),
    ("SIGURG", Signal::URG),
    ("SIGWINCH", Signal::WINCH),
    ("SIGPWR", Signal::POWER),
    ("SIGSYS", Signal::SYS),
];

/// The signal of that name, `SIGHUP` for example.
pub fn signal_by_name(name: &str) -> Option<Signal> {
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal)
}

/// The name of the signal of that number.
pub fn signal_name(number: i32) -> Option<&'static str> {
    let found = SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number);
    found.map(|(name, _)| *name)
}

/// Marks all descriptors but the three standard ones to be closed when this process becomes another program.
pub fn close_others_on_exec() -> std::io::Result<()> {
    const FIRST: libc::c_uint = 3;
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: with this flag nothing is closed now; the descriptors only get their close-on-exec mark.
    match unsafe { libc::close_range(FIRST, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// When the process of that number started, in clock ticks since the machine did.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let after_name = stat.get(stat.rfind(')')? + 2..)?;
    after_name.split(' ').nth(STAT_START_TIME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_start_time_is_another_process() {
        let own = Process::open(std::process::id()).expect("the own process runs");
        assert!(Process::find(own.pid(), own.started()).is_some());
        assert!(Process::find(own.pid(), own.started() + 1).is_none());
    }

    #[test]
    fn a_child_that_ended_is_seen_and_reaped_once() {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn();
        let child = Process::open(child.expect("sh starts").id()).expect("not reaped yet");
        let mut polled = [PollFd::new(&child.handle, PollFlags::IN)];
        poll(&mut polled, None).expect("the end is seen");
        assert!(child.has_ended());
        assert_eq!(child.reap(), Some(Ended::Exit(3)));
        assert_eq!(child.reap(), None);
        child.signal(Signal::TERM).expect("no error after its end");
    }

    #[test]
    fn signals_are_known_by_name() {
        assert_eq!(signal_by_name("SIGHUP"), Some(Signal::HUP));
        assert_eq!(signal_by_name("HUP"), None);
    }
}
