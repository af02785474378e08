//! Routes as comparable values: plain forwarding, SRv6 encapsulation (RFC 8986 §5) and SRv6 local behaviours (§4).
//!
//! A route is identified by table, destination and metric; [`Netlink::replace_route`] puts a new one in the place of the
//! old in one step, so that no packet meets a hole. Routes of other kinds are read as [`Action::Foreign`] and cannot be
//! written.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteLwTunnelEncap, RouteMessage, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{Prefix, Write};
use crate::{Netlink, Result};

mod srv6;

pub use srv6::{Behaviour, Counters, Mode};

/// The table that packets meet when no rule says otherwise.
pub const TABLE_MAIN: u32 = 254;

/// The table of the namespace's own addresses; what ends in the namespace itself must be looked up here.
pub const TABLE_LOCAL: u32 = 255;

/// The metric that the kernel gives an IPv6 route without one; it is written out so that wanted equals seen.
pub const METRIC: u32 = 1024;

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The table it lies in.
    pub table: u32,
    /// What it is for.
    pub destination: Prefix,
    /// Of two routes for the same destination the lower metric wins.
    pub metric: u32,
    /// What happens to the packet.
    pub action: Action,
    /// Who made it: a number in the range that the kernel leaves to routing daemons.
    pub protocol: u8,
}

/// What a route does to a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Sends it out of a device, to a gateway or to the destination itself.
    Forward {
        /// The device.
        device: String,
        /// The next router on it.
        gateway: Option<IpAddr>,
    },
    /// Wraps it in an outer IPv6 header with a list of segments, then looks the outer destination up again.
    Encapsulate {
        /// Any device of the namespace but the loopback: the kernel wants one, and removes the route with it.
        device: String,
        /// How the segments are written.
        mode: Mode,
        /// The segments, the first to be visited first.
        segments: Vec<Ipv6Addr>,
    },
    /// Treats the destination as a segment of this namespace, with counters.
    Segment {
        /// Any device of the namespace but the loopback, as above.
        device: String,
        /// What the segment does.
        behaviour: Behaviour,
    },
    /// Refuses it with an ICMP error.
    Unreachable,
    /// Something this crate does not write.
    Foreign,
}

/// A route as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The route.
    pub route: Route,
    /// What a segment has counted.
    pub counters: Option<Counters>,
}

impl Netlink {
    /// Adds a route, or puts it in the place of the one with the same table, destination and metric, in one step.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        let message = self.encode(route)?;
        let message = RouteNetlinkMessage::NewRoute(message);
        self.change(message, Write::Replace, format_args!("write route {route}"))
    }

    /// Removes the route with that table, destination, metric and protocol; nothing happens if there is none.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::DelRoute(frame(route));
        match self.change(message, Write::Plain, format_args!("delete route {route}")) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// All unicast IPv6 routes that `protocol` made, in all tables, with their counters, in order.
    pub fn routes(&mut self, protocol: u8) -> Result<Vec<Seen>> {
        let mut filter = RouteMessage::default();
        filter.header.address_family = AddressFamily::Inet6;
        filter.header.protocol = RouteProtocol::from(protocol);
        let messages = self.dump(RouteNetlinkMessage::GetRoute(filter), "routes")?;
        let devices = self.device_names()?;
        let mut routes: Vec<Seen> = messages
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(message) => decode(message, &devices),
                _ => None,
            })
            .filter(|seen| seen.route.protocol == protocol)
            .collect();
        routes.sort_by(|a, b| a.route.cmp(&b.route));
        Ok(routes)
    }

    fn device_names(&mut self) -> Result<BTreeMap<u32, String>> {
        Ok(self
            .links()?
            .into_iter()
            .map(|link| (link.index, link.name))
            .collect())
    }

    fn encode(&mut self, route: &Route) -> Result<RouteMessage> {
        let mut message = frame(route);
        if let Some(device) = route.action.device() {
            let index = self.index(device)?;
            message.attributes.push(RouteAttribute::Oif(index));
        }
        match &route.action {
            Action::Forward { gateway, .. } => {
                message.attributes.extend(gateway.map(gateway_attribute))
            }
            Action::Encapsulate { mode, segments, .. } => {
                message
                    .attributes
                    .extend(srv6::encapsulation(*mode, segments));
            }
            Action::Segment { behaviour, .. } => {
                message.attributes.extend(srv6::segment(behaviour))
            }
            Action::Unreachable => message.header.kind = RouteType::Unreachable,
            Action::Foreign => {}
        }
        Ok(message)
    }
}

