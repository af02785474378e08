//! Follows a packet through the routers of all hosts: where it goes, or where it is lost and why.
//!
//! It knows nothing of chains and instances but what the routers have: the names of attachments tell which interfaces
//! are the two sides of one function. Functions are taken to pass everything on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use api::tcm::{AppliedDatapath, Attachment, HostDatapathSpec, SidTarget, Steering, UserPort};
use api::wdm::Protocol;

/// A packet that passes more tunnels goes round; a chain has 16 functions at most.
const TUNNELS_MAX: usize = 64;

/// A packet and where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The host at whose router it arrives.
    pub host: String,
    /// The interface of the router at which it arrives.
    pub interface: String,
    /// Where it goes to.
    pub destination: Ipv6Addr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its destination port.
    pub port: u16,
}

/// A router's interface and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The interface.
    pub interface: String,
    /// `namespace/instance/interface`, or `users PREFIX`; empty where the router does not have it.
    pub of: String,
}

/// The end of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where the packet was encapsulated.
    pub from: Place,
    /// The segment that it was sent to.
    pub sid: Ipv6Addr,
    /// Where it was handed over.
    pub to: Place,
}

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The tunnels that it passed, in order.
    pub tunnels: Vec<Arrival>,
    /// Why it went no further; not set if it was delivered to users or to an end.
    pub lost: Option<Loss>,
}

/// Where and why a packet is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing steers it on from here.
    NotSteered(Place),
    /// No router has the segment.
    NoSegment {
        /// Where it was encapsulated.
        from: Place,
        /// The segment.
        sid: Ipv6Addr,
    },
    /// The segment ends at an interface that is not set up.
    NoTarget(Place),
    /// It does not belong to the users at the port where it arrived.
    NotTheirs(Place),
    /// A function has no other side.
    NoOtherSide(Place),
    /// It goes round.
    Loop,
}

impl Trace {
    /// The last place that it reached, if any.
    pub fn last(&self) -> Option<&Place> {
        self.tunnels.last().map(|arrival| &arrival.to)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.of.is_empty() {
            "nothing"
        } else {
            &self.of
        };
        write!(f, "{of} on host {} ({})", self.host, self.interface)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSteered(place) => write!(f, "nothing steers it on from {place}"),
            Self::NoSegment { from, sid } => {
                write!(f, "no host has the segment {sid} to which {from} sends it")
            }
            Self::NoTarget(place) => write!(f, "the segment ends at {place}, which is not set up"),
            Self::NotTheirs(place) => write!(f, "its destination is not one of {place}"),
            Self::NoOtherSide(place) => write!(f, "the function has no other side than {place}"),
            Self::Loop => write!(f, "it goes round after {TUNNELS_MAX} tunnels"),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for arrival in &self.tunnels {
            writeln!(f, "{} -> {} -> {}", arrival.from, arrival.sid, arrival.to)?;
        }
        match &self.lost {
            None => writeln!(f, "delivered"),
            Some(loss) => writeln!(f, "lost: {loss}"),
        }
    }
}

/// What a router will have once all of its plan is applied.
pub fn planned(spec: &HostDatapathSpec) -> AppliedDatapath {
    AppliedDatapath {
        attachments: spec.attachments.clone(),
        user_ports: spec.user_ports.clone(),
        sids: spec.sids.clone(),
        steering: spec.steering.clone(),
    }
}

/// Follows a packet through the routers, named by their hosts.
pub fn trace(routers: &BTreeMap<String, AppliedDatapath>, packet: &Packet) -> Trace {
    let mut tunnels: Vec<Arrival> = Vec::new();
    let mut at = place(routers, &packet.host, &packet.interface);
    let lost = loop {
        if tunnels.len() == TUNNELS_MAX {
            break Some(Loss::Loop);
        }
        let arrival = match pass_tunnel(routers, packet, at) {
            Ok(arrival) => arrival,
            Err(loss) => break Some(loss),
        };
        let to = arrival.to.clone();
        tunnels.push(arrival);
        match other_side(routers, to) {
            Ok(Some(side)) => at = side,
            Ok(None) => break None,
            Err(loss) => break Some(loss),
        }
    };
    Trace { tunnels, lost }
}

fn pass_tunnel(
    routers: &BTreeMap<String, AppliedDatapath>,
    packet: &Packet,
    from: Place,
) -> Result<Arrival, Loss> {
    let sid = routers
        .get(&from.host)
        .and_then(|router| steered(router, &from.interface, packet));
    let Some(sid) = sid else {
        return Err(Loss::NotSteered(from));
    };
    let ends = routers.iter().find_map(|(host, router)| {
        let local = router.sids.iter().find(|local| local.sid == sid)?;
        Some((host, router, &local.target))
    });
    let Some((host, router, target)) = ends else {
        return Err(Loss::NoSegment { from, sid });
    };
    let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) = target;
    let to = place(routers, host, interface);
    if to.of.is_empty() {
        return Err(Loss::NoTarget(to));
    }
    let theirs = |port: &UserPort| port.prefix.contains(packet.destination);
    match port(router, interface) {
        Some(port) if !theirs(port) => Err(Loss::NotTheirs(to)),
        _ => Ok(Arrival { from, sid, to }),
    }
}

/// The segment by which a router sends a packet on: the longest prefix wins, as in its tables.
fn steered(router: &AppliedDatapath, interface: &str, packet: &Packet) -> Option<Ipv6Addr> {
    let matches = |steering: &&Steering| {
        let classifier = &steering.matching.classifier;
        let named =
            |one: &api::tcm::Classifier| one.protocol == packet.protocol && one.port == packet.port;
        steering.interface == interface
            && steering.matching.destination.contains(packet.destination)
            && (classifier.is_empty() || classifier.iter().any(named))
    };
    let steering = router.steering.iter().filter(matches);
    let longest = steering.max_by_key(|one| one.matching.destination.length())?;
    longest.segments.last().copied()
}

/// Where a packet comes out again: at the other side of a function; nowhere at users and at an end.
fn other_side(
    routers: &BTreeMap<String, AppliedDatapath>,
    at: Place,
) -> Result<Option<Place>, Loss> {
    let Some((instance, interface)) = at.of.rsplit_once('/') else {
        return Ok(None);
    };
    let other = match interface {
        "left" => "right",
        "right" => "left",
        _ => return Ok(None),
    };
    let of = format!("{instance}/{other}");
    let router = routers.get(&at.host);
    let attachment = router.and_then(|router| {
        let mut attachments = router.attachments.iter();
        attachments.find(|attachment| attachment.of == of)
    });
    match attachment {
        Some(attachment) => Ok(Some(place(routers, &at.host, &attachment.interface))),
        None => Err(Loss::NoOtherSide(at)),
    }
}

fn place(routers: &BTreeMap<String, AppliedDatapath>, host: &str, interface: &str) -> Place {
    let router = routers.get(host);
    let of = router.and_then(|router| {
        let here = |attachment: &&Attachment| attachment.interface == interface;
        let attachment = router.attachments.iter().find(here);
        let of = attachment.map(|attachment| attachment.of.clone());
        of.or_else(|| Some(format!("users {}", port(router, interface)?.prefix)))
    });
    Place {
        host: host.to_owned(),
        interface: interface.to_owned(),
        of: of.unwrap_or_default(),
    }
}

fn port<'a>(router: &'a AppliedDatapath, interface: &str) -> Option<&'a UserPort> {
    router
        .user_ports
        .iter()
        .find(|port| port.interface == interface)
}

#[cfg(test)]
mod tests;
