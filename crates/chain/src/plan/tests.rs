//! Plans: what each host gets, as golden text.

use std::collections::BTreeMap;
use std::fmt::Write;

use api::Ipv6Prefix;
use api::tcm::FailPolicy;
use api::tcrr::DatapathCapability;
use api::wdm::Serving;

use super::*;
use crate::sample::{add_instance, key, request, routers, settle, shop};
use crate::{planned, steers, trace, users};

/// Names for people instead of derived ones: `fw-0/left`, `users0@w1`.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(world: &World) -> Self {
        let mut names = BTreeMap::new();
        let layout = Layout::of(world);
        let kept = Kept::of(&layout);
        for (host, known) in &world.hosts {
            for (interface, owner) in kept.interfaces(host) {
                names.insert(
                    interface.to_owned(),
                    format!("{}/{}", owner.key.name, owner.interface),
                );
            }
            let spec = known.spec.iter().flat_map(|spec| &spec.sids);
            for sid in spec.chain(&known.applied.sids) {
                let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) =
                    &sid.target;
                let at = names
                    .get(interface)
                    .cloned()
                    .unwrap_or_else(|| format!("{interface}@{host}"));
                names.insert(sid.sid.to_string(), at);
            }
        }
        Self(names)
    }

    fn name(&self, of: &str) -> String {
        self.0.get(of).cloned().unwrap_or_else(|| of.to_owned())
    }

    fn steering(&self, spec: &HostDatapathSpec) -> String {
        let mut lines: Vec<_> = spec
            .steering
            .iter()
            .map(|one| {
                let segments: Vec<_> = one
                    .segments
                    .iter()
                    .map(|sid| self.name(&sid.to_string()))
                    .collect();
                let only = if one.matching.classifier.is_empty() {
                    ""
                } else {
                    " classified"
                };
                format!(
                    "{} {:?}{only} to {} by {}\n",
                    self.name(&one.interface),
                    one.direction,
                    one.matching.destination,
                    segments.join(",")
                )
            })
            .collect();
        lines.sort();
        lines.concat()
    }
}

fn check(world: &World, expected: &str) {
    let names = Names::of(world);
    let mut text = String::new();
    for (name, host) in &world.hosts {
        let _ = writeln!(text, "{name}:");
        text += &names.steering(host.spec.as_ref().unwrap());
    }
    assert_eq!(text, expected, "\n{text}");
}

fn delivered(world: &World, host: &str) -> bool {
    trace(&routers(world), &request(host)).lost.is_none()
}

/// One round: every host is planned from what is seen now, and applies it.
fn round(world: &mut World) {
    let plans: Vec<_> = world
        .hosts
        .keys()
        .map(|name| (name.clone(), plan(world, name).unwrap()))
        .collect();
    for (name, plan) in plans {
        let host = world.hosts.get_mut(&name).unwrap();
        host.applied = planned(&plan);
        host.spec = Some(plan);
    }
}

#[test]
fn a_chain_leads_through_its_functions_and_back_the_same_way() {
    let mut world = shop();
    settle(&mut world);
    check(
        &world,
        "e1:\n\
         users0 Forward classified to fd00:beef::426c:83e3:d6f3:2b93/128 by fw-0/left\n\
         m1:\n\
         fw-0/left Reverse to 2001:db8:3::/64 by users0@w1\n\
         fw-0/left Reverse to 2001:db8::/64 by users0@e1\n\
         fw-0/right Forward to fd00:beef::426c:83e3:d6f3:2b93/128 by lim-0/left\n\
         m2:\n\
         app-0/eth0 Reverse to 2001:db8:3::/64 by lim-0/right\n\
         app-0/eth0 Reverse to 2001:db8::/64 by lim-0/right\n\
         lim-0/left Reverse to 2001:db8:3::/64 by fw-0/right\n\
         lim-0/left Reverse to 2001:db8::/64 by fw-0/right\n\
         lim-0/right Forward to fd00:beef::426c:83e3:d6f3:2b93/128 by app-0/eth0\n\
         w1:\n\
         users0 Forward classified to fd00:beef::426c:83e3:d6f3:2b93/128 by fw-0/left\n",
    );
}

