//! The SRv6 parts of a route: encapsulation (`seg6`) and local behaviours (`seg6local`), to and from netlink attributes.
//!
//! The packet library knows neither the counters nor the reduced modes; those are written as raw attributes, as
//! `include/uapi/linux/seg6_local.h` and `seg6_iptunnel.h` lay them out.

use std::fmt;
use std::net::Ipv6Addr;

use netlink_packet_core::{DefaultNla, Emitable, NlaBuffer, NlasIterator};
use netlink_packet_route::route::{
    RouteAttribute, RouteLwEnCapType, RouteLwTunnelEncap, RouteSeg6IpTunnel, RouteSeg6LocalTunnel,
    Seg6Header, Seg6LocalAction, Seg6Mode,
};

use super::Action;

const SEG6_IPTUN_MODE_ENCAP_RED: u32 = 3;
const SEG6_LOCAL_COUNTERS: u16 = 10;
const SEG6_LOCAL_CNT_PACKETS: u16 = 2;
const SEG6_LOCAL_CNT_BYTES: u16 = 3;
const SEG6_LOCAL_CNT_ERRORS: u16 = 4;

/// How an encapsulating route writes its segments (RFC 8986 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// A routing header inside the packet's own IPv6 header; no outer header.
    Inline,
    /// H.Encaps: an outer header and all segments in a routing header.
    Encaps,
    /// H.Encaps.Red: the first segment only as the outer destination; with one segment no routing header at all.
    EncapsReduced,
}

/// What a local segment does with a packet (RFC 8986 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// End: goes on to the next segment.
    End,
    /// End.X: goes on to the next segment through a given neighbour.
    EndX {
        /// The neighbour.
        next_hop: Ipv6Addr,
    },
    /// End.DT6: takes the outer header off and looks the inner destination up in a table.
    EndDt6 {
        /// The table.
        table: u32,
    },
    /// End.DX6: takes the outer header off and sends the packet to a given neighbour.
    EndDx6 {
        /// The neighbour.
        next_hop: Ipv6Addr,
    },
}

/// What a local segment has counted since its route was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were processed.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that could not be processed.
    pub errors: u64,
}

/// The attributes of an encapsulating route.
pub(super) fn encapsulation(mode: Mode, segments: &[Ipv6Addr]) -> [RouteAttribute; 2] {
    let mut header = Seg6Header::default();
    header.mode = match mode {
        Mode::Inline => Seg6Mode::Inline,
        Mode::Encaps => Seg6Mode::Encap,
        Mode::EncapsReduced => Seg6Mode::Other(SEG6_IPTUN_MODE_ENCAP_RED),
    };
    header.segments = segments.to_vec();
    let tunnel = RouteLwTunnelEncap::Seg6(RouteSeg6IpTunnel::Seg6(header));
    [
        RouteAttribute::EncapType(RouteLwEnCapType::Seg6),
        RouteAttribute::Encap(vec![tunnel]),
    ]
}

/// The attributes of a local segment, counters included.
pub(super) fn segment(behaviour: &Behaviour) -> [RouteAttribute; 2] {
    let (action, argument) = match *behaviour {
        Behaviour::End => (Seg6LocalAction::End, None),
        Behaviour::EndX { next_hop } => (
            Seg6LocalAction::EndX,
            Some(RouteSeg6LocalTunnel::Nh6(next_hop)),
        ),
        Behaviour::EndDt6 { table } => (
            Seg6LocalAction::EndDt6,
            Some(RouteSeg6LocalTunnel::Table(table)),
        ),
        Behaviour::EndDx6 { next_hop } => (
            Seg6LocalAction::EndDx6,
            Some(RouteSeg6LocalTunnel::Nh6(next_hop)),
        ),
    };
    let mut attributes = vec![RouteSeg6LocalTunnel::Action(action)];
    attributes.extend(argument);
    attributes.push(RouteSeg6LocalTunnel::Other(counters_request()));
    let attributes = attributes
        .into_iter()
        .map(RouteLwTunnelEncap::Seg6Local)
        .collect();
    [
        RouteAttribute::EncapType(RouteLwEnCapType::Seg6Local),
        RouteAttribute::Encap(attributes),
    ]
}

