//! Makes a layout real, and removes all that bears a laboratory's name. Both can be repeated and continued after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use api::{Error, ErrorKind, Result};
use linux::cgroup::Hierarchies;
use linux::link::{Veth, ensure_veth};
use linux::netlink::Prefix;
use linux::route::{Action, METRIC, Route as KernelRoute, TABLE_MAIN};
use linux::{Namespace, Netlink, netns, sysctl};
use rustix::process::Signal;

use crate::layout::{Layout, Role, Route};

/// The routing protocol number of the laboratory's own routes: one that no routing daemon uses.
const PROTOCOL: u8 = 210;
/// What the control groups and namespaces of all containers begin with.
const CONTAINERS: &str = "groma";
/// How many digits the key of a container has.
const KEY_DIGITS: usize = 16;
/// How long the processes of a host or of a namespace may take to die.
const KILL: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// A message names at most so many of them.
const SHOWN_MAX: usize = 3;

/// Makes all of a layout but the tunnels, which live with the daemon; what is there is kept.
pub fn ensure(layout: &Layout) -> Result<()> {
    let mut namespaces = BTreeMap::new();
    for node in &layout.nodes {
        let namespace = netns::ensure(&node.namespace).map_err(failed)?;
        sysctl::set(&namespace, settings(&node.role)).map_err(failed)?;
        namespaces.insert(node.namespace.clone(), namespace);
    }
    for cable in &layout.cables {
        let end =
            |(namespace, name): &(String, String)| (namespaces[namespace].clone(), name.clone());
        let (a, b) = (end(&cable.a), end(&cable.b));
        let veth = |(namespace, name)| Veth {
            namespace,
            name,
            mtu: cable.mtu,
            mac: None,
        };
        ensure_veth(veth((&a.0, &a.1)), veth((&b.0, &b.1))).map_err(failed)?;
    }
    ensure_addresses(layout)
}

