//! From a topology to namespaces, wires, addresses and routes; pure, so that it can be read and compared.
//!
//! A site has a router. A host has two namespaces: its management side, where its agent runs, and its router, which is
//! wired to the site's router. Each access port has a namespace of users. Sites are joined by tunnels whose two ends the
//! daemon carries, because that is where the delay is made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use api::{Host, Ipv6Prefix, short_hash};
use kube::ResourceExt;

use crate::topology::Topology;

/// The link-local address of every router towards what hangs on it; users find the router of their host by it.
pub const ROUTER: Ipv6Addr = adapter::router::ROUTER_SIDE;
/// The link-local address of what hangs on a router.
pub const LEAF: Ipv6Addr = adapter::router::INSTANCE_SIDE;
/// The interface of a host's router towards its site.
pub const UPLINK: &str = "up0";
/// The interface that is always there.
const LOOPBACK: &str = "lo";
/// The interface of users towards their access port.
pub const USER_INTERFACE: &str = "eth0";
/// What users may send at once, as on any Ethernet.
const USER_MTU: u32 = 1500;

/// All that is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The namespaces.
    pub nodes: Vec<Node>,
    /// Pairs of interfaces.
    pub cables: Vec<Cable>,
    /// Tunnels between sites.
    pub tunnels: Vec<Tunnel>,
    /// Addresses, by the namespace that has them.
    pub addresses: Vec<Address>,
    /// Routes, by the namespace that has them.
    pub routes: Vec<Route>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Its name on this machine.
    pub namespace: String,
    /// The site that it is part of.
    pub site: String,
    /// What it is.
    pub role: Role,
}

/// What a namespace is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The router of a site.
    SiteRouter,
    /// The management side of a host.
    Management {
        /// The host.
        host: String,
    },
    /// The router of a host.
    HostRouter {
        /// The host.
        host: String,
    },
    /// The users behind an access port.
    Users {
        /// The host.
        host: String,
        /// The port.
        port: String,
    },
}

impl Role {
    /// How people name it: `users mad-1/users`.
    pub fn describe(&self) -> String {
        match self {
            Self::SiteRouter => "site router".to_owned(),
            Self::Management { host } => format!("host {host}"),
            Self::HostRouter { host } => format!("router of host {host}"),
            Self::Users { host, port } => format!("users {host}/{port}"),
        }
    }
}

/// Two interfaces joined by a cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// Namespace and interface of one end.
    pub a: (String, String),
    /// Namespace and interface of the other.
    pub b: (String, String),
    /// The largest packet.
    pub mtu: u32,
}

/// A connection of two sites that takes time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The link's name.
    pub link: String,
    /// The two sites.
    pub sites: [String; 2],
    /// Namespace of each end.
    pub namespaces: [String; 2],
    /// The interface at each end.
    pub interface: String,
    /// One-way latency.
    pub latency: Duration,
    /// Bits per second each way.
    pub bandwidth: u64,
    /// The largest packet.
    pub mtu: u32,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The namespace.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: Ipv6Addr,
    /// How many bits of it are the network's.
    pub length: u8,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The namespace.
    pub namespace: String,
    /// What it is for; everything when not given.
    pub destination: Option<Ipv6Prefix>,
    /// The interface that it leaves by.
    pub interface: String,
    /// The next router.
    pub gateway: Option<Ipv6Addr>,
}

impl Layout {
    /// The layout of a topology without the sites that are stopped.
    pub fn of(lab: &str, topology: &Topology, stopped: &BTreeSet<String>) -> Self {
        let mut layout = Self::default();
        let running = |site: &str| !stopped.contains(site);
        for site in topology
            .sites
            .iter()
            .map(ResourceExt::name_any)
            .filter(|site| running(site))
        {
            layout.nodes.push(Node {
                namespace: site_router(lab, &site),
                site,
                role: Role::SiteRouter,
            });
        }
        for link in &topology.links {
            let sites = [0, 1].map(|end| link.spec.sites[end].name().to_owned());
            if sites.iter().all(|site| running(site)) {
                layout.tunnels.push(tunnel(lab, topology, link, sites));
            }
        }
        for host in topology
            .hosts
            .iter()
            .filter(|host| running(host.spec.site.name()))
        {
            layout.add_host(lab, topology, host);
        }
        layout.add_transit(lab, topology, stopped);
        layout
    }