/// The part that identifies a route.
fn frame(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = route.destination.family();
    message.header.destination_prefix_length = route.destination.length;
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.scope = RouteScope::Universe;
    message.header.kind = match route.action {
        Action::Unreachable => RouteType::Unreachable,
        _ => RouteType::Unicast,
    };
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RouteAttribute::Table(route.table),
        RouteAttribute::Priority(route.metric),
        RouteAttribute::Destination(RouteAddress::from(route.destination.address)),
    ];
    message
}

fn gateway_attribute(gateway: IpAddr) -> RouteAttribute {
    RouteAttribute::Gateway(RouteAddress::from(gateway))
}

/// Reads one route; multicast and the like give nothing.
fn decode(message: &RouteMessage, devices: &BTreeMap<u32, String>) -> Option<Seen> {
    let mut parts = Parts {
        table: u32::from(message.header.table),
        ..Parts::default()
    };
    for attribute in &message.attributes {
        parts.take(attribute, devices);
    }
    let any = IpAddr::from([0u16; 8]);
    let action = match message.header.kind {
        RouteType::Unicast => parts.action(),
        RouteType::Unreachable => Action::Unreachable,
        _ => return None,
    };
    let route = Route {
        table: parts.table,
        destination: Prefix {
            address: parts.destination.unwrap_or(any),
            length: message.header.destination_prefix_length,
        },
        metric: parts.metric,
        action,
        protocol: u8::from(message.header.protocol),
    };
    Some(Seen {
        route,
        counters: srv6::counters(&parts.encapsulation),
    })
}

/// What the attributes of a route message say.
#[derive(Default)]
struct Parts {
    table: u32,
    destination: Option<IpAddr>,
    metric: u32,
    device: Option<String>,
    gateway: Option<IpAddr>,
    encapsulation: Vec<RouteLwTunnelEncap>,
    several_hops: bool,
}

impl Parts {
    fn take(&mut self, attribute: &RouteAttribute, devices: &BTreeMap<u32, String>) {
        match attribute {
            RouteAttribute::Table(table) => self.table = *table,
            RouteAttribute::Destination(address) => self.destination = ip(address),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Encap(encapsulation) => self.encapsulation.clone_from(encapsulation),
            RouteAttribute::MultiPath(_) | RouteAttribute::NhId(_) => self.several_hops = true,
            RouteAttribute::Oif(index) => self.device = devices.get(index).cloned(),
            _ => {}
        }
    }

    fn action(&self) -> Action {
        let Some(device) = self.device.clone().filter(|_| !self.several_hops) else {
            return Action::Foreign;
        };
        if self.encapsulation.is_empty() {
            return Action::Forward {
                device,
                gateway: self.gateway,
            };
        }
        srv6::action(device, &self.encapsulation).unwrap_or(Action::Foreign)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

impl Action {
    /// The device that the route hangs on.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Forward { device, .. }
            | Self::Encapsulate { device, .. }
            | Self::Segment { device, .. } => Some(device),
            Self::Unreachable | Self::Foreign => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} table {}",
            self.destination, self.action, self.table
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward {
                device,
                gateway: None,
            } => write!(f, "dev {device}"),
            Self::Forward {
                device,
                gateway: Some(gateway),
            } => write!(f, "via {gateway} dev {device}"),
            Self::Encapsulate {
                device,
                mode,
                segments,
            } => {
                let segments: Vec<String> = segments.iter().map(Ipv6Addr::to_string).collect();
                write!(f, "{mode} {} dev {device}", segments.join(","))
            }
            Self::Segment { device, behaviour } => write!(f, "{behaviour} dev {device}"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Foreign => f.write_str("foreign"),
        }
    }
}