#[test]
fn segments_come_first_then_what_is_between_and_the_start_last() {
    let mut world = shop();
    let mut starts = Vec::new();
    for _ in 0..4 {
        round(&mut world);
        let sids = world
            .hosts
            .values()
            .map(|host| host.applied.sids.len())
            .sum::<usize>();
        let steering = |host: &str| world.hosts[host].applied.steering.len();
        starts.push((
            sids,
            steering("m1") + steering("m2"),
            steering("w1") + steering("e1"),
        ));
    }
    // Two users' ports, two sides of each function, one end; then forward and two ways back for each function and two
    // ways back for the end.
    assert_eq!(starts, [(7, 0, 0), (7, 8, 0), (7, 8, 2), (7, 8, 2)]);
}

#[test]
fn a_move_goes_over_only_when_the_new_instance_has_its_whole_way() {
    let mut world = shop();
    settle(&mut world);
    add_instance(&mut world, "fw-1", "m2");
    world.instances.get_mut(&key("fw-0")).unwrap().serving = Serving::Draining;
    let mut by = Vec::new();
    for _ in 0..4 {
        let trace = trace(&routers(&world), &request("w1"));
        assert_eq!(trace.lost, None);
        by.push(trace.tunnels[0].to.of.clone());
        round(&mut world);
    }
    // First its segments and what it sends on are applied; what it sends to is there already.
    assert_eq!(
        by,
        [
            "shop/fw-0/left",
            "shop/fw-0/left",
            "shop/fw-1/left",
            "shop/fw-1/left"
        ]
    );
    assert!(users(&world, &key("fw-0")).is_empty());
    assert!(
        world.hosts["m1"]
            .applied
            .sids
            .iter()
            .any(|sid| sid.chain == "shop/web"),
        "its segments stay as long as it does"
    );
}

#[test]
fn the_one_that_serves_goes_on_when_an_equal_one_comes() {
    let mut world = shop();
    world.instances.remove(&key("fw-0"));
    add_instance(&mut world, "fw-1", "m1");
    settle(&mut world);
    let before = world.hosts["w1"].spec.clone();
    add_instance(&mut world, "fw-0", "m1");
    settle(&mut world);
    assert_eq!(world.hosts["w1"].spec, before);
}

#[test]
fn a_draining_instance_serves_while_no_other_can() {
    let mut world = shop();
    world.instances.get_mut(&key("fw-0")).unwrap().serving = Serving::Draining;
    add_instance(&mut world, "fw-1", "m2");
    world.instances.get_mut(&key("fw-1")).unwrap().available = false;
    settle(&mut world);
    assert!(delivered(&world, "w1"));
    world.instances.get_mut(&key("fw-1")).unwrap().available = true;
    settle(&mut world);
    assert_eq!(
        trace(&routers(&world), &request("w1")).tunnels[0].to.of,
        "shop/fw-1/left"
    );
}

#[test]
fn another_instance_takes_over_when_its_host_is_not_seen() {
    let mut world = shop();
    add_instance(&mut world, "lim-1", "m1");
    settle(&mut world);
    add_instance(&mut world, "app-1", "m1");
    settle(&mut world);
    world.hosts.get_mut("m2").unwrap().seen = false;
    for name in ["lim-0", "app-0"] {
        world.instances.get_mut(&key(name)).unwrap().available = false;
    }
    settle(&mut world);
    let mut alive = routers(&world);
    alive.remove("m2");
    let trace = trace(&alive, &request("e1"));
    assert_eq!(
        (trace.lost.clone(), trace.last().unwrap().of.as_str()),
        (None, "shop/app-1/eth0"),
        "{trace}"
    );
}

#[test]
fn a_missing_function_blocks_or_is_passed_around_as_the_policy_says() {
    let check = |policy, expected: &[&str]| {
        let mut world = shop();
        world.chains.get_mut(&key("web")).unwrap().spec.fail_policy = policy;
        world.instances.remove(&key("fw-0"));
        settle(&mut world);
        let trace = trace(&routers(&world), &request("w1"));
        let way: Vec<_> = trace
            .tunnels
            .iter()
            .map(|tunnel| tunnel.to.of.as_str())
            .collect();
        assert_eq!(way, expected, "{policy:?}");
    };
    check(FailPolicy::Block, &[]);
    check(FailPolicy::Bypass, &["shop/lim-0/left", "shop/app-0/eth0"]);
}

#[test]
fn an_instance_that_goes_without_a_successor_is_let_go() {
    let mut world = shop();
    settle(&mut world);
    let fw = world.instances.get_mut(&key("fw-0")).unwrap();
    (fw.available, fw.deleting) = (false, true);
    assert!(!users(&world, &key("fw-0")).is_empty());
    settle(&mut world);
    assert!(users(&world, &key("fw-0")).is_empty());
}

