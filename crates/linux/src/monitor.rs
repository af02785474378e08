//! Hints that a namespace's devices, addresses, routes, rules or firewall changed, whoever changed them.
//!
//! A hint says that something changed, never what: readers look again. Hints run together and may get lost when they come
//! faster than they are taken.
#![allow(
    unsafe_code,
    reason = "registering a descriptor with tokio promises that it stays open"
)]

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use tokio::io::unix::AsyncFd;

use crate::{Error, Namespace, Result};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE` and `RTNLGRP_IPV6_RULE`.
const ROUTE_GROUPS: [u32; 4] = [1, 9, 11, 19];

/// `NFNLGRP_NFTABLES`.
const FIREWALL_GROUPS: [u32; 1] = [7];

/// An open ear on one namespace.
#[derive(Debug)]
pub struct Monitor {
    routes: AsyncFd<Socket>,
    firewall: AsyncFd<Socket>,
}

impl Monitor {
    /// Starts listening. Must be called within a tokio runtime.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let fail = |source: io::Error| {
            let name = namespace.name();
            Error::new(format!("cannot listen for changes in {name}"), source)
        };
        let open = || {
            let routes = listen(NETLINK_ROUTE, &ROUTE_GROUPS)?;
            Ok((routes, listen(NETLINK_NETFILTER, &FIREWALL_GROUPS)?))
        };
        let (routes, firewall) = namespace.run(open)?.map_err(fail)?;
        Ok(Self {
            routes: register(routes).map_err(fail)?,
            firewall: register(firewall).map_err(fail)?,
        })
    }

    /// Waits for the next change and takes all hints that are there.
    pub async fn changed(&self) -> Result<()> {
        tokio::select! {
            heard = drain(&self.routes) => heard,
            heard = drain(&self.firewall) => heard,
        }
        .map_err(|error| Error::new("cannot listen for changes", error))
    }
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` keeps the same open descriptor until it is dropped.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

async fn drain(socket: &AsyncFd<Socket>) -> io::Result<()> {
    loop {
        let mut ready = socket.readable().await?;
        let mut heard = false;
        let mut scratch = bytes_of_a_hint();
        // An overrun (ENOBUFS) is a hint too: something changed that was not told.
        while let Ok(Ok(_)) = ready.try_io(|socket| take(socket.get_ref(), &mut scratch)) {
            heard = true;
        }
        if heard {
            return Ok(());
        }
    }
}

fn take(socket: &Socket, scratch: &mut Vec<u8>) -> io::Result<()> {
    scratch.clear();
    match socket.recv(scratch, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        other => other.map(drop),
    }
}

/// The content of a hint is not looked at: what does not fit is cut off.
fn bytes_of_a_hint() -> Vec<u8> {
    Vec::with_capacity(256)
}
