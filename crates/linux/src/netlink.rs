//! A route netlink socket inside a namespace: one request, its answer, and the errors worth a second try.
//!
//! What the requests mean is in `link`, `route` and `rule`, as methods of the same [`Netlink`].

use std::net::IpAddr;
use std::time::Duration;
use std::{fmt, io, thread};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::{Error, Namespace, Result};

/// How often a request is repeated when the kernel is out of a resource for a moment.
const TRIES_MAX: u32 = 8;

/// How long the first repetition waits; each further one waits twice as long (0.5 s in all).
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// `NLM_F_DUMP_INTR`: the kernel's tables changed while it was listing them.
const DUMP_INTERRUPTED: u16 = 0x10;

/// An IP prefix: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address; bits beyond `length` are zero for a route.
    pub address: IpAddr,
    /// How many leading bits count.
    pub length: u8,
}

/// An open socket to the routing part of one namespace's kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What to do when the object is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Refuse with `EEXIST`.
    Create,
    /// Put the new one in its place in one step.
    Replace,
    /// Change or remove the existing one.
    Plain,
}

impl Netlink {
    /// Opens a socket inside `namespace`; it stays there whichever thread uses it.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.run(|| {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // With strict checks the kernel honours the filter of a dump request.
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        })?;
        let socket = socket.map_err(|error: io::Error| {
            Error::new(
                format!("cannot open netlink in {}", namespace.name()),
                error,
            )
        })?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a change and waits for the kernel's word; `what` completes "cannot …".
    pub(crate) fn change(
        &mut self,
        message: RouteNetlinkMessage,
        write: Write,
        what: impl fmt::Display,
    ) -> Result<()> {
        let flags = NLM_F_REQUEST
            | NLM_F_ACK
            | match write {
                Write::Create => NLM_F_CREATE | NLM_F_EXCL,
                Write::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                Write::Plain => 0,
            };
        self.patiently(|netlink| netlink.exchange(&message, flags))
            .map(drop)
            .map_err(|error| Error::new(format!("cannot {what}"), error))
    }

    /// Asks for one object; `what` completes "cannot …".
    pub(crate) fn get(
        &mut self,
        message: RouteNetlinkMessage,
        what: impl fmt::Display,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.patiently(|netlink| netlink.exchange(&message, NLM_F_REQUEST | NLM_F_ACK))
            .map_err(|error| Error::new(format!("cannot {what}"), error))
    }

    /// Lists all objects that the request selects.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        what: &str,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.patiently(|netlink| netlink.exchange(&message, NLM_F_REQUEST | NLM_F_DUMP))
            .map_err(|error| Error::new(format!("cannot list {what}"), error))
    }

    /// Repeats a request that met a passing shortage: bulk additions with per-CPU state outrun the kernel's allocator,
    /// which refills from a worker a moment later, and a dump is interrupted by any change beside it.
    fn patiently<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES_MAX {
            match attempt(self).map_err(|error| (Errno::from_io_error(&error), error)) {
                Err((Some(Errno::NOMEM | Errno::INTR | Errno::BUSY), _)) => thread::sleep(pause),
                Err((_, error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
            pause *= 2;
        }
        attempt(self)
    }

    fn exchange(
        &mut self,
        message: &RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message.clone());
        request.header.flags = flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Answer::default();
        while !self.receive(&mut answer)? {}
        // Only now: a listing must be read to its end, or the socket refuses the next one.
        if answer.interrupted {
            return Err(Errno::INTR.into());
        }
        Ok(answer.messages)
    }

    /// Takes one datagram of the answer; true when it is complete.
    fn receive(&mut self, answer: &mut Answer) -> io::Result<bool> {
        let (bytes, _) = self.socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            // What is left of an exchange that failed half-way is not ours any more.
            if message.header.sequence_number != self.sequence {
                continue;
            }
            answer.interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(true),
                NetlinkPayload::InnerMessage(message) => answer.messages.push(message),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// What came back so far.
#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl Prefix {
    /// The prefix that holds exactly one address.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// Everything of the IPv6 family.
    pub fn any_ipv6() -> Self {
        Self {
            address: IpAddr::from([0u16; 8]),
            length: 0,
        }
    }

    pub(crate) fn family(&self) -> AddressFamily {
        family(self.address)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
