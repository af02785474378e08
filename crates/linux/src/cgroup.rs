//! Control groups as the truth about what lives: make, enter, list, kill and remove, on version 1, hybrid and version 2.
//!
//! A group is one path in every hierarchy of the machine. One hierarchy decides who is a member (version 1: the freezer,
//! so that a kill cannot be outrun by a fork). That a group is empty proves little, because exiting tasks hide before
//! their files close; that its folder could be removed proves that nothing of it is left.
//! Limits are not set here: whoever runs containers writes these.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::{Error, Result};

/// Where the hierarchies are mounted.
const FOLDER: &str = "/sys/fs/cgroup";

/// The hierarchies of version 1 that a process enters; others are left to the runtime program.
const ENTERED: [&str; 4] = ["freezer", "pids", "memory", "cpu"];

/// The pause between two looks at a group that is being removed.
const PAUSE: Duration = Duration::from_micros(500);

/// How often a folder is made again that somebody removed in between.
const MAKE_TRIES: u32 = 4;

/// The hierarchies of this machine.
#[derive(Clone, Debug)]
pub struct Hierarchies {
    version: Version,
    truth: PathBuf,
    entered: Vec<PathBuf>,
    all: Vec<PathBuf>,
}

/// Which kind of control groups a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller, perhaps with an extra one of version 2 without controllers.
    V1,
    /// One hierarchy.
    V2,
}

/// One path in all hierarchies.
#[derive(Clone, Debug)]
pub struct Group {
    hierarchies: Hierarchies,
    path: String,
}

/// Open files through which a process enters a group by writing `0`, also between fork and exec.
#[derive(Debug)]
pub struct Entrance(Vec<File>);

impl Hierarchies {
    /// Finds out what this machine has.
    pub fn detect() -> Result<Self> {
        let folder = Path::new(FOLDER);
        if folder.join("cgroup.controllers").exists() {
            return Ok(Self::unified(folder));
        }
        let all = mounted(folder).map_err(|error| {
            Error::new(format!("cannot list control groups in {FOLDER}"), error)
        })?;
        let named = |name: &str| {
            let root = folder.join(name);
            fs::canonicalize(root)
                .ok()
                .filter(|root| all.contains(root))
        };
        let truth = named("freezer").ok_or_else(|| {
            Error::other(
                format!("cannot use the control groups in {FOLDER}"),
                "there is neither version 2 nor a freezer of version 1",
            )
        })?;
        let entered: BTreeSet<PathBuf> = ENTERED.iter().filter_map(|name| named(name)).collect();
        Ok(Self {
            version: Version::V1,
            truth,
            entered: entered.into_iter().collect(),
            all,
        })
    }

    /// The single hierarchy of version 2 that is mounted at `root`.
    pub fn unified(root: &Path) -> Self {
        Self {
            version: Version::V2,
            truth: root.to_owned(),
            entered: vec![root.to_owned()],
            all: vec![root.to_owned()],
        }
    }

    /// Which kind it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file of a controller, in the group of that path.
    pub fn file(&self, controller: &str, path: &str, file: &str) -> PathBuf {
        match self.version {
            Version::V1 => Path::new(FOLDER).join(controller).join(path).join(file),
            Version::V2 => self.truth.join(path).join(file),
        }
    }

    /// The names of the groups right below a path.
    pub fn children(&self, path: &str) -> BTreeSet<String> {
        let entries = self
            .all
            .iter()
            .filter_map(|root| fs::read_dir(root.join(path)).ok());
        let folders = entries
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir());
        folders
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// The group of that path, which need not exist: relative, without `..`.
    pub fn group(&self, path: &str) -> Group {
        Group {
            hierarchies: self.clone(),
            path: path.to_owned(),
        }
    }
}

/// The hierarchies in a folder; symbolic links are second names (`cpu` of `cpu,cpuacct`).
fn mounted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut roots = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let root = fs::canonicalize(entry?.path())?;
        if root.join("cgroup.procs").exists() {
            roots.insert(root);
        }
    }
    Ok(roots.into_iter().collect())
}

impl Group {
    /// Makes the group where processes enter it.
    pub fn make(&self) -> Result<Entrance> {
        let mut files = Vec::new();
        for root in &self.hierarchies.entered {
            let folder = root.join(&self.path);
            let open = || {
                make_folder(&folder)?;
                OpenOptions::new()
                    .write(true)
                    .open(folder.join("cgroup.procs"))
            };
            files.push(open().map_err(|error| self.fail("make", error))?);
        }
        Ok(Entrance(files))
    }

    /// An entrance to a group that must exist; hierarchies that do not have it are left out.
    pub fn entrance(&self) -> Result<Entrance> {
        let mut files = Vec::new();
        for root in &self.hierarchies.all {
            let procs = root.join(&self.path).join("cgroup.procs");
            match OpenOptions::new().write(true).open(procs) {
                Ok(file) => files.push(file),
                Err(error)
                    if error.kind() == ErrorKind::NotFound && *root != self.hierarchies.truth => {}
                Err(error) => return Err(self.fail("enter", error)),
            }
        }
        Ok(Entrance(files))
    }

    /// The group of a path below this one.
    pub fn child(&self, name: &str) -> Self {
        self.hierarchies.group(&format!("{}/{name}", self.path))
    }

    /// Its path, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether anything of it is left.
    pub fn exists(&self) -> bool {
        let mut roots = self.hierarchies.all.iter();
        roots.any(|root| root.join(&self.path).exists())
    }

