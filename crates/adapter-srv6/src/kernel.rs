//! What the router's namespace holds of ours, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use adapter::SidCounters;
use adapter::router::ROUTER_SIDE;
use linux::link::Link;
use linux::netlink::Prefix;
use linux::nft::schema::NfListObject;
use linux::route::{Action, Route, Seen};
use linux::rule::Rule;
use linux::{Namespace, Netlink, Result, nft, sysctl};

use crate::firewall;
use crate::program::{Device, Objects, PROTOCOL};

/// The length of the link-local prefix.
const LINK_LOCAL_LENGTH: u8 = 64;

/// A look at the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Interfaces by name.
    pub(crate) links: BTreeMap<String, Link>,
    /// Addresses by interface number.
    pub(crate) addresses: BTreeMap<u32, Vec<Prefix>>,
    /// Our routes.
    pub(crate) routes: BTreeSet<Route>,
    /// Our rules.
    pub(crate) rules: BTreeSet<Rule>,
    /// Our firewall table, in comparable form; empty if there is none.
    pub(crate) firewall: Vec<NfListObject<'static>>,
    /// Settings that are not as a router needs them.
    pub(crate) wrong_settings: Vec<String>,
}

impl Kernel {
    /// Reads all of it.
    pub(crate) fn read(namespace: &Namespace) -> Result<Self> {
        let mut netlink = Netlink::open(namespace)?;
        let firewall = nft::list_table(namespace, &firewall::table())?;
        Ok(Self {
            links: netlink
                .links()?
                .into_iter()
                .map(|link| (link.name.clone(), link))
                .collect(),
            addresses: netlink.all_addresses()?,
            routes: netlink
                .routes(PROTOCOL)?
                .into_iter()
                .map(|seen| seen.route)
                .collect(),
            rules: netlink.rules(PROTOCOL)?.into_iter().collect(),
            firewall: firewall::normal(firewall.unwrap_or_default()),
            wrong_settings: wrong_settings(namespace)?,
        })
    }

    /// Whether all objects of an item are there as they should be.
    pub(crate) fn has(&self, objects: &Objects) -> bool {
        objects.device.iter().all(|device| self.has_device(device))
            && objects
                .routes
                .iter()
                .all(|route| self.routes.contains(route))
            && objects.rules.iter().all(|rule| self.rules.contains(rule))
    }

    fn has_device(&self, device: &Device) -> bool {
        let Some(link) = self.links.get(&device.name) else {
            return false;
        };
        let addresses = self.addresses.get(&link.index);
        link.up
            && link.mtu == device.mtu
            && addresses.is_some_and(|addresses| addresses.contains(&router_address()))
    }

    /// The address by which other routers reach this one: the first that is neither loopback nor link-local.
    pub(crate) fn underlay_address(&self) -> Option<Ipv6Addr> {
        let addresses = self.addresses.values().flatten();
        let mut global = addresses.filter_map(|prefix| match prefix.address {
            IpAddr::V6(address) if !address.is_loopback() && !address.is_unicast_link_local() => {
                Some(address)
            }
            _ => None,
        });
        global.next()
    }
}

/// The router's address on every attachment and user port.
pub(crate) fn router_address() -> Prefix {
    Prefix {
        address: IpAddr::V6(ROUTER_SIDE),
        length: LINK_LOCAL_LENGTH,
    }
}

/// What our segments have counted.
pub(crate) fn counters(namespace: &Namespace) -> Result<Vec<SidCounters>> {
    let routes = Netlink::open(namespace)?.routes(PROTOCOL)?;
    Ok(routes.iter().filter_map(of_segment).collect())
}

fn of_segment(seen: &Seen) -> Option<SidCounters> {
    let (Action::Segment { .. }, IpAddr::V6(sid)) =
        (&seen.route.action, seen.route.destination.address)
    else {
        return None;
    };
    let counters = seen.counters?;
    Some(SidCounters {
        sid,
        packets: counters.packets,
        bytes: counters.bytes,
        errors: counters.errors,
    })
}

fn wrong_settings(namespace: &Namespace) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (name, value) in sysctl::ROUTER {
        let seen = sysctl::get(namespace, name)?;
        if seen != *value {
            wrong.push(format!("{name} is {seen}, not {value}"));
        }
    }
    Ok(wrong)
}
