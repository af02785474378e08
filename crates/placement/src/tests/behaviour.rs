//! The behaviours that users rely on, one story each.

use api::mco::{Assignment, AssignmentState, RejectionReason};
use api::{Quantity, Ref};

use super::world::*;
use crate::{Decision, Infeasible, Inventory, Request, Requirement, Snapshot, decide, holds};

fn decided(inventory: &Inventory, request: &Request) -> Decision {
    decide(&Snapshot::new(inventory, None), request).expect("it fits")
}

fn refused(inventory: &Inventory, request: &Request) -> Box<Infeasible> {
    decide(&Snapshot::new(inventory, None), request).expect_err("it does not fit")
}

fn active(decision: &Decision) -> Vec<String> {
    let active = decision.assignments.iter();
    let active = active.filter(|item| item.state == AssignmentState::Active);
    active
        .map(|item| format!("{}-{}@{}", item.workload, item.replica, item.host))
        .collect()
}

/// Near and dear, far and cheap, in one line.
fn two_sites() -> Inventory {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "near", 40, &[4]);
    add_site(&mut inventory, "far", 10, &[4]);
    add_link(&mut inventory, "near", "far", 30);
    inventory
}

#[test]
fn users_draw_a_component_near_and_price_draws_it_away() {
    let mut near = component("app", 1000);
    near.user_access = users("near", None);
    assert_eq!(
        active(&decided(&two_sites(), &request(vec![near]))),
        ["app-0@near-0"]
    );
    let free = component("batch", 1000);
    assert_eq!(
        active(&decided(&two_sites(), &request(vec![free]))),
        ["batch-0@far-0"]
    );
}

#[test]
fn the_loser_is_told_what_would_make_it_win_and_it_does() {
    let mut app = component("app", 1000);
    app.user_access = users("near", None);
    let request = request(vec![app]);
    let mut inventory = two_sites();
    add_site(&mut inventory, "mid", 60, &[4]);
    add_link(&mut inventory, "near", "mid", 1);
    let decision = decided(&inventory, &request);
    let loser = decision.explanation[0]
        .runners_up
        .iter()
        .find(|candidate| candidate.site.name() == "mid")
        .expect("mid could carry it");
    let hint = loser.wins_if.clone().expect("a lower price helps");
    let below = hint.strip_prefix("its price falls below ").expect(&hint);
    let below: Quantity = below.split(' ').next().unwrap().parse().unwrap();
    let at = |price: i64| {
        let mut inventory = two_sites();
        add_site(&mut inventory, "mid", price, &[4]);
        add_link(&mut inventory, "near", "mid", 1);
        active(&decided(&inventory, &request))
    };
    let limit = i64::try_from(below.as_milli()).unwrap();
    assert_eq!(at(limit - 1), ["app-0@mid-0"], "{hint}");
    assert_eq!(at(limit + 1), ["app-0@near-0"], "{hint}");
}

#[test]
fn a_group_is_placed_jointly_or_not_at_all() {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "small", 1, &[1]);
    add_site(&mut inventory, "big", 99, &[2]);
    add_link(&mut inventory, "small", "big", 50);
    let mut left = component("left", 1000);
    left.demands = vec![demand("right", Some(1))];
    let right = component("right", 1000);
    let both = request(vec![left, right]);
    assert_eq!(
        active(&decided(&inventory, &both)),
        ["left-0@big-0", "right-0@big-0"]
    );
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "a", 1, &[1]);
    add_site(&mut inventory, "b", 1, &[1]);
    add_link(&mut inventory, "a", "b", 50);
    let refusal = refused(&inventory, &both);
    assert_eq!(
        refusal
            .conflict
            .iter()
            .map(|need| need.to_string())
            .collect::<Vec<_>>(),
        ["left's latency to right"]
    );
}

#[test]
fn the_fewest_needs_that_cannot_be_met_together_are_named() {
    let mut inventory = two_sites();
    add_site(&mut inventory, "other", 1, &[4]);
    let mut app = component("app", 1000);
    app.user_access = users("near", Some(5));
    app.eligibility.sites = vec![Ref::new("far")];
    let mut side = component("side", 1000);
    side.eligibility.sites = vec![Ref::new("other")];
    let refusal = refused(&inventory, &request(vec![app, side]));
    let requirements: Vec<_> = refusal
        .conflict
        .iter()
        .map(|need| &need.requirement)
        .collect();
    assert_eq!(
        requirements,
        [&Requirement::Eligibility, &Requirement::UserLatency]
    );
    let text = refusal.to_string();
    assert!(
        text.starts_with("no place for app: NotEligible at near (site `near`"),
        "{text}"
    );
    assert!(
        text.contains("UserLatency at far (30 ms from near, at most 5 ms)"),
        "{text}"
    );
}

