//! TUN devices: a network interface whose packets a program reads and writes as whole IP packets.
//!
//! The device belongs to the namespace it was made in; its file descriptor works from anywhere.
#![allow(
    unsafe_code,
    reason = "a TUN device is configured by ioctl(2) with a struct that rustix does not know"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::ioctl::{IntegerSetter, Setter, ioctl, opcode};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::link::NAME_MAX;
use crate::{Error, Namespace, Result};

const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<libc::c_int>(b'T', 202);
const TUNSETPERSIST: rustix::ioctl::Opcode = opcode::write::<libc::c_int>(b'T', 203);

/// Whether the device outlives its last file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It goes with the file descriptor.
    Handle,
    /// It stays until it is deleted.
    Persistent,
}

/// An open TUN device.
#[derive(Debug)]
pub struct Tun {
    file: AsyncFd<File>,
}

/// The `struct ifreq` of `TUNSETIFF`.
#[repr(C)]
struct Request {
    name: [u8; NAME_MAX + 1],
    flags: libc::c_short,
    padding: [u8; 22],
}

/// Makes a TUN device inside `namespace`, or opens the persistent one of that name. Must be called within a tokio runtime.
pub fn open(namespace: &Namespace, name: &str, lifetime: Lifetime) -> Result<Tun> {
    let fail = |source: io::Error| {
        let namespace = namespace.name();
        Error::new(
            format!("cannot open TUN device {name} in {namespace}"),
            source,
        )
    };
    let file = namespace.run(|| configure(name, lifetime))?.map_err(fail)?;
    // SAFETY: a `File` keeps the same open descriptor until it is dropped.
    let file = unsafe { AsyncFd::register(file) }.map_err(|error| fail(error.into()))?;
    Ok(Tun { file })
}

/// Whether a TUN device can be made at all; it is gone again afterwards.
pub(crate) fn check(namespace: &Namespace, name: &str) -> Result<()> {
    let made = namespace.run(|| configure(name, Lifetime::Handle))?;
    made.map(drop)
        .map_err(|error| Error::new(format!("cannot make TUN device {name}"), error))
}

impl Tun {
    /// Takes the next packet that the namespace sent into the device.
    pub async fn recv(&self, packet: &mut [u8]) -> io::Result<usize> {
        self.file
            .async_io(Interest::READABLE, |mut file| file.read(packet))
            .await
    }

    /// Hands a packet to the namespace as if it had come in by the device.
    pub async fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.file
            .async_io(Interest::WRITABLE, |mut file| file.write(packet))
            .await
    }
}

fn configure(name: &str, lifetime: Lifetime) -> io::Result<File> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let mut request = Request {
        name: [0; NAME_MAX + 1],
        flags: flags.try_into().map_err(io::Error::other)?,
        padding: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: `Request` has the layout and size of `struct ifreq`, which is what the kernel reads for TUNSETIFF.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }?;
    let persistent = usize::from(lifetime == Lifetime::Persistent);
    // SAFETY: TUNSETPERSIST takes an integer by value.
    unsafe { ioctl(&file, IntegerSetter::<TUNSETPERSIST>::new_usize(persistent)) }?;
    Ok(file)
}
