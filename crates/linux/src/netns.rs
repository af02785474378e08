//! Network namespaces: named ones under `/run/netns`, as `ip netns` makes them, and anonymous ones that die with their handle.
//!
//! A [`Namespace`] is an open handle. A socket belongs for ever to the namespace it was made in, so "use a socket of that
//! namespace" is: make it inside [`Namespace::run`], use it anywhere.
#![allow(
    unsafe_code,
    reason = "unshare(2) is unsafe to call because other flags than the network one may share state"
)]

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{io, panic, thread};

use rustix::fs::{FlockOperation, flock, fstat, fstatfs, stat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive};
use rustix::mount::{mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::process::{self, Process};
use crate::{Error, Netlink, Result};

/// Where named namespaces live; the same folder that `ip netns` uses.
pub const FOLDER: &str = "/run/netns";

/// How many mounts may lie on one name; more than one only after a crash of someone else.
const MOUNTS_MAX: usize = 16;

/// `f_type` of the file system that namespace handles live in (`NSFS_MAGIC`).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// An open handle of a network namespace; cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    handle: Arc<OwnedFd>,
}

/// Makes a named namespace with its loopback up, or opens it if it is there.
pub fn ensure(name: &str) -> Result<Namespace> {
    let path = path(name)?;
    prepare_folder()?;
    let _lock = lock_folder()?;
    if let Some(namespace) = open(name)? {
        return Ok(namespace);
    }
    let fail =
        |source: io::Error| Error::new(format!("cannot make network namespace {name}"), source);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(fail)?;
    in_new_namespace(|own| mount_bind(own, &path))
        .map_err(fail)?
        .map_err(|errno| fail(errno.into()))?;
    let namespace = open(name)?.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
    Netlink::open(&namespace)?.set_up("lo")?;
    Ok(namespace)
}

/// Opens a named namespace; `None` if there is none of that name.
pub fn open(name: &str) -> Result<Option<Namespace>> {
    let path = path(name)?;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::new(
                format!("cannot open network namespace {name}"),
                error,
            ));
        }
    };
    // A plain file is what a crash between the creation of the name and its mount leaves behind.
    let about = fstatfs(&file)
        .map_err(|errno| Error::new(format!("cannot examine network namespace {name}"), errno))?;
    if about.f_type != NSFS_MAGIC {
        return Ok(None);
    }
    Ok(Some(Namespace {
        name: name.to_owned(),
        handle: Arc::new(file.into()),
    }))
}

/// Whether a namespace of that name exists.
pub fn exists(name: &str) -> Result<bool> {
    Ok(open(name)?.is_some())
}

/// Removes the name; the namespace itself goes with its last process, socket and handle. Nothing happens if it is gone.
pub fn delete(name: &str) -> Result<()> {
    let path = path(name)?;
    let fail =
        |source: io::Error| Error::new(format!("cannot delete network namespace {name}"), source);
    for _ in 0..MOUNTS_MAX {
        match unmount(&path, UnmountFlags::DETACH) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(fail(errno.into())),
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail(error)),
        _ => Ok(()),
    }
}

/// Names of all namespaces that start with `prefix`, sorted; names without a namespace behind them are included, so that
/// a clean-up finds what a crash left.
pub fn list(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::new(format!("cannot list {FOLDER}"), error)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    Ok(names)
}

impl Namespace {
    /// A namespace without a name, with its loopback up; the kernel removes it with the last handle, socket and process.
    pub fn anonymous(label: &str) -> Result<Self> {
        let fail = |source: io::Error| {
            Error::new(format!("cannot make network namespace {label}"), source)
        };
        let handle = in_new_namespace(|own| File::open(own))
            .map_err(fail)?
            .map_err(fail)?;
        let namespace = Self {
            name: label.to_owned(),
            handle: Arc::new(handle.into()),
        };
        Netlink::open(&namespace)?.set_up("lo")?;
        Ok(namespace)
    }