/// The kernel counts when all three counters are named in the request.
fn counters_request() -> DefaultNla {
    let names = [
        SEG6_LOCAL_CNT_PACKETS,
        SEG6_LOCAL_CNT_BYTES,
        SEG6_LOCAL_CNT_ERRORS,
    ];
    let nested = names.map(|name| DefaultNla::new(name, vec![0; size_of::<u64>()]));
    let mut bytes = vec![0; nested.as_slice().buffer_len()];
    nested.as_slice().emit(&mut bytes);
    DefaultNla::new(SEG6_LOCAL_COUNTERS, bytes)
}

/// The counters among the attributes of a local segment.
pub(super) fn counters(encapsulation: &[RouteLwTunnelEncap]) -> Option<Counters> {
    encapsulation.iter().find_map(|attribute| match attribute {
        RouteLwTunnelEncap::Seg6Local(RouteSeg6LocalTunnel::Other(raw)) => read_counters(raw),
        _ => None,
    })
}

fn read_counters(raw: &DefaultNla) -> Option<Counters> {
    let mut bytes = vec![0; raw.buffer_len()];
    raw.emit(&mut bytes);
    let attribute = NlaBuffer::new_checked(bytes.as_slice()).ok()?;
    if attribute.kind() != SEG6_LOCAL_COUNTERS {
        return None;
    }
    let mut counters = Counters::default();
    for nested in NlasIterator::new(attribute.value()) {
        let nested = nested.ok()?;
        let value = nested.value().try_into().map(u64::from_ne_bytes);
        match nested.kind() {
            SEG6_LOCAL_CNT_PACKETS => counters.packets = value.ok()?,
            SEG6_LOCAL_CNT_BYTES => counters.bytes = value.ok()?,
            SEG6_LOCAL_CNT_ERRORS => counters.errors = value.ok()?,
            _ => {}
        }
    }
    Some(counters)
}

/// What the attributes of a tunnel mean; `None` for what this crate does not write.
pub(super) fn action(device: String, encapsulation: &[RouteLwTunnelEncap]) -> Option<Action> {
    match encapsulation {
        [RouteLwTunnelEncap::Seg6(RouteSeg6IpTunnel::Seg6(header))] => Some(Action::Encapsulate {
            device,
            mode: read_mode(header.mode)?,
            segments: header.segments.clone(),
        }),
        [RouteLwTunnelEncap::Seg6Local(_), ..] => Some(Action::Segment {
            device,
            behaviour: read_behaviour(encapsulation)?,
        }),
        _ => None,
    }
}

fn read_mode(mode: Seg6Mode) -> Option<Mode> {
    match mode {
        Seg6Mode::Inline => Some(Mode::Inline),
        Seg6Mode::Encap => Some(Mode::Encaps),
        Seg6Mode::Other(SEG6_IPTUN_MODE_ENCAP_RED) => Some(Mode::EncapsReduced),
        _ => None,
    }
}

fn read_behaviour(attributes: &[RouteLwTunnelEncap]) -> Option<Behaviour> {
    let (mut action, mut table, mut next_hop) = (None, None, None);
    for attribute in attributes {
        match attribute {
            RouteLwTunnelEncap::Seg6Local(RouteSeg6LocalTunnel::Action(value)) => {
                action = Some(*value)
            }
            RouteLwTunnelEncap::Seg6Local(RouteSeg6LocalTunnel::Table(value)) => {
                table = Some(*value)
            }
            RouteLwTunnelEncap::Seg6Local(RouteSeg6LocalTunnel::Nh6(value)) => {
                next_hop = Some(*value)
            }
            _ => {}
        }
    }
    match action? {
        Seg6LocalAction::End => Some(Behaviour::End),
        Seg6LocalAction::EndX => Some(Behaviour::EndX {
            next_hop: next_hop?,
        }),
        Seg6LocalAction::EndDt6 => Some(Behaviour::EndDt6 { table: table? }),
        Seg6LocalAction::EndDx6 => Some(Behaviour::EndDx6 {
            next_hop: next_hop?,
        }),
        _ => None,
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "H.Insert",
            Self::Encaps => "H.Encaps",
            Self::EncapsReduced => "H.Encaps.Red",
        })
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("End"),
            Self::EndX { next_hop } => write!(f, "End.X {next_hop}"),
            Self::EndDt6 { table } => write!(f, "End.DT6 table {table}"),
            Self::EndDx6 { next_hop } => write!(f, "End.DX6 {next_hop}"),
        }
    }
}
