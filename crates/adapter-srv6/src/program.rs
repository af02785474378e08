//! Which kernel objects each item of a `HostDatapath` is made of. Pure.
//!
//! Per interface there are two tables: what arrives for it (`in`: what End.DT6 looks up) and what it sends (`out`: what
//! the interface's rule looks up). Classified traffic of an interface gets a mark and a table of its own. Their numbers
//! are derived from names, so that they need no allocation; two kinds never meet, and a meeting of two names is noticed
//! when the second is programmed.

use std::net::IpAddr;

use adapter::router::INSTANCE_SIDE;
use api::tcm::{
    Attachment, HostDatapathSpec, LocalSid, SidTarget, Steering, TrafficMatch, UserPort,
};
use api::{Error, ErrorKind, Ipv6Prefix, short_hash};
use linux::netlink::Prefix;
use linux::route::{Action, Behaviour, METRIC, Mode, Route, TABLE_MAIN};
use linux::rule::{Rule, Selector};

/// The owner mark of routes and rules: a number that the kernel leaves to routing daemons and that none is known to use.
pub const PROTOCOL: u8 = 202;

/// The smallest MTU with which the kernel keeps IPv6 on an interface (RFC 8200 §5).
const MTU_MIN: u32 = 1280;

/// The outer IPv6 header and the fixed part of the segment routing header (RFC 8754 §2).
const ENCAPSULATION_BYTES: u32 = 40 + 8;

/// One segment in the header.
const SEGMENT_BYTES: u32 = 16;

/// The rules of classified traffic come before those of whole interfaces, both before the main table.
const PRIORITY_CLASS: u32 = 1000;
const PRIORITY_INTERFACE: u32 = 2000;

/// The kinds of derived tables, told apart by their highest bits.
const TABLES_IN: u32 = 0x4000_0000;
const TABLES_OUT: u32 = 0x8000_0000;
const TABLES_CLASS: u32 = 0xc000_0000;

/// The rest of a table's number is a hash.
const TABLE_HASH: u64 = 0x3fff_ffff;

/// The kernel objects of one item; complete when all of them are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    /// The interface, which exists already, as it should be set up.
    pub(crate) device: Option<Device>,
    /// Routes, in the order in which they are written.
    pub(crate) routes: Vec<Route>,
    /// Rules, written after the routes.
    pub(crate) rules: Vec<Rule>,
}

/// How an interface should be set up: up, with the router's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) mtu: u32,
}

/// The MTU of attachments and user ports: what the underlay leaves after an encapsulation with so many segments.
pub fn attachment_mtu(underlay: u32, segments: usize) -> Result<u32, Error> {
    let segments = u32::try_from(segments).unwrap_or(u32::MAX);
    let overhead = SEGMENT_BYTES
        .saturating_mul(segments)
        .saturating_add(ENCAPSULATION_BYTES);
    let mtu = underlay.saturating_sub(overhead);
    if mtu >= MTU_MIN {
        return Ok(mtu);
    }
    let need = MTU_MIN.saturating_add(overhead);
    let what = format!(
        "mtu {underlay} is too small: encapsulation takes {overhead} bytes and IPv6 needs {MTU_MIN}, so at least {need}"
    );
    Err(Error::new(ErrorKind::Invalid, what))
}

/// The MTU of what a datapath that is asked for attaches. One that attaches nothing needs no room: it only clears.
pub(crate) fn wanted_mtu(datapath: &HostDatapathSpec) -> Result<u32, Error> {
    match attaches(datapath) {
        true => attachment_mtu(datapath.mtu, longest(datapath)),
        false => Ok(known_mtu(datapath)),
    }
}

/// The MTU of what is known, which joins what is wanted with what was: such a mixture must never keep a router from
/// being read.
pub(crate) fn known_mtu(datapath: &HostDatapathSpec) -> u32 {
    attachment_mtu(datapath.mtu, longest(datapath)).unwrap_or(MTU_MIN)
}

/// Whether it has anything whose interface has an MTU.
pub(crate) fn attaches(datapath: &HostDatapathSpec) -> bool {
    !datapath.attachments.is_empty() || !datapath.user_ports.is_empty()
}

/// The segments of the longest encapsulation of this host.
fn longest(datapath: &HostDatapathSpec) -> usize {
    let steering = datapath.steering.iter();
    let lengths = steering.map(|steering| steering.segments.len());
    lengths.max().unwrap_or(1).max(1)
}

