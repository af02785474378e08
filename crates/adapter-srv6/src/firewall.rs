//! The nftables table of the router: what instances and users may send, before any route is asked. Pure.
//!
//! - Only destinations that are steered pass: a packet that no chain carries never reaches the underlay (fail closed).
//! - IPv6 in IPv6 and routing headers are dropped: a tenant cannot speak to segments itself.
//! - Classified traffic gets the mark that its rule looks for.
//! - TCP announces segments that fit after encapsulation: the packet-too-big of an encapsulated packet would go to the
//!   encapsulating router and never reach the sender.
//!
//! Everything that depends on the number of instances is a set, so that the cost per packet stays flat.

use std::borrow::Cow;
use std::collections::BTreeSet;

use api::Ipv6Prefix;
use api::tcm::{Classifier, HostDatapathSpec, TrafficMatch};
use api::wdm::Protocol;
use linux::nft::schema::{NfListObject, Table};
use linux::nft::types::NfFamily;
use serde_json::{Value, json};

use crate::program::mark;

/// The table's name.
const NAME: &str = "groma";

/// IPv6 and TCP headers without options.
const HEADER_BYTES: u32 = 60;

/// The protocol number of IPv6 in IPv6.
const IPV6_IN_IPV6: u8 = 41;

/// The table, which nobody else uses.
pub(crate) fn table() -> Table<'static> {
    Table {
        family: NfFamily::IP6,
        name: Cow::Borrowed(NAME),
        handle: None,
    }
}

/// What the table holds, in the order in which the kernel lists it; nothing when nothing is attached.
pub(crate) fn content(datapath: &HostDatapathSpec, mtu: u32) -> Vec<NfListObject<'static>> {
    let interfaces = interfaces(datapath);
    if interfaces.is_empty() {
        return Vec::new();
    }
    let mut objects = vec![
        json!({"counter": {"family": "ip6", "table": NAME, "name": "forged"}}),
        json!({"counter": {"family": "ip6", "table": NAME, "name": "refused"}}),
        set(
            "interfaces",
            "ifname",
            interfaces.into_iter().map(Value::from).collect(),
        ),
        set(
            "destinations",
            "ipv6_addr",
            destinations(datapath).iter().map(prefix).collect(),
        ),
        json!({"chain": {
            "family": "ip6", "table": NAME, "name": "prerouting",
            "type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept",
        }}),
    ];
    objects.extend(guards());
    objects.push(clamp(mtu.saturating_sub(HEADER_BYTES)));
    objects.extend(classes(datapath));
    normal(objects.into_iter().map(read).collect())
}