/// Makes the addresses of a layout, and removes others from the interfaces that it has. Link-local ones may be the kernel's.
fn ensure_addresses(layout: &Layout) -> Result<()> {
    let mut wanted: BTreeMap<(&str, &str), Vec<Prefix>> = BTreeMap::new();
    for address in &layout.addresses {
        let interface = (address.namespace.as_str(), address.interface.as_str());
        wanted.entry(interface).or_default().push(Prefix {
            address: IpAddr::V6(address.address),
            length: address.length,
        });
    }
    for ((namespace, interface), addresses) in wanted {
        let mut netlink = Netlink::open(&existing(namespace)?).map_err(failed)?;
        for address in &addresses {
            netlink.add_address(interface, *address).map_err(failed)?;
        }
        let seen = netlink.addresses(interface).map_err(failed)?;
        for stray in seen.iter().filter(|seen| is_global(seen)) {
            if !addresses.contains(stray) {
                netlink.delete_address(interface, *stray).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn is_global(prefix: &Prefix) -> bool {
    match prefix.address {
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}

/// Removes the devices of site routers that the layout does not have: tunnels that lead elsewhere now. All other devices go
/// with the namespace at their other end.
pub fn remove_stray_devices(layout: &Layout) -> Result<()> {
    let cables = layout.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
    let mut wanted: BTreeSet<(&str, &str)> = cables
        .map(|(namespace, name)| (namespace.as_str(), name.as_str()))
        .collect();
    for tunnel in &layout.tunnels {
        let ends = tunnel.namespaces.iter();
        wanted.extend(ends.map(|end| (end.as_str(), tunnel.interface.as_str())));
    }
    let routers = layout
        .nodes
        .iter()
        .filter(|node| node.role == Role::SiteRouter);
    for router in routers.map(|node| node.namespace.as_str()) {
        remove_devices(router, |name| !wanted.contains(&(router, name)))?;
    }
    Ok(())
}

/// Makes the routes of a layout, and removes those of ours that it does not have. The tunnels must be there.
pub fn ensure_routes(layout: &Layout) -> Result<()> {
    let mut wanted: BTreeMap<&str, Vec<KernelRoute>> = BTreeMap::new();
    for node in &layout.nodes {
        wanted.entry(&node.namespace).or_default();
    }
    for route in &layout.routes {
        wanted
            .entry(&route.namespace)
            .or_default()
            .push(kernel(route));
    }
    for (namespace, routes) in wanted {
        let namespace = existing(namespace)?;
        let mut netlink = Netlink::open(&namespace).map_err(failed)?;
        for route in &routes {
            netlink.replace_route(route).map_err(failed)?;
        }
        for seen in netlink.routes(PROTOCOL).map_err(failed)? {
            if !routes.contains(&seen.route) {
                netlink.delete_route(&seen.route).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Ends all containers of a host as a power cut does: their processes and shims, and their namespaces.
pub fn power_cut(mark: &str) -> Result<()> {
    let hierarchies = Hierarchies::detect().map_err(failed)?;
    let group = hierarchies.group(&format!("{CONTAINERS}/{mark}"));
    group.remove(KILL).map_err(failed)?;
    let names = container_namespaces()?;
    let own = names.iter().filter(|name| mark_of(name) == Some(mark));
    own.map(String::as_str).try_for_each(remove_namespace)
}

/// The marks that begin so and of which there is anything: control groups or namespaces of containers.
pub fn marks(prefix: &str) -> Result<BTreeSet<String>> {
    let hierarchies = Hierarchies::detect().map_err(failed)?;
    let mut marks = hierarchies.children(CONTAINERS);
    let names = container_namespaces()?;
    marks.extend(
        names
            .iter()
            .filter_map(|name| mark_of(name))
            .map(str::to_owned),
    );
    marks.retain(|mark| mark.starts_with(prefix));
    Ok(marks)
}

fn container_namespaces() -> Result<Vec<String>> {
    netns::list(&format!("{CONTAINERS}-")).map_err(failed)
}

/// Whose container's namespace it is: `groma-MARK-KEY`. A mark may begin with another one and a dash, so only what stands
/// before the key is a mark.
fn mark_of(namespace: &str) -> Option<&str> {
    let rest = namespace.strip_prefix(CONTAINERS)?.strip_prefix('-')?;
    let (mark, key) = rest.rsplit_once('-')?;
    let is_key = key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then_some(mark)
}

/// Every namespace that begins so and that `keep` does not hold. None may be the one that this program runs in: it would
/// take itself away, or the whole machine.
pub fn namespaces(prefix: &str, keep: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut names = netns::list(prefix).map_err(failed)?;
    names.retain(|name| !keep.contains(name));
    let own = Namespace::own().map_err(failed)?;
    for name in &names {
        let namespace = netns::open(name).map_err(failed)?;
        if let Some(namespace) = namespace
            && namespace.is(&own).map_err(failed)?
        {
            let what = format!(
                "cannot remove network namespace {name}: this program runs in it; leave it first"
            );
            return Err(Error::new(ErrorKind::Invalid, what));
        }
    }
    Ok(names)
}

/// Removes these namespaces with all that is in them.
pub fn remove_namespaces(names: &[String]) -> Result<()> {
    let removed = names.iter().map(|name| remove_namespace(name));
    let problems: Vec<String> = removed
        .filter_map(|removed| removed.err().map(|error| api::chain(&error)))
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Unavailable, problems.join("; "))),
    }
}

/// Whatever cannot be ended in it, a namespace loses its devices and its name.
fn remove_namespace(name: &str) -> Result<()> {
    let ended = end_processes(name);
    empty(name)?;
    netns::delete(name).map_err(failed)?;
    ended
}

/// Ends what runs in a namespace: a program that a user started there would stay, without a network.
fn end_processes(name: &str) -> Result<()> {
    let Some(namespace) = netns::open(name).map_err(failed)? else {
        return Ok(());
    };
    let begun = Instant::now();
    loop {
        let mut processes = namespace.processes().map_err(failed)?;
        processes.retain(|process| !process.has_ended());
        if processes.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > KILL {
            let shown = processes.iter().take(SHOWN_MAX);
            let pids: Vec<String> = shown.map(|process| process.pid().to_string()).collect();
            let what = format!(
                "{} processes in network namespace {name} do not end: {}",
                processes.len(),
                pids.join(", ")
            );
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        for process in &processes {
            process.signal(Signal::KILL).map_err(failed)?;
        }
        thread::sleep(LOOK);
    }
}

/// Takes the devices out of a namespace: its name may go before the last process or handle that keeps it.
fn empty(name: &str) -> Result<()> {
    remove_devices(name, |_| true)
}

fn remove_devices(namespace: &str, unwanted: impl Fn(&str) -> bool) -> Result<()> {
    let Some(namespace) = netns::open(namespace).map_err(failed)? else {
        return Ok(());
    };
    let mut netlink = Netlink::open(&namespace).map_err(failed)?;
    let links = netlink.links().map_err(failed)?;
    for link in links
        .iter()
        .filter(|link| link.name != "lo" && unwanted(&link.name))
    {
        // A kernel may put devices of its own into each namespace, which cannot be deleted and are no concern of ours.
        let _ = netlink.delete_link(&link.name);
    }
    Ok(())
}

/// Opens a namespace that was made before.
pub fn existing(name: &str) -> Result<Namespace> {
    let missing = || {
        Error::new(
            ErrorKind::NotFound,
            format!("network namespace {name} does not exist"),
        )
    };
    netns::open(name).map_err(failed)?.ok_or_else(missing)
}

fn settings(role: &Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::SiteRouter | Role::HostRouter { .. } => sysctl::ROUTER,
        Role::Management { .. } | Role::Users { .. } => sysctl::END,
    }
}

fn kernel(route: &Route) -> KernelRoute {
    let destination = match route.destination {
        Some(prefix) => Prefix {
            address: IpAddr::V6(prefix.address()),
            length: prefix.length(),
        },
        None => Prefix::any_ipv6(),
    };
    let action = Action::Forward {
        device: route.interface.clone(),
        gateway: route.gateway.map(IpAddr::V6),
    };
    KernelRoute {
        table: TABLE_MAIN,
        destination,
        metric: METRIC,
        action,
        protocol: PROTOCOL,
    }
}

pub(crate) fn failed(error: linux::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "cannot build the laboratory", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_whose_name_begins_another_ones_has_only_its_own() {
        let key = "0123456789abcdef";
        let of = |mark: &str| format!("groma-{mark}-{key}");
        assert_eq!(mark_of(&of("lab-mad")), Some("lab-mad"));
        assert_eq!(mark_of(&of("lab-mad-1")), Some("lab-mad-1"));
        assert_eq!(mark_of("groma-lab-mad-1"), None);
        assert_eq!(mark_of("lab-s-mad"), None);
    }
}