/// An attachment: its interface, the way to the instance, and the rule for what the instance sends.
pub(crate) fn attachment(attachment: &Attachment, mtu: u32) -> Objects {
    interface(
        &attachment.interface,
        to_instance(&attachment.interface),
        mtu,
    )
}

/// A user port: its interface, the way to the users, and the rule for what they send.
pub(crate) fn user_port(port: &UserPort, mtu: u32) -> Objects {
    interface(&port.interface, to_users(port), mtu)
}

fn interface(name: &str, delivery: Route, mtu: u32) -> Objects {
    let rule = Rule {
        priority: PRIORITY_INTERFACE,
        selector: Selector::InputDevice(name.to_owned()),
        table: table(TABLES_OUT, &["out", name]),
        protocol: PROTOCOL,
    };
    Objects {
        device: Some(Device {
            name: name.to_owned(),
            mtu,
        }),
        routes: vec![delivery],
        rules: vec![rule],
    }
}

/// A segment: first the way behind it, then the segment. A user port that nobody described has no way behind it.
pub(crate) fn sid(sid: &LocalSid, ports: &[UserPort]) -> Option<Objects> {
    let delivery = match &sid.target {
        SidTarget::Attachment { interface } => to_instance(interface),
        SidTarget::UserPort { interface } => {
            to_users(ports.iter().find(|port| port.interface == *interface)?)
        }
    };
    let (table, device) = (
        delivery.table,
        delivery.action.device().unwrap_or_default().to_owned(),
    );
    let segment = Action::Segment {
        device,
        behaviour: Behaviour::EndDt6 { table },
    };
    Some(Objects {
        routes: vec![delivery, route(TABLE_MAIN, Prefix::host(sid.sid), segment)],
        ..Objects::default()
    })
}

/// Steering: the encapsulating route, and for classified traffic the rule for its mark. The marking is the firewall's.
pub(crate) fn steering(steering: &Steering) -> Objects {
    let encapsulate = Action::Encapsulate {
        device: steering.interface.clone(),
        mode: Mode::Encaps,
        segments: steering.segments.clone(),
    };
    let destination = prefix(steering.matching.destination);
    let mark = mark(&steering.interface, &steering.matching);
    let table = mark.unwrap_or_else(|| table(TABLES_OUT, &["out", &steering.interface]));
    let rule = mark.map(|mark| Rule {
        priority: PRIORITY_CLASS,
        selector: Selector::Mark(mark),
        table,
        protocol: PROTOCOL,
    });
    Objects {
        device: None,
        routes: vec![route(table, destination, encapsulate)],
        rules: rule.into_iter().collect(),
    }
}

/// The mark of classified traffic, which is also the number of its table; none where everything is meant.
pub(crate) fn mark(interface: &str, matching: &TrafficMatch) -> Option<u32> {
    if matching.classifier.is_empty() {
        return None;
    }
    let mut parts = vec![
        "class".to_owned(),
        interface.to_owned(),
        matching.destination.to_string(),
    ];
    let classes = matching.classifier.iter();
    parts.extend(classes.map(|class| format!("{:?} {}", class.protocol, class.port)));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(table(TABLES_CLASS, &parts))
}

/// What arrives goes to the instance, whatever its destination: a function forwards for others.
fn to_instance(interface: &str) -> Route {
    let forward = Action::Forward {
        device: interface.to_owned(),
        gateway: Some(IpAddr::V6(INSTANCE_SIDE)),
    };
    route(
        table(TABLES_IN, &["in", interface]),
        Prefix::any_ipv6(),
        forward,
    )
}

/// What arrives goes to the user that it is for, if that is one of the port's.
fn to_users(port: &UserPort) -> Route {
    let forward = Action::Forward {
        device: port.interface.clone(),
        gateway: None,
    };
    route(
        table(TABLES_IN, &["in", &port.interface]),
        prefix(port.prefix),
        forward,
    )
}

fn route(table: u32, destination: Prefix, action: Action) -> Route {
    Route {
        table,
        destination,
        metric: METRIC,
        action,
        protocol: PROTOCOL,
    }
}

