//! What a router has, told in the words of `HostDatapath`: what is known, compared with what the kernel holds. Pure.
//!
//! The kernel keeps no names of chains. So what is told is each item that was ever asked for and all of whose objects are
//! there; objects of ours that belong to no such item are leftovers.

use std::collections::BTreeSet;

use adapter::RouterState;
use api::tcm::{AppliedDatapath, HostDatapathSpec};
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
    if kernel.firewall != firewall::content(known, mtu) {
        leftovers.push("the firewall table is not as it should be".to_owned());
    }
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
    let has_sid = |sid: &&api::tcm::LocalSid| {
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
        kernel
            .routes
            .iter()
            .filter(|route| !routes.contains(route))
            .cloned()
            .collect(),
        kernel
            .rules
            .iter()
            .filter(|rule| !rules.contains(rule))
            .cloned()
            .collect(),
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
/// under another label.
pub(crate) fn known(wanted: &HostDatapathSpec, applied: AppliedDatapath) -> HostDatapathSpec {
    let mut known = wanted.clone();
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
        let same = |new: &api::tcm::Steering| program::steering(new) == program::steering(&old);
        if !known.steering.iter().any(same) {
            known.steering.push(old);
        }
    }
    known
}
