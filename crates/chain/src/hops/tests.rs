//! Hops: which instances a chain passes, and why one cannot be passed.

use api::Ref;
use api::tcrr::DatapathCapability;

use super::*;
use crate::sample::{add_chain, add_instance, key, settle, shop};
use crate::world::World;

fn users(sites: &[&str]) -> ChainEnd {
    ChainEnd::Users {
        sites: sites.iter().map(|site| Ref::new(*site)).collect(),
    }
}

fn from(workload: &str) -> ChainEnd {
    ChainEnd::Workload {
        name: workload.into(),
    }
}

/// `direction instance@host applied`, one line each.
fn lines(state: &ChainState) -> Vec<String> {
    let line = |hop: &ChainHop| {
        let instance = hop.instance.as_ref().map_or("users", Ref::name);
        format!(
            "{:?} {instance}@{} {}",
            hop.direction, hop.host, hop.applied
        )
    };
    state.hops.iter().map(line).collect()
}

fn check_reasons(world: &World, chain: &str, expected: &[&str]) {
    let state = hops(world, &key(chain));
    let reasons: Vec<_> = state.reasons.iter().map(Reason::to_string).collect();
    assert_eq!(reasons, expected);
    assert_eq!(
        state.is_available(),
        state.reasons.iter().all(Reason::tolerated)
    );
}

#[test]
fn hops_are_forward_then_back_and_applied_once_all_that_send_do() {
    let mut world = shop();
    let before = hops(&world, &key("web"));
    assert!(before.hops.iter().all(|hop| !hop.applied) && !before.is_available());
    settle(&mut world);
    let state = hops(&world, &key("web"));
    assert_eq!(
        lines(&state),
        [
            "Forward fw-0@m1 true",
            "Forward lim-0@m2 true",
            "Forward app-0@m2 true",
            "Reverse lim-0@m2 true",
            "Reverse fw-0@m1 true",
            "Reverse users@e1 true",
            "Reverse users@w1 true",
        ]
    );
    assert!(state.is_available(), "{:?}", state.reasons);
    world.hosts.get_mut("w1").unwrap().applied.steering.clear();
    let state = hops(&world, &key("web"));
    assert_eq!(lines(&state)[0], "Forward fw-0@m1 false");
    check_reasons(&world, "web", &["host m1 has not applied its part yet"]);
}

#[test]
fn a_chain_may_start_at_a_workload() {
    let mut world = shop();
    add_instance(&mut world, "nat-0", "w1");
    add_instance(&mut world, "db-0", "e1");
    add_chain(&mut world, "store", from("app"), &["nat"], "db");
    settle(&mut world);
    assert_eq!(
        lines(&hops(&world, &key("store"))),
        [
            "Forward nat-0@w1 true",
            "Forward db-0@e1 true",
            "Reverse nat-0@w1 true",
            "Reverse app-0@m2 true"
        ]
    );
}

#[test]
fn users_on_hosts_that_cannot_be_seen_are_left_out() {
    let mut world = shop();
    settle(&mut world);
    world.hosts.get_mut("e1").unwrap().seen = false;
    let state = hops(&world, &key("web"));
    assert!(state.is_available() && state.hops.iter().all(|hop| hop.host.name() != "e1"));
    world.hosts.get_mut("w1").unwrap().seen = false;
    assert!(
        hops(&world, &key("web"))
            .reasons
            .contains(&Reason::UsersUnseen)
    );
}

#[test]
fn what_is_missing_is_named() {
    let mut world = shop();
    settle(&mut world);
    world.instances.remove(&key("fw-0"));
    world.instances.get_mut(&key("lim-0")).unwrap().available = false;
    check_reasons(
        &world,
        "web",
        &[
            "workload fw has no instance with the interfaces that its place needs",
            "no instance of workload lim is available",
        ],
    );
    let mut world = shop();
    settle(&mut world);
    let hosts = &mut world.hosts;
    hosts.get_mut("m1").unwrap().capabilities = vec![DatapathCapability::HEncaps];
    assert_eq!(
        hops(&world, &key("web")).reasons[0].to_string(),
        "the kernel of host m1 lacks End.DT6"
    );
    world.chains.get_mut(&key("web")).unwrap().spec.from = users(&["mid"]);
    assert_eq!(
        hops(&world, &key("web")).reasons[0].to_string(),
        "no host at mid has an access port"
    );
}

#[test]
fn a_chain_that_excludes_an_older_one_is_refused() {
    let mut world = shop();
    add_instance(&mut world, "db-0", "e1");
    add_chain(&mut world, "twin", users(&["west"]), &[], "app");
    add_chain(&mut world, "thief", users(&["west"]), &["fw"], "db");
    add_chain(&mut world, "store", from("app"), &[], "db");
    add_chain(&mut world, "back", from("db"), &[], "app");
    add_chain(&mut world, "round", from("app"), &["fw"], "app");
    settle(&mut world);
    check_reasons(&world, "web", &[]);
    check_reasons(&world, "store", &[]);
    check_reasons(
        &world,
        "twin",
        &["chain shop/web connects the same ends already"],
    );
    check_reasons(
        &world,
        "thief",
        &["function fw serves chain shop/web already"],
    );
    check_reasons(
        &world,
        "back",
        &["chain shop/store connects the same ends already"],
    );
    check_reasons(
        &world,
        "round",
        &[
            "workload app is named twice",
            "function fw serves chain shop/web already",
        ],
    );
    world.networks.clear();
    check_reasons(
        &world,
        "web",
        &["network net does not exist or is not ready"],
    );
}

#[test]
fn segments_that_were_derived_alike_are_refused() {
    let mut world = shop();
    for host in world.hosts.values_mut() {
        host.locator = "fd00:a::/127".parse().unwrap();
    }
    let state = hops(&world, &key("web"));
    assert!(
        matches!(state.reasons[..], [Reason::SegmentCollision { .. }]),
        "{state:?}"
    );
}

#[test]
fn a_chain_that_is_not_known_has_no_state() {
    assert_eq!(hops(&shop(), &key("nothing")), ChainState::default());
}
