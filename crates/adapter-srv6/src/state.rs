//! What a router has, told in the words of `HostDatapath`: what is known, compared with what the kernel holds. Pure.
//!
//! The kernel keeps no names of chains. So what is told is each item that was ever asked for and all of whose objects are
//! there; objects of ours that belong to no such item are leftovers.

use std::collections::BTreeSet;

use adapter::RouterState;
use api::tcm::{AppliedDatapath, HostDatapathSpec, LocalSid, Steering};
use linux::route::Route;
use linux::rule::Rule;

use crate::firewall;
use crate::kernel::Kernel;
use crate::program::{self, Objects};

/// What is programmed completely, what exists, and what is left over.
pub(crate) fn state(known: &HostDatapathSpec, mtu: u32, kernel: &Kernel) -> RouterState {
    let applied = applied(known, mtu, kernel);
    let (routes, rules) = leftovers(&applied, mtu, kernel);
    let mut leftovers: Vec<String> = routes
        .iter()
        .map(|route| format!("route {route}"))
        .collect();
    leftovers.extend(rules.iter().map(|rule| format!("rule {rule}")));
    leftovers.extend(kernel.wrong_settings.iter().cloned());
    leftovers.extend(firewall::difference(
        &firewall::content(known, mtu),
        &kernel.firewall,
    ));
    RouterState {
        applied,
        interfaces: kernel.links.keys().cloned().collect(),
        leftovers,
    }
}

/// The known items all of whose objects are there.
pub(crate) fn applied(known: &HostDatapathSpec, mtu: u32, kernel: &Kernel) -> AppliedDatapath {
    let attachments = known.attachments.iter();
    let ports = known.user_ports.iter();
    let sids = known.sids.iter();
    let has_sid = |sid: &&LocalSid| {
        program::sid(sid, &known.user_ports).is_some_and(|objects| kernel.has(&objects))
    };
    AppliedDatapath {
        attachments: attachments
            .filter(|one| kernel.has(&program::attachment(one, mtu)))
            .cloned()
            .collect(),
        user_ports: ports
            .filter(|one| kernel.has(&program::user_port(one, mtu)))
            .cloned()
            .collect(),
        sids: sids.filter(has_sid).cloned().collect(),
        steering: known
            .steering
            .iter()
            .filter(|one| kernel.has(&program::steering(one)))
            .cloned()
            .collect(),
    }
}

/// Our routes and rules that belong to nothing that is applied.
pub(crate) fn leftovers(
    applied: &AppliedDatapath,
    mtu: u32,
    kernel: &Kernel,
) -> (Vec<Route>, Vec<Rule>) {
    let mut routes = BTreeSet::new();
    let mut rules = BTreeSet::new();
    for objects in objects(applied, mtu) {
        routes.extend(objects.routes);
        rules.extend(objects.rules);
    }
    (
        kernel.routes.difference(&routes).cloned().collect(),
        kernel.rules.difference(&rules).cloned().collect(),
    )
}

fn objects(applied: &AppliedDatapath, mtu: u32) -> Vec<Objects> {
    let mut objects: Vec<Objects> = applied
        .attachments
        .iter()
        .map(|one| program::attachment(one, mtu))
        .collect();
    objects.extend(
        applied
            .user_ports
            .iter()
            .map(|one| program::user_port(one, mtu)),
    );
    objects.extend(
        applied
            .sids
            .iter()
            .filter_map(|one| program::sid(one, &applied.user_ports)),
    );
    objects.extend(applied.steering.iter().map(program::steering));
    objects
}