    /// The processes in it and below; those that are exiting may be missing.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut folders = Vec::new();
        collect(&self.hierarchies.truth.join(&self.path), &mut folders);
        let members = folders
            .iter()
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
        let numbers = members.flat_map(|text| {
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            pids
        });
        // Members of another pid namespace show as 0.
        numbers.filter(|pid| *pid > 0).collect()
    }

    /// How many of its processes the kernel has killed because its memory was full.
    pub fn oom_kills(&self) -> u64 {
        let file = match self.hierarchies.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let path = self.hierarchies.file("memory", &self.path, file);
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "));
        counts
            .find_map(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Kills all in it and removes it, with all groups below. Nothing happens if it is gone.
    pub fn remove(&self, limit: Duration) -> Result<()> {
        let started = Instant::now();
        let mut seen = BTreeSet::new();
        loop {
            seen.append(&mut self.kill());
            let outcome = self.remove_folders();
            if outcome.is_ok() {
                // Zombies that became ours (sub-reaper) hold their namespaces until they are reaped.
                seen = seen
                    .iter()
                    .copied()
                    .filter(|pid| !is_over(*pid, &seen))
                    .collect();
            }
            if outcome.is_ok() && seen.is_empty() {
                seen = self.own_zombies();
            }
            match outcome {
                Ok(()) if seen.is_empty() => return Ok(()),
                _ if started.elapsed() < limit => std::thread::sleep(PAUSE),
                Ok(()) => return Err(self.fail("empty", ErrorKind::TimedOut.into())),
                Err(error) => return Err(self.fail("remove", error)),
            }
        }
    }

    /// Removes it in all hierarchies if nothing is in it or below.
    pub fn remove_if_empty(&self) {
        for root in &self.hierarchies.all {
            let _ = fs::remove_dir(root.join(&self.path));
        }
    }

    /// Sends SIGKILL to all of it at one moment: frozen processes cannot fork away in between.
    fn kill(&self) -> BTreeSet<i32> {
        let folder = self.hierarchies.truth.join(&self.path);
        let seen = self.processes();
        match self.hierarchies.version {
            Version::V2 => {
                if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
                    return seen;
                }
                self.freeze_and_kill(&folder.join("cgroup.freeze"), ["1", "0"])
            }
            Version::V1 => {
                self.freeze_and_kill(&folder.join("freezer.state"), ["FROZEN", "THAWED"])
            }
        }
    }

    fn freeze_and_kill(&self, freezer: &Path, [frozen, thawed]: [&str; 2]) -> BTreeSet<i32> {
        let _ = fs::write(freezer, frozen);
        let seen = self.processes();
        for pid in seen.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::write(freezer, thawed);
        seen
    }

    /// Children of this process that ended in the group earlier, and so are not listed in it any more: orphans of a process
    /// that ended itself without reaping them.
    fn own_zombies(&self) -> BTreeSet<i32> {
        let own = format!(":/{}/", self.path);
        let ended_here = |pid: &i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(&own)
        };
        children().into_iter().filter(ended_here).collect()
    }

    /// Reaps the orphans that ended in it or below and became children of this process (sub-reaper). Programs that this
    /// process started itself are left: whoever waits for them is told how they ended.
    pub fn reap_orphans(&self) {
        let Some(own) = Standing::of("self") else {
            return;
        };
        let orphaned = |pid: &i32| {
            Standing::of(pid).is_some_and(|one| one.ended && one.session != own.session)
        };
        let orphans: BTreeSet<i32> = children().into_iter().filter(orphaned).collect();
        if orphans.is_empty() {
            return;
        }
        for pid in self.own_zombies().intersection(&orphans) {
            let _ = waitpid(Pid::from_raw(*pid), WaitOptions::NOHANG);
        }
    }

    fn remove_folders(&self) -> io::Result<()> {
        let mut folders = Vec::new();
        for root in &self.hierarchies.all {
            collect(&root.join(&self.path), &mut folders);
        }
        for folder in folders {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn fail(&self, what: &str, error: io::Error) -> Error {
        Error::new(format!("cannot {what} control group {}", self.path), error)
    }
}

impl Entrance {
    /// Moves the calling process, which must have one thread only, into the group. Allocates nothing: fit for the time
    /// between fork and exec.
    pub fn enter(&self) -> io::Result<()> {
        for mut file in &self.0 {
            file.write_all(b"0")?;
        }
        Ok(())
    }
}

/// Another container's removal may take the parent away between two steps of this.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut made = fs::create_dir_all(folder);
    for _ in 1..MAKE_TRIES {
        match &made {
            Err(error) if error.kind() == ErrorKind::NotFound => made = fs::create_dir_all(folder),
            _ => break,
        }
    }
    made
}

/// All folders below and the folder itself, the deepest first.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.push(folder.to_owned());
}

/// The children of this process, those that ended and were not reaped included.
fn children() -> BTreeSet<i32> {
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = lists.flat_map(|list| {
        let pids: Vec<i32> = list
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        pids
    });
    numbers.collect()
}

/// Whether nothing has to be waited for any more: the process was reaped, now or before, or is somebody else's to reap. One
/// whose parent is about to end too may become ours yet.
fn is_over(pid: i32, others: &BTreeSet<i32>) -> bool {
    match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
        Ok(reaped) => reaped.is_some(),
        Err(errno) => {
            errno == Errno::CHILD
                && !Standing::of(pid).is_some_and(|one| others.contains(&one.parent))
        }
    }
}

/// What `/proc/PID/stat` says of a process's place among others.
struct Standing {
    ended: bool,
    parent: i32,
    session: i32,
}

impl Standing {
    /// `None` if there is no such process any more.
    fn of(pid: impl fmt::Display) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold spaces and parentheses itself; state, parent, group and session follow it.
        let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
        Some(Self {
            ended: fields.next()? == "Z",
            parent: fields.next()?.parse().ok()?,
            session: fields.nth(1)?.parse().ok()?,
        })
    }
}
