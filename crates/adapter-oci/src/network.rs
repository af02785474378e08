//! The network of a container: its own namespace and a pair of interfaces for each attachment to the host's router.
//!
//! Inside, an end has its service address and one way out; a function forwards what comes in at `left` out of `right` and
//! the other way round, and has no way for anything else. The router's end of each pair gets the gateway's address;
//! everything else in the router belongs to whoever programs it.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;

use adapter::ContainerInterface;
use adapter::router::{INSTANCE_SIDE, ROUTER_SIDE};
use api::wdm::InterfaceRole;
use linux::link::{Veth, ensure_pair};
use linux::netlink::Prefix;
use linux::process::Process;
use linux::route::{Action, METRIC, Route, TABLE_MAIN};
use linux::rule::{Rule, Selector};
use linux::{Namespace, Netlink, Result, netns, sysctl};

use crate::host::namespace_file;

/// The length of the link-local prefix.
const LINK_LOCAL_LENGTH: u8 = 64;

/// The owner mark of routes and rules inside.
const PROTOCOL: u8 = 201;

/// The tables of a function: where packets from its left side, and from its right side, are looked up.
const TABLES: [u32; 2] = [101, 102];

/// The priority of a function's first rule.
const PRIORITY: u32 = 1000;

/// What every container's namespace needs: usable addresses at once, only the routes that it is given, only the addresses
/// that it is given (`addr_gen_mode` 1), and no reverse path filter, since a function's paths differ by direction.
const SETTINGS: &[(&str, &str)] = &[
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.addr_gen_mode", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
];

/// What a function needs besides.
const FORWARDING: &[(&str, &str)] = &[
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.forwarding", "1"),
    ("net.ipv4.ip_forward", "1"),
];

/// What a container is attached to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// The name of its namespace.
    pub(crate) name: String,
    /// The name of the router's namespace.
    pub(crate) router: String,
    /// The largest packet of a new attachment.
    pub(crate) mtu: u32,
    /// Its interfaces.
    pub(crate) interfaces: Vec<ContainerInterface>,
}

impl Network {
    /// Makes what is missing; what is there is kept.
    pub(crate) fn ensure(&self) -> Result<()> {
        let inside = netns::ensure(&self.name)?;
        sysctl::set(&inside, SETTINGS)?;
        if self.is_function() {
            sysctl::set(&inside, FORWARDING)?;
        }
        if self.interfaces.is_empty() {
            return Ok(());
        }
        let router = netns::open(&self.router)?.ok_or_else(|| {
            linux::Error::other(
                format!("cannot attach to router {}", self.router),
                "there is no such network namespace",
            )
        })?;
        for interface in &self.interfaces {
            self.attach(interface, &inside, &router)?;
        }
        let mut netlink = Netlink::open(&inside)?;
        for route in self.routes() {
            netlink.replace_route(&route)?;
        }
        self.rules()
            .iter()
            .try_for_each(|rule| netlink.add_rule(rule))
    }

    /// Whether a process of the container is in another namespace than the one of that name: somebody deleted the name. A
    /// process that has ended says nothing.
    pub(crate) fn is_lost(&self, process: &Process) -> bool {
        let Ok(inside) = fs::metadata(format!("/proc/{}/ns/net", process.pid())) else {
            return false;
        };
        let named = fs::metadata(namespace_file(&self.name));
        let same =
            named.is_ok_and(|named| (named.dev(), named.ino()) == (inside.dev(), inside.ino()));
        !same && !process.has_ended()
    }

    /// Removes all of it, in the router too.
    pub(crate) fn remove(&self) -> Result<()> {
        // The kernel would remove the pairs with the namespace, but later and only when nothing holds that.
        if let Some(router) = netns::open(&self.router)? {
            let mut netlink = Netlink::open(&router)?;
            for interface in &self.interfaces {
                netlink.delete_link(&interface.router_interface)?;
            }
        }
        netns::delete(&self.name)
    }

    /// Where the container is reached from inside its namespace.
    pub(crate) fn probe_address(&self) -> IpAddr {
        let mut addresses = self
            .interfaces
            .iter()
            .filter_map(|interface| interface.address);
        addresses.next().unwrap_or(Ipv6Addr::LOCALHOST).into()
    }

    fn is_function(&self) -> bool {
        let mut roles = self.interfaces.iter().map(|interface| interface.role);
        roles.any(|role| role != InterfaceRole::End)
    }