fn table(kind: u32, parts: &[&str]) -> u32 {
    let hash = u32::try_from(short_hash(parts) & TABLE_HASH).expect("thirty bits fit");
    kind | hash
}

pub(crate) fn prefix(prefix: Ipv6Prefix) -> Prefix {
    Prefix {
        address: IpAddr::V6(prefix.address()),
        length: prefix.length(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::example::datapath;

    /// Compares objects line by line, with the derived numbers by name.
    fn check(objects: &Objects, expected: &[&str]) {
        let class = mark("access", &datapath().steering[0].matching).expect("it is classified");
        let names = [
            (table(TABLES_IN, &["in", "gleft"]).to_string(), "IN_LEFT"),
            (table(TABLES_OUT, &["out", "gleft"]).to_string(), "OUT_LEFT"),
            (table(TABLES_IN, &["in", "access"]).to_string(), "IN_ACCESS"),
            (
                table(TABLES_OUT, &["out", "access"]).to_string(),
                "OUT_ACCESS",
            ),
            (class.to_string(), "CLASS"),
            (format!("{class:#x}"), "MARK"),
        ];
        let named = |line: String| {
            let replace =
                |line: String, (number, name): &(String, &str)| line.replace(number, name);
            names.iter().fold(line, replace)
        };
        let routes = objects.routes.iter().map(Route::to_string);
        let lines = routes.chain(objects.rules.iter().map(Rule::to_string));
        let lines: Vec<String> = lines.map(named).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn each_item_is_made_of_these_objects() {
        let datapath = datapath();
        let ports = &datapath.user_ports;
        check(
            &attachment(&datapath.attachments[0], 1436),
            &[
                "::/0 via fe80::2 dev gleft table IN_LEFT",
                "2000: iif gleft table OUT_LEFT",
            ],
        );
        check(
            &user_port(&ports[0], 1436),
            &[
                "fd01:0:0:1::/64 dev access table IN_ACCESS",
                "2000: iif access table OUT_ACCESS",
            ],
        );
        check(
            &sid(&datapath.sids[0], ports).expect("complete"),
            &[
                "::/0 via fe80::2 dev gleft table IN_LEFT",
                "fcff:1::1/128 End.DT6 table IN_LEFT dev gleft table 254",
            ],
        );
        check(
            &steering(&datapath.steering[0]),
            &[
                "fd01:0:0:2::20/128 H.Encaps fcff:1::1 dev access table CLASS",
                "1000: fwmark MARK table CLASS",
            ],
        );
        check(
            &steering(&datapath.steering[1]),
            &["fd01:0:0:1::/64 H.Encaps fcff:1::2 dev gleft table OUT_LEFT"],
        );
    }

    #[test]
    fn a_segment_to_a_port_that_nobody_described_is_no_segment() {
        assert_eq!(sid(&datapath().sids[1], &[]), None);
    }

    #[test]
    fn what_encapsulation_takes_is_left_to_it() {
        let mtu = |mtu: u32, segments: usize| {
            let mut datapath = datapath();
            datapath.mtu = mtu;
            datapath.steering[0].segments = vec![Ipv6Addr::LOCALHOST; segments];
            wanted_mtu(&datapath)
        };
        assert_eq!(mtu(1500, 1).expect("fits"), 1436);
        assert_eq!(mtu(1500, 3).expect("fits"), 1404);
        assert_eq!(mtu(1344, 1).expect("just fits"), 1280);
        let refused = mtu(1343, 1).expect_err("too small");
        assert!(refused.what.contains("at least 1344"), "{refused}");
    }

    #[test]
    fn what_attaches_nothing_needs_no_room() {
        let mut datapath = datapath();
        datapath.mtu = 0;
        assert_eq!(known_mtu(&datapath), MTU_MIN);
        wanted_mtu(&datapath).expect_err("it attaches something");
        datapath.attachments.clear();
        datapath.user_ports.clear();
        wanted_mtu(&datapath).expect("it only clears");
    }

    #[test]
    fn classes_have_tables_of_their_own() {
        let one = datapath().steering[0].matching.clone();
        let mut other = one.clone();
        other.classifier[0].port = 81;
        assert_ne!(mark("access", &one), mark("access", &other));
        assert_ne!(mark("access", &one), mark("gleft", &one));
        assert_eq!(mark("gleft", &datapath().steering[1].matching), None);
    }
}