#[test]
fn a_function_that_leaves_the_chain_goes_on_until_nobody_sends_to_it() {
    let mut world = shop();
    settle(&mut world);
    let functions = &mut world.chains.get_mut(&key("web")).unwrap().spec.functions;
    functions.retain(|function| function.name() == "lim");
    for _ in 0..8 {
        assert!(delivered(&world, "w1") && delivered(&world, "e1"));
        round(&mut world);
    }
    let left = &world.hosts["m1"].applied;
    assert!(left.sids.is_empty() && left.steering.is_empty(), "{left:?}");
}

#[test]
fn functions_that_only_lead_to_each_other_keep_nothing() {
    for rounds in 0..6 {
        let mut world = shop();
        settle(&mut world);
        let order = |world: &mut World, functions: &[&str]| {
            let spec = &mut world.chains.get_mut(&key("web")).unwrap().spec;
            spec.functions = functions.iter().map(|name| api::Ref::new(*name)).collect();
        };
        order(&mut world, &["lim", "fw"]);
        for host in ["m1", "m2"].repeat(rounds) {
            let plan = plan(&world, host).unwrap();
            let host = world.hosts.get_mut(host).unwrap();
            host.applied = planned(&plan);
            host.spec = Some(plan);
        }
        order(&mut world, &[]);
        settle(&mut world);
        let of_fw = world.hosts["m1"].applied.steering.len();
        assert_eq!(of_fw, 0, "after {rounds} rounds");
    }
}

#[test]
fn a_deleted_chain_loses_its_steering_first_and_its_segments_when_nobody_uses_them() {
    let mut world = shop();
    settle(&mut world);
    world.chains.clear();
    assert_eq!(steers(&world, &key("web")).len(), 4);
    let plans: BTreeMap<_, _> = world
        .hosts
        .keys()
        .map(|name| (name.clone(), plan(&world, name).unwrap()))
        .collect();
    assert!(plans.values().all(|plan| plan.steering.is_empty()));
    assert_eq!(plans["m2"].sids.len(), 3);
    world.hosts.get_mut("w1").unwrap().seen = false;
    settle(&mut world);
    assert_eq!(
        world.hosts["m2"].applied.sids,
        [],
        "nobody waits for a host that cannot be seen"
    );
    assert_eq!(
        world.hosts["m2"].applied.attachments.len(),
        3,
        "probes go on"
    );
}

#[test]
fn what_an_unseen_host_sends_to_stays_while_the_chain_exists() {
    let mut world = shop();
    settle(&mut world);
    world.hosts.get_mut("w1").unwrap().seen = false;
    world
        .chains
        .get_mut(&key("web"))
        .unwrap()
        .spec
        .functions
        .clear();
    settle(&mut world);
    let of_fw = |world: &World| world.hosts["m1"].applied.steering.len();
    assert_ne!(of_fw(&world), 0);
    // The host itself, and that of the end, whose replies to it go the old way while the new one is not seen.
    let users = users(&world, &key("fw-0"));
    assert_eq!(Vec::from_iter(users), ["m2", "w1"]);
    world.hosts.remove("w1");
    settle(&mut world);
    assert_eq!(of_fw(&world), 0, "the host was forgotten");
}

#[test]
fn a_host_that_cannot_do_it_has_attachments_only() {
    let mut world = shop();
    let m2 = world.hosts.get_mut("m2").unwrap();
    m2.capabilities
        .retain(|capability| *capability != DatapathCapability::EndDt6);
    settle(&mut world);
    let m2 = &world.hosts["m2"].applied;
    assert_eq!(
        (m2.attachments.len(), m2.sids.len(), m2.steering.len()),
        (3, 0, 0)
    );
}

#[test]
fn an_unknown_host_has_no_plan() {
    assert_eq!(plan(&shop(), "nowhere"), None);
}

#[test]
fn plans_lie_in_the_locator_and_name_what_they_are_for() {
    let mut world = shop();
    settle(&mut world);
    let spec = world.hosts["m1"].spec.clone().unwrap();
    let locator: Ipv6Prefix = "fd00:a:1::/48".parse().unwrap();
    assert_eq!((spec.locator, spec.mtu), (locator, 1500));
    assert!(
        spec.sids
            .iter()
            .all(|sid| locator.contains(sid.sid) && sid.chain == "shop/web")
    );
    let of: Vec<_> = spec
        .attachments
        .iter()
        .map(|attachment| attachment.of.as_str())
        .collect();
    assert!(of.contains(&"shop/fw-0/left") && of.contains(&"shop/fw-0/right"));
}