#[test]
fn each_refusal_names_the_number_that_failed() {
    let check = |edit: fn(&mut Inventory, &mut Request), reason, detail: &str| {
        let mut inventory = Inventory::default();
        add_site(&mut inventory, "mad", 1, &[4]);
        let mut request = request(vec![component("app", 1000)]);
        edit(&mut inventory, &mut request);
        let refusal = refused(&inventory, &request);
        let rejection = &refusal.explanation[0].rejected[0];
        assert_eq!(
            (rejection.reason, rejection.sites[0].detail.as_str()),
            (reason, detail)
        );
    };
    check(
        |_, request| request.components[0].resources = cpu(4500),
        RejectionReason::InsufficientResources,
        "needs 4500m cpu, 4 free",
    );
    check(
        |inventory, _| drop(inventory.reserved.insert(Ref::new("mad-0"), cpu(3500))),
        RejectionReason::InsufficientResources,
        "needs 1 cpu, 500m free",
    );
    check(
        |inventory, _| lose(inventory, "mad-0"),
        RejectionReason::NoReadyHost,
        "0 of 1 hosts are ready",
    );
    check(
        |inventory, _| inventory.pools.clear(),
        RejectionReason::NoPool,
        "no pool serves namespace `tenant`",
    );
    check(
        |_, request| request.components[0].eligibility.countries = vec!["PT".into()],
        RejectionReason::NotEligible,
        "country `ES` is not among those allowed",
    );
    check(
        |_, request| request.components[0].artefacts[0].architecture = Some("arm64".into()),
        RejectionReason::NoArtefact,
        "no artefact for amd64",
    );
    check(
        |inventory, _| edit_host(inventory, "mad-0", |status| status.datapath.clear()),
        RejectionReason::DatapathUnable,
        "its kernel lacks H.Encaps",
    );
    check(
        |_, request| request.components[0].user_access = users("mars", None),
        RejectionReason::UserLatency,
        "no path from mars",
    );
}

#[test]
fn too_narrow_a_path_is_told_from_too_long_a_one() {
    let mut inventory = two_sites();
    inventory.hosts.remove(0);
    let mut app = component("app", 1000);
    let mut access = users("near", None).unwrap();
    access.bandwidth = Some(Quantity::whole(2_000_000_000));
    app.user_access = Some(access);
    let refusal = refused(&inventory, &request(vec![app]));
    let narrow = refusal.explanation[0]
        .rejected
        .iter()
        .find(|rejection| rejection.reason == RejectionReason::InsufficientBandwidth)
        .expect("far is too narrow");
    assert_eq!(
        narrow.sites[0].detail,
        "needs 2G bit/s from near, the widest path has 1G"
    );
}

#[test]
fn what_runs_stays_although_a_better_place_appears() {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "dear", 90, &[4]);
    let mut request = request(vec![component("app", 1000)]);
    let first = decided(&inventory, &request);
    reserve(&mut inventory, &first.assignments);
    add_site(&mut inventory, "cheap", 1, &[4]);
    request.held = held(&first.assignments);
    let second = decided(&inventory, &request);
    assert_eq!(second.assignments, first.assignments);
    assert!(holds(&Snapshot::new(&inventory, None), &request));
    assert_eq!(second.explanation[0].runners_up[0].site.name(), "cheap");
}

#[test]
fn a_host_that_cannot_be_seen_keeps_its_replicas_until_it_is_given_up() {
    let mut inventory = two_sites();
    let mut request = request(vec![component("app", 1000)]);
    let first = decided(&inventory, &request);
    reserve(&mut inventory, &first.assignments);
    lose(&mut inventory, "far-0");
    request.held = held(&first.assignments);
    assert!(
        holds(&Snapshot::new(&inventory, None), &request),
        "no rule, no move"
    );

    request.held[0].lost = true;
    let moved = decided(&inventory, &request);
    let places: Vec<_> = moved
        .assignments
        .iter()
        .map(|item| (item.host.name(), item.state))
        .collect();
    assert_eq!(
        places,
        [
            ("near-0", AssignmentState::Active),
            ("far-0", AssignmentState::Draining)
        ]
    );
}