    fn add_host(&mut self, lab: &str, topology: &Topology, host: &Host) {
        let (name, site) = (host.name_any(), host.spec.site.name().to_owned());
        let router = host_router(lab, &name);
        let management = Role::Management { host: name.clone() };
        self.nodes.push(Node {
            namespace: host_management(lab, &name),
            site: site.clone(),
            role: management,
        });
        let role = Role::HostRouter { host: name.clone() };
        self.nodes.push(Node {
            namespace: router.clone(),
            site: site.clone(),
            role,
        });
        let port = short_name("h", &[&name]);
        let mtu = topology.mtu(host);
        let site_end = (site_router(lab, &site), port.clone());
        self.cable(site_end, (router.clone(), UPLINK.to_owned()), mtu);
        // The first address of the locator is the host's own in the underlay, whichever interface it uses.
        self.address(&router, LOOPBACK, host.spec.locator.with_low_bits(1), 128);
        self.route(&router, None, UPLINK, Some(ROUTER));
        self.route(
            &site_router(lab, &site),
            Some(host.spec.locator),
            &port,
            Some(LEAF),
        );
        for access in &host.spec.access_ports {
            let users = users(lab, &name, &access.name);
            let role = Role::Users {
                host: name.clone(),
                port: access.name.clone(),
            };
            self.nodes.push(Node {
                namespace: users.clone(),
                site: site.clone(),
                role,
            });
            self.cable(
                (router.clone(), access.interface.clone()),
                (users.clone(), USER_INTERFACE.to_owned()),
                USER_MTU,
            );
            self.address(
                &users,
                USER_INTERFACE,
                access.prefix.with_low_bits(2),
                access.prefix.length(),
            );
            self.route(&users, None, USER_INTERFACE, Some(ROUTER));
        }
    }

    /// A cable from a router to what hangs on it, with the link-local addresses of both ends.
    fn cable(&mut self, router: (String, String), leaf: (String, String), mtu: u32) {
        self.address(&router.0, &router.1, ROUTER, 64);
        self.address(&leaf.0, &leaf.1, LEAF, 64);
        self.cables.push(Cable {
            a: router,
            b: leaf,
            mtu,
        });
    }

    fn address(&mut self, namespace: &str, interface: &str, address: Ipv6Addr, length: u8) {
        self.addresses.push(Address {
            namespace: namespace.to_owned(),
            interface: interface.to_owned(),
            address,
            length,
        });
    }

    fn route(
        &mut self,
        namespace: &str,
        destination: Option<Ipv6Prefix>,
        interface: &str,
        gateway: Option<Ipv6Addr>,
    ) {
        let interface = interface.to_owned();
        self.routes.push(Route {
            namespace: namespace.to_owned(),
            destination,
            interface,
            gateway,
        });
    }

    /// Every site's router leads to the locators of all other sites by the shortest way.
    fn add_transit(&mut self, lab: &str, topology: &Topology, stopped: &BTreeSet<String>) {
        for site in topology
            .sites
            .iter()
            .map(ResourceExt::name_any)
            .filter(|site| !stopped.contains(site))
        {
            let next = first_tunnels(&site, &self.tunnels);
            for host in topology
                .hosts
                .iter()
                .filter(|host| host.spec.site.name() != site)
            {
                if let Some(interface) = next.get(host.spec.site.name()) {
                    self.route(
                        &site_router(lab, &site),
                        Some(host.spec.locator),
                        interface,
                        None,
                    );
                }
            }
        }
    }
}