/// What is known after `wanted` is asked for: all of it, and of the past what is still applied and not the same thing
/// under another label. While only the past attaches anything, its MTU counts, or it would not be recognised any more.
pub(crate) fn known(
    wanted: &HostDatapathSpec,
    past_mtu: u32,
    applied: AppliedDatapath,
) -> HostDatapathSpec {
    let mut known = wanted.clone();
    if !program::attaches(wanted) {
        known.mtu = past_mtu;
    }
    let AppliedDatapath {
        attachments,
        user_ports,
        sids,
        steering,
    } = applied;
    for old in attachments {
        if !known
            .attachments
            .iter()
            .any(|new| new.interface == old.interface)
        {
            known.attachments.push(old);
        }
    }
    for old in user_ports {
        if !known.user_ports.contains(&old) {
            known.user_ports.push(old);
        }
    }
    for old in sids {
        if !known
            .sids
            .iter()
            .any(|new| new.sid == old.sid && new.target == old.target)
        {
            known.sids.push(old);
        }
    }
    for old in steering {
        let same = |new: &Steering| program::steering(new) == program::steering(&old);
        if !known.steering.iter().any(same) {
            known.steering.push(old);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use linux::link::Link;
    use linux::netlink::Prefix;

    use super::*;
    use crate::example::datapath;
    use crate::kernel;

    const MTU: u32 = 1436;

    /// A kernel in which all of a datapath is programmed.
    fn programmed(datapath: &HostDatapathSpec) -> Kernel {
        let all = AppliedDatapath {
            attachments: datapath.attachments.clone(),
            user_ports: datapath.user_ports.clone(),
            sids: datapath.sids.clone(),
            steering: datapath.steering.clone(),
        };
        let mut kernel = Kernel {
            firewall: firewall::content(datapath, MTU),
            ..Kernel::default()
        };
        for (index, objects) in (1..).zip(objects(&all, MTU)) {
            kernel.routes.extend(objects.routes);
            kernel.rules.extend(objects.rules);
            let Some(device) = objects.device else {
                continue;
            };
            let link = Link {
                index,
                name: device.name.clone(),
                mtu: device.mtu,
                up: true,
                mac: None,
                peer: None,
                bridge: None,
            };
            kernel.links.insert(device.name, link);
            kernel
                .addresses
                .insert(index, vec![kernel::router_address()]);
        }
        kernel
    }

    #[test]
    fn what_is_complete_is_applied_and_nothing_is_left_over() {
        let datapath = datapath();
        let state = state(&datapath, MTU, &programmed(&datapath));
        assert_eq!(state.applied.attachments, datapath.attachments);
        assert_eq!(state.applied.user_ports, datapath.user_ports);
        assert_eq!(state.applied.sids, datapath.sids);
        assert_eq!(state.applied.steering, datapath.steering);
        assert_eq!(state.interfaces, ["access", "gleft"]);
        assert_eq!(state.leftovers, [""; 0]);
    }

    #[test]
    fn an_item_that_lacks_anything_is_not_applied() {
        let datapath = datapath();
        let whole = programmed(&datapath);
        for route in &whole.routes {
            let mut kernel = whole.clone();
            kernel.routes.remove(route);
            let without = applied(&datapath, MTU, &kernel);
            assert_ne!(without, applied(&datapath, MTU, &whole), "{route}");
        }
        let mut kernel = whole.clone();
        kernel.links.get_mut("gleft").expect("there").up = false;
        assert_eq!(applied(&datapath, MTU, &kernel).attachments, []);
        let mut kernel = whole;
        kernel.addresses = BTreeMap::from([(1, vec![Prefix::host(IpAddr::from([0u16; 8]))])]);
        assert_eq!(applied(&datapath, MTU, &kernel).user_ports, []);
    }

    #[test]
    fn what_nobody_asked_for_is_left_over() {
        let datapath = datapath();
        let kernel = programmed(&datapath);
        let mut less = datapath.clone();
        less.sids.remove(0);
        less.steering.remove(0);
        let leftovers = state(&less, MTU, &kernel).leftovers;
        let starts = |start: &str| {
            leftovers
                .iter()
                .filter(|line| line.starts_with(start))
                .count()
        };
        assert_eq!(
            (starts("route"), starts("rule"), starts("firewall")),
            (2, 1, 1),
            "{leftovers:?}"
        );
    }

    #[test]
    fn the_past_is_known_until_it_is_gone_but_not_under_two_labels() {
        let old = datapath();
        let before = applied(&old, MTU, &programmed(&old));
        let mut wanted = old.clone();
        wanted.sids[0].chain = "default/renamed".to_owned();
        wanted.steering[1].segments = vec!["fcff:9::1".parse().expect("an address of the tests")];
        wanted.sids.remove(1);
        let known = known(&wanted, old.mtu, before);
        let chains: Vec<&str> = known.sids.iter().map(|sid| sid.chain.as_str()).collect();
        assert_eq!(chains, ["default/renamed", "default/web"]);
        assert_eq!(known.steering.len(), 3, "both ways of the changed one");
        assert_eq!(known.attachments, wanted.attachments);
    }

    #[test]
    fn what_is_cleared_is_known_as_it_was_until_it_is_gone() {
        let old = datapath();
        let kernel = programmed(&old);
        let nothing = HostDatapathSpec {
            mtu: 0,
            attachments: Vec::new(),
            user_ports: Vec::new(),
            sids: Vec::new(),
            steering: Vec::new(),
            ..old.clone()
        };
        let known = known(&nothing, old.mtu, applied(&old, MTU, &kernel));
        let state = state(&known, program::known_mtu(&known), &kernel);
        assert_eq!(state.applied.attachments, old.attachments);
        assert_eq!(state.leftovers, [""; 0]);
    }
}