#[test]
fn what_drains_is_reserved_and_can_come_back() {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "mad", 1, &[1]);
    add_site(&mut inventory, "bcn", 50, &[1]);
    let mut request = request(vec![component("app", 1000)]);
    let first = decided(&inventory, &request);
    lose(&mut inventory, "mad-0");
    reserve(&mut inventory, &first.assignments);
    request.held = held(&first.assignments);
    request.held[0].lost = true;
    let moved = decided(&inventory, &request);
    inventory.reserved.clear();
    reserve(&mut inventory, &moved.assignments);

    let other = super::world::request(vec![component("other", 1000)]);
    refused(&inventory, &other);

    edit_host(&mut inventory, "mad-0", |status| {
        status.conditions.0[0].status = "True".into()
    });
    lose(&mut inventory, "bcn-0");
    request.held = held(&moved.assignments);
    for held in &mut request.held {
        held.lost = held.assignment.host.name() == "bcn-0";
    }
    let back = decided(&inventory, &request);
    assert_eq!(active(&back), ["app-0@mad-0"]);
    let states: Vec<_> = back.assignments.iter().map(|item| item.state).collect();
    assert_eq!(states, [AssignmentState::Active, AssignmentState::Draining]);
}

#[test]
fn fewer_replicas_drain_the_last_ones() {
    let inventory = two_sites();
    let mut three = component("app", 1000);
    three.replicas = 3;
    let mut request = request(vec![three]);
    request.held = held(&decided(&inventory, &request).assignments);
    request.components[0].replicas = 1;
    let fewer = decided(&inventory, &request);
    let states: Vec<_> = fewer
        .assignments
        .iter()
        .map(|item| (item.replica, item.state))
        .collect();
    use AssignmentState::{Active, Draining};
    assert_eq!(states, [(0, Active), (1, Draining), (2, Draining)]);
}

#[test]
fn a_replica_moves_only_when_its_group_cannot_be_met_otherwise() {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "a", 1, &[1]);
    add_site(&mut inventory, "b", 50, &[4]);
    add_link(&mut inventory, "a", "b", 20);
    let mut request = request(vec![component("first", 1000)]);
    let first = decided(&inventory, &request);
    assert_eq!(active(&first), ["first-0@a-0"]);
    reserve(&mut inventory, &first.assignments);
    request.held = held(&first.assignments);
    request.components.push(component("second", 1000));
    assert_eq!(
        active(&decided(&inventory, &request)),
        ["first-0@a-0", "second-0@b-0"]
    );
    request.components[1].demands = vec![demand("first", Some(1))];
    assert_eq!(
        active(&decided(&inventory, &request)),
        ["first-0@b-0", "second-0@b-0"]
    );
    lose(&mut inventory, "a-0");
    refused(&inventory, &request);
}

#[test]
fn ties_are_broken_by_the_seed_and_by_nothing_else() {
    let mut inventory = Inventory::default();
    for name in ["a", "b", "c", "d"] {
        add_site(&mut inventory, name, 1, &[4]);
    }
    let host = |seed| -> Assignment {
        let mut request = request(vec![component("app", 1000)]);
        request.policy.tie_break_seed = seed;
        decided(&inventory, &request).assignments.remove(0)
    };
    let hosts: std::collections::BTreeSet<_> = (0..32).map(|seed| host(seed).host).collect();
    assert_eq!(host(7), host(7));
    assert_eq!(hosts.len(), 4, "another seed, another order");
}

#[test]
fn two_that_fit_alone_and_not_together_are_not_both_taken() {
    let mut inventory = Inventory::default();
    add_site(&mut inventory, "mad", 1, &[3]);
    let first = decided(&inventory, &request(vec![component("one", 2000)]));
    reserve(&mut inventory, &first.assignments);
    let refusal = refused(&inventory, &request(vec![component("two", 2000)]));
    assert_eq!(
        refusal.to_string(),
        "no place for two: InsufficientResources at mad (needs 2 cpu, 1 free)"
    );
}