    fn attach(
        &self,
        interface: &ContainerInterface,
        inside: &Namespace,
        router: &Namespace,
    ) -> Result<()> {
        let end = |namespace, name| Veth {
            namespace,
            name,
            mtu: self.mtu,
            mac: None,
        };
        let (name, router_name) = (&interface.name, &interface.router_interface);
        ensure_pair(end(inside, name), end(router, router_name))?;
        let mut netlink = Netlink::open(router)?;
        netlink.add_address(router_name, link_local(ROUTER_SIDE))?;
        let seen = netlink.link(router_name)?;
        let mut netlink = Netlink::open(inside)?;
        // Whoever programs the router sets its end; what is sent from inside must fit.
        if let Some(seen) = seen {
            netlink.set_mtu(name, seen.mtu)?;
        }
        netlink.add_address(name, link_local(INSTANCE_SIDE))?;
        match interface.address {
            Some(address) => netlink.add_address(name, Prefix::host(address)),
            None => Ok(()),
        }
    }

    /// The routes inside.
    fn routes(&self) -> Vec<Route> {
        let ends = self
            .interfaces
            .iter()
            .filter(|one| one.role == InterfaceRole::End);
        let mut routes: Vec<Route> = ends.map(|end| way_out(&end.name, TABLE_MAIN)).collect();
        if let Some(sides) = self.sides() {
            let [from_left, from_right] = TABLES;
            routes.push(way_out(&sides[1].name, from_left));
            routes.push(way_out(&sides[0].name, from_right));
        }
        routes
    }

    /// The rules inside: which side a packet came in by decides by which it leaves.
    fn rules(&self) -> Vec<Rule> {
        let sides = self.sides().into_iter().flatten();
        let numbered = sides.zip(TABLES).zip(PRIORITY..);
        numbered
            .map(|((side, table), priority)| Rule {
                priority,
                selector: Selector::InputDevice(side.name.clone()),
                table,
                protocol: PROTOCOL,
            })
            .collect()
    }

    /// The left and the right side of a function.
    fn sides(&self) -> Option<[&ContainerInterface; 2]> {
        let side = |role| self.interfaces.iter().find(|one| one.role == role);
        Some([side(InterfaceRole::Left)?, side(InterfaceRole::Right)?])
    }
}

fn way_out(device: &str, table: u32) -> Route {
    Route {
        table,
        destination: Prefix::any_ipv6(),
        metric: METRIC,
        action: Action::Forward {
            device: device.to_owned(),
            gateway: Some(ROUTER_SIDE.into()),
        },
        protocol: PROTOCOL,
    }
}

fn link_local(address: Ipv6Addr) -> Prefix {
    Prefix {
        address: address.into(),
        length: LINK_LOCAL_LENGTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(interfaces: &[(&str, InterfaceRole)]) -> Network {
        let one = |(name, role): &(&str, InterfaceRole)| ContainerInterface {
            name: (*name).to_owned(),
            router_interface: format!("g{name}"),
            role: *role,
            address: None,
        };
        Network {
            name: "inside".to_owned(),
            router: "router".to_owned(),
            mtu: 1400,
            interfaces: interfaces.iter().map(one).collect(),
        }
    }

    fn lines(network: &Network) -> Vec<String> {
        let routes = network.routes().into_iter().map(|route| route.to_string());
        let rules = network.rules().into_iter().map(|rule| rule.to_string());
        routes.chain(rules).collect()
    }

    #[test]
    fn an_end_has_one_way_out() {
        let lines = lines(&network(&[("eth0", InterfaceRole::End)]));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("eth0"), "{lines:?}");
    }

    #[test]
    fn what_comes_in_at_one_side_of_a_function_leaves_at_the_other() {
        let function = network(&[
            ("left", InterfaceRole::Left),
            ("right", InterfaceRole::Right),
        ]);
        let (routes, rules) = (function.routes(), function.rules());
        for (side, other) in [("left", "right"), ("right", "left")] {
            let rule = rules
                .iter()
                .find(|rule| rule.selector == Selector::InputDevice(side.into()));
            let table = rule.expect("a rule for each side").table;
            let route = routes
                .iter()
                .find(|route| route.table == table)
                .expect("a route");
            assert_eq!(route.action.device(), Some(other));
        }
        assert!(
            routes.iter().all(|route| route.table != TABLE_MAIN),
            "fails closed"
        );
    }
}