/// A listing without what the kernel adds (handles, counts, the order of a set), so that it can be compared.
pub(crate) fn normal(objects: Vec<NfListObject<'static>>) -> Vec<NfListObject<'static>> {
    let objects = objects.into_iter().filter_map(|object| match object {
        NfListObject::Table(_) => None,
        NfListObject::Chain(mut chain) => {
            chain.handle = None;
            Some(NfListObject::Chain(chain))
        }
        NfListObject::Rule(mut rule) => {
            rule.handle = None;
            Some(NfListObject::Rule(rule))
        }
        NfListObject::Counter(mut counter) => {
            (counter.handle, counter.packets, counter.bytes) = (None, None, None);
            Some(NfListObject::Counter(counter))
        }
        NfListObject::Set(mut set) => {
            set.handle = None;
            if let Some(elements) = &mut set.elem {
                elements
                    .to_mut()
                    .sort_by_cached_key(|element| format!("{element:?}"));
            }
            Some(NfListObject::Set(set))
        }
        other => Some(other),
    });
    objects.collect()
}

/// Where the two first differ; one line is enough, since the table is always written whole.
pub(crate) fn difference(
    wanted: &[NfListObject<'static>],
    seen: &[NfListObject<'static>],
) -> Option<String> {
    let unlike = wanted
        .iter()
        .zip(seen)
        .find(|(wanted, seen)| wanted != seen);
    match unlike {
        Some((wanted, seen)) => Some(format!(
            "firewall has {} instead of {}",
            text(seen),
            text(wanted)
        )),
        None if wanted.len() > seen.len() => {
            Some(format!("firewall lacks {}", text(&wanted[seen.len()])))
        }
        None => seen
            .get(wanted.len())
            .map(|more| format!("firewall has {} besides", text(more))),
    }
}

fn text(object: &NfListObject<'_>) -> String {
    serde_json::to_string(object).unwrap_or_else(|error| error.to_string())
}

fn interfaces(datapath: &HostDatapathSpec) -> BTreeSet<String> {
    let attachments = datapath
        .attachments
        .iter()
        .map(|attachment| &attachment.interface);
    let ports = datapath.user_ports.iter().map(|port| &port.interface);
    attachments.chain(ports).cloned().collect()
}

/// The steered destinations; one inside another is left out, since a set of intervals takes no overlap.
fn destinations(datapath: &HostDatapathSpec) -> BTreeSet<Ipv6Prefix> {
    let steering = datapath.steering.iter();
    let all: BTreeSet<Ipv6Prefix> = steering
        .map(|steering| steering.matching.destination)
        .collect();
    let covered = |one: &Ipv6Prefix| {
        let wider = all.iter().filter(|other| other.length() < one.length());
        wider.into_iter().any(|other| other.contains(one.address()))
    };
    all.iter().filter(|one| !covered(one)).copied().collect()
}

fn set(name: &str, kind: &str, elements: Vec<Value>) -> Value {
    let mut set = json!({"family": "ip6", "table": NAME, "name": name, "type": kind});
    if kind == "ipv6_addr" {
        set["flags"] = json!(["interval"]);
    }
    if !elements.is_empty() {
        set["elem"] = Value::from(elements);
    }
    json!({ "set": set })
}

/// Packets of the router's own and of neighbours on the link pass; forged and unsteered ones end here.
fn guards() -> Vec<Value> {
    let here = json!({"set": [
        {"prefix": {"addr": "fe80::", "len": 10}},
        {"prefix": {"addr": "ff00::", "len": 8}},
    ]});
    let (meta, destination) = (|key| json!({"meta": {"key": key}}), field("ip6", "daddr"));
    vec![
        rule(vec![
            matching("!=", meta("iifname"), json!("@interfaces")),
            json!({"return": null}),
        ]),
        refuse(
            matching("==", meta("l4proto"), json!(IPV6_IN_IPV6)),
            "forged",
        ),
        refuse(
            matching("==", json!({"exthdr": {"name": "rt"}}), json!(true)),
            "forged",
        ),
        rule(vec![
            matching("==", destination.clone(), here),
            json!({"return": null}),
        ]),
        refuse(
            matching("!=", destination, json!("@destinations")),
            "refused",
        ),
    ]
}

fn refuse(condition: Value, counter: &str) -> Value {
    rule(vec![
        condition,
        json!({"counter": counter}),
        json!({"drop": null}),
    ])
}

fn clamp(segment: u32) -> Value {
    let option = json!({"tcp option": {"name": "maxseg", "field": "size"}});
    rule(vec![
        matching(">", option.clone(), json!(segment)),
        json!({"mangle": {"key": option, "value": segment}}),
    ])
}

/// One rule per class; the same traffic steered two ways, as during a change, is marked once.
fn classes(datapath: &HostDatapathSpec) -> Vec<Value> {
    let steering = datapath.steering.iter();
    let slots: BTreeSet<_> = steering
        .map(|one| (&one.interface, &one.matching))
        .collect();
    let mut rules = Vec::new();
    for (interface, matching) in slots {
        if let Some(mark) = mark(interface, matching) {
            let classes = matching.classifier.iter();
            rules.extend(classes.map(|class| classify(interface, matching, class, mark)));
        }
    }
    rules
}

fn classify(interface: &str, matches: &TrafficMatch, class: &Classifier, mark: u32) -> Value {
    let protocol = match class.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let destination = prefix(&matches.destination);
    rule(vec![
        matching("==", json!({"meta": {"key": "iifname"}}), json!(interface)),
        matching("==", field("ip6", "daddr"), destination),
        matching("==", field(protocol, "dport"), json!(class.port)),
        json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": mark}}),
    ])
}

fn rule(expressions: Vec<Value>) -> Value {
    json!({"rule": {"family": "ip6", "table": NAME, "chain": "prerouting", "expr": expressions}})
}

fn matching(op: &str, left: Value, right: Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

fn field(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

/// One address is listed as an address, a wider prefix as a prefix.
fn prefix(prefix: &Ipv6Prefix) -> Value {
    match (prefix.address().to_string(), prefix.length()) {
        (address, 128) => json!(address),
        (address, length) => json!({"prefix": {"addr": address, "len": length}}),
    }
}

fn read(object: Value) -> NfListObject<'static> {
    serde_json::from_value(object).expect("the objects of this file follow the schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::datapath;

    #[test]
    fn a_router_without_interfaces_has_no_table() {
        let mut datapath = datapath();
        datapath.attachments.clear();
        datapath.user_ports.clear();
        assert_eq!(content(&datapath, 1436), []);
    }

    #[test]
    fn a_destination_inside_another_is_left_out_of_the_set() {
        let mut datapath = datapath();
        let wide: Ipv6Prefix = "fd01::/32".parse().expect("an address of the tests");
        datapath.steering[0].matching.destination = wide;
        assert_eq!(destinations(&datapath), BTreeSet::from([wide]));
    }

    #[test]
    fn the_first_difference_is_named() {
        let wanted = content(&datapath(), 1436);
        assert_eq!(difference(&wanted, &wanted), None);
        let lacks = difference(&wanted, &wanted[1..]).expect("one is missing");
        assert!(
            lacks.contains("instead of") && lacks.contains("forged"),
            "{lacks}"
        );
        let short = difference(&wanted, &wanted[..2]).expect("many are missing");
        assert!(short.starts_with("firewall lacks"), "{short}");
        let more = difference(&wanted[..2], &wanted).expect("there is more");
        assert!(more.ends_with("besides"), "{more}");
    }

    #[test]
    fn segments_of_tcp_fit_and_classes_are_marked() {
        let text = serde_json::to_string(&content(&datapath(), 1436)).expect("text");
        assert!(text.contains(r#""value":1376"#), "{text}");
        assert_eq!(text.matches("dport").count(), 1, "{text}");
    }
}