fn tunnel(lab: &str, topology: &Topology, link: &api::Link, sites: [String; 2]) -> Tunnel {
    let bandwidth = u64::try_from(link.spec.bandwidth.as_whole())
        .unwrap_or(u64::MAX)
        .max(1);
    Tunnel {
        link: link.name_any(),
        namespaces: [0, 1].map(|end| site_router(lab, &sites[end])),
        sites,
        interface: short_name("t", &[&link.name_any()]),
        latency: link.spec.latency_micros.into(),
        bandwidth,
        mtu: topology.smallest_mtu(),
    }
}

/// The tunnel by which the shortest way to each other site begins (Dijkstra's algorithm over latency).
fn first_tunnels(from: &str, tunnels: &[Tunnel]) -> BTreeMap<String, String> {
    let mut first = BTreeMap::new();
    let mut done = BTreeSet::new();
    let mut open = BTreeSet::from([(Duration::ZERO, from.to_owned(), None::<String>)]);
    while let Some((distance, site, by)) = open.pop_first() {
        if !done.insert(site.clone()) {
            continue;
        }
        for tunnel in tunnels.iter().filter(|tunnel| tunnel.sites.contains(&site)) {
            let other = if tunnel.sites[0] == site {
                &tunnel.sites[1]
            } else {
                &tunnel.sites[0]
            };
            let by = by.clone().unwrap_or_else(|| tunnel.interface.clone());
            open.insert((distance + tunnel.latency, other.clone(), Some(by)));
        }
        if let Some(by) = by {
            first.insert(site, by);
        }
    }
    first
}

/// The namespace of a site's router.
pub fn site_router(lab: &str, site: &str) -> String {
    format!("{lab}-s-{site}")
}

/// The namespace of a host's management side.
pub fn host_management(lab: &str, host: &str) -> String {
    format!("{lab}-h-{host}")
}

/// The namespace of a host's router.
pub fn host_router(lab: &str, host: &str) -> String {
    format!("{lab}-r-{host}")
}

/// The namespace of the users behind an access port.
pub fn users(lab: &str, host: &str, port: &str) -> String {
    format!("{lab}-u-{host}-{port}")
}

/// An interface name that is short enough for Linux.
fn short_name(letter: &str, parts: &[&str]) -> String {
    format!("{letter}{:010x}", short_hash(parts) >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::SMALL;

    #[test]
    fn every_host_is_reached_from_every_running_site() {
        let topology = Topology::parse(SMALL).expect("it is sound");
        let layout = Layout::of("t", &topology, &BTreeSet::new());
        let transit: Vec<_> = layout
            .routes
            .iter()
            .filter(|route| route.namespace == "t-s-mad")
            .collect();
        assert_eq!(transit.len(), 2);
        assert!(
            transit
                .iter()
                .any(|route| route.interface == layout.tunnels[0].interface
                    && route.gateway.is_none())
        );
        assert!(layout.tunnels[0].interface.len() <= 15);
    }

    #[test]
    fn a_stopped_site_has_nothing_and_no_way_leads_to_it() {
        let topology = Topology::parse(SMALL).expect("it is sound");
        let layout = Layout::of("t", &topology, &BTreeSet::from(["bcn".to_owned()]));
        assert!(layout.nodes.iter().all(|node| node.site == "mad"));
        assert!(layout.tunnels.is_empty());
        assert_eq!(
            layout
                .routes
                .iter()
                .filter(|route| route.namespace == "t-s-mad")
                .count(),
            1
        );
    }

    #[test]
    fn the_shortest_way_is_taken() {
        let tunnel = |interface: &str, a: &str, b: &str, millis| Tunnel {
            link: interface.to_owned(),
            sites: [a.to_owned(), b.to_owned()],
            namespaces: [a.to_owned(), b.to_owned()],
            interface: interface.to_owned(),
            latency: Duration::from_millis(millis),
            bandwidth: 1,
            mtu: 1500,
        };
        let tunnels = [
            tunnel("ab", "a", "b", 1),
            tunnel("bc", "b", "c", 1),
            tunnel("ac", "a", "c", 5),
        ];
        let first = first_tunnels("a", &tunnels);
        assert_eq!(
            first,
            BTreeMap::from([
                ("b".to_owned(), "ab".to_owned()),
                ("c".to_owned(), "ab".to_owned())
            ])
        );
    }
}