    /// The namespace that this process was started in.
    pub fn own() -> Result<Self> {
        let handle = File::open("/proc/self/ns/net")
            .map_err(|error| Error::new("cannot open the own network namespace", error))?;
        Ok(Self {
            name: "own".to_owned(),
            handle: Arc::new(handle.into()),
        })
    }

    /// Its name, or the label of an anonymous one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace and waits for it. Sockets, processes and `/proc/sys/net` paths opened
    /// there belong to the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                .map(|()| work())
        };
        let outcome = thread::scope(|scope| scope.spawn(inside).join());
        outcome
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
            .map_err(|errno| {
                Error::new(
                    format!("cannot enter network namespace {}", self.name),
                    errno,
                )
            })
    }

    /// Whether both are handles of one namespace.
    pub fn is(&self, other: &Self) -> Result<bool> {
        Ok(self.identity()? == other.identity()?)
    }

    /// The processes that are in it now; those of nested pid namespaces are among them.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let own = self.identity()?;
        let here = |pid: u32| {
            let seen = stat(format!("/proc/{pid}/ns/net"));
            seen.is_ok_and(|seen| (seen.st_dev, seen.st_ino) == own)
        };
        let mut processes = Vec::new();
        for pid in process::pids()?.into_iter().filter(|pid| here(*pid)) {
            match Process::open(pid) {
                // Looked at again, so that a number used anew cannot slip in.
                Ok(process) if here(pid) => processes.push(process),
                Err(error) if here(pid) => return Err(error),
                // It has ended meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(processes)
    }

    fn identity(&self) -> Result<(u64, u64)> {
        let seen = fstat(&self.handle).map_err(|errno| {
            let what = format!("cannot examine network namespace {}", self.name);
            Error::new(what, errno)
        })?;
        Ok((seen.st_dev, seen.st_ino))
    }

    /// A TCP socket of the namespace, fit for `address`, not yet bound or connected.
    pub fn tcp_socket(&self, address: SocketAddr) -> Result<tokio::net::TcpSocket> {
        let make = || match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        };
        self.run(make)?.map_err(|error| {
            Error::new(format!("cannot open a TCP socket in {}", self.name), error)
        })
    }

    /// A UDP socket of the namespace, bound to `address`.
    pub fn udp_socket(&self, address: SocketAddr) -> Result<UdpSocket> {
        self.run(|| UdpSocket::bind(address))?.map_err(|error| {
            Error::new(format!("cannot bind UDP {address} in {}", self.name), error)
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Runs `work` on a thread that just moved to a namespace of its own, with the path of that namespace's handle.
fn in_new_namespace<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> io::Result<T> {
    let inside = || {
        // SAFETY: only the network namespace of this short-lived thread changes; no file descriptor or memory is involved.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        Ok(work(Path::new("/proc/thread-self/ns/net")))
    };
    let outcome = thread::scope(|scope| scope.spawn(inside).join());
    outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// The folder must be a shared mount of its own, as `ip netns` makes it, or names would not be seen in other mount namespaces.
fn prepare_folder() -> Result<()> {
    let fail = |source: io::Error| Error::new(format!("cannot prepare {FOLDER}"), source);
    fs::create_dir_all(FOLDER).map_err(fail)?;
    let share = || {
        mount_change(
            FOLDER,
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )
    };
    match share() {
        Err(Errno::INVAL) => mount_bind_recursive(FOLDER, FOLDER).and_then(|()| share()),
        other => other,
    }
    .map_err(|errno| fail(errno.into()))
}

/// Two makers of the same name must not both mount on it.
fn lock_folder() -> Result<File> {
    let fail = |source: io::Error| Error::new(format!("cannot lock {FOLDER}"), source);
    let folder = File::open(FOLDER).map_err(fail)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|errno| fail(errno.into()))?;
    Ok(folder)
}

fn path(name: &str) -> Result<PathBuf> {
    let good = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if !good {
        return Err(Error::new(
            format!("network namespace name {name:?} must be a plain file name"),
            Errno::INVAL,
        ));
    }
    Ok(Path::new(FOLDER).join(name))
}
