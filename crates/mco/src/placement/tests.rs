//! What is asked of each pool, in the cases that matter: start order, moves, and workloads that are gone.

use api::mco::AssignmentState;
use api::wdm::Serving;

use super::*;
use crate::tests::world::{assignment, placement, workload};

fn observed(workloads: &[Workload], deployments: Vec<WorkloadDeployment>) -> Observed {
    Observed {
        workloads: workloads
            .iter()
            .map(|workload| (workload.name_any(), Arc::new(workload.clone())))
            .collect(),
        available: BTreeMap::new(),
        deployments: deployments
            .into_iter()
            .map(|deployment| (deployment.name_any(), Arc::new(deployment)))
            .collect(),
        replaced: Vec::new(),
    }
}

/// The deployments that a plan wants, by workload and hosts, and what it waits for.
fn planned(placement: &Placement, observed: &Observed) -> (Vec<WorkloadDeployment>, Vec<String>) {
    let plan = PlacementReconciler.plan(placement, observed);
    let children = plan.children.iter();
    let children = children.filter_map(|child| child.object::<WorkloadDeployment>().cloned());
    (
        children.collect(),
        plan.waits.iter().map(Wait::to_string).collect(),
    )
}

fn places(deployment: &WorkloadDeployment) -> Vec<(u32, &str, Serving)> {
    let replicas = deployment.spec.replicas.iter();
    replicas
        .map(|item| (item.replica, item.host.name(), item.serving))
        .collect()
}

#[test]
fn a_deployment_starts_after_what_it_depends_on_and_then_stays() {
    let mut web = workload("web", 1);
    web.spec.depends_on = vec![api::Ref::new("db")];
    let decision = placement("g", &[("web", "mad", 1)]);
    let mut before = observed(&[web.clone()], vec![]);
    before.available.insert("db".into(), false);
    let (none, waits) = planned(&decision, &before);
    assert!(none.is_empty());
    assert_eq!(
        waits,
        ["Workload default/db: must be available before web starts"]
    );
    before.available.insert("db".into(), true);
    let (started, _) = planned(&decision, &before);
    assert_eq!(started.len(), 1);
    let mut after = observed(&[web], started);
    after.available.insert("db".into(), false);
    assert_eq!(
        planned(&decision, &after).0.len(),
        1,
        "once created it stays"
    );
}

#[test]
fn a_replica_that_moves_to_another_pool_waits_for_no_start_order() {
    let mut web = workload("web", 1);
    web.spec.depends_on = vec![api::Ref::new("db")];
    let first = placement("g", &[("web", "mad", 1)]);
    let mut before = observed(std::slice::from_ref(&web), vec![]);
    before.available.insert("db".into(), true);
    let (running, _) = planned(&first, &before);
    let mut moved = first.clone();
    moved.spec.assignments[0].state = AssignmentState::Draining;
    let mut next = assignment("web", 0, "bcn", 1);
    next.outcome = api::mco::Outcome::Reuse {
        pool_namespace: api::SYSTEM_NAMESPACE.into(),
        pool: api::Ref::new("core"),
    };
    moved.spec.assignments.push(next);
    let mut world = observed(&[web], running);
    world.available.insert("db".into(), false);
    let (both, waits) = planned(&moved, &world);
    assert_eq!(both.len(), 2, "{waits:?}");
}

#[test]
fn a_replica_that_leaves_keeps_what_it_takes() {
    let web = workload("web", 3);
    let first = placement("web", &[("web", "mad", 1)]);
    let (running, _) = planned(&first, &observed(std::slice::from_ref(&web), vec![]));
    let mut moved = first.clone();
    moved.spec.assignments[0].state = AssignmentState::Draining;
    moved.spec.assignments.push(assignment("web", 0, "bcn", 3));
    let (both, _) = planned(&moved, &observed(&[web], running));
    let replicas = both[0].spec.replicas.iter();
    let taken: Vec<_> = replicas.map(|item| item.resources.get("cpu")).collect();
    assert_eq!(taken, [1, 3].map(api::Quantity::whole));
}

#[test]
fn a_replica_that_moves_runs_in_both_places_until_it_is_replaced() {
    let web = workload("web", 1);
    let first = placement("web", &[("web", "mad", 1)]);
    let (running, _) = planned(&first, &observed(std::slice::from_ref(&web), vec![]));
    let mut moved = first.clone();
    moved.spec.assignments[0].state = AssignmentState::Draining;
    moved.spec.assignments.push(assignment("web", 0, "bcn", 1));
    let mut world = observed(&[web], running);
    let (both, _) = planned(&moved, &world);
    assert_eq!(
        places(&both[0]),
        [(0, "mad", Serving::Draining), (0, "bcn", Serving::Active)]
    );
    world.replaced = vec![moved.spec.assignments[0].clone()];
    let (one, _) = planned(&moved, &world);
    assert_eq!(places(&one[0]), [(0, "bcn", Serving::Active)]);
}

#[test]
fn a_place_that_was_left_is_not_started_anew() {
    let web = workload("web", 1);
    let mut leaving = placement("web", &[("web", "mad", 1)]);
    leaving.spec.assignments[0].state = AssignmentState::Draining;
    let (none, _) = planned(&leaving, &observed(&[web], vec![]));
    assert!(none.is_empty());
}

#[test]
fn what_a_workload_that_is_gone_has_left_only_drains() {
    let web = workload("web", 1);
    let decision = placement("web", &[("web", "mad", 1)]);
    let (running, _) = planned(&decision, &observed(&[web], vec![]));
    let mut leaving = decision.clone();
    leaving.spec.assignments[0].state = AssignmentState::Draining;
    let (rest, _) = planned(&leaving, &observed(&[], running));
    assert_eq!(places(&rest[0]), [(0, "mad", Serving::Draining)]);
}

#[test]
fn a_placement_that_is_being_deleted_waits_for_no_start_order() {
    let mut web = workload("web", 1);
    web.spec.depends_on = vec![api::Ref::new("db")];
    let mut going = placement("g", &[("web", "mad", 1)]);
    going.metadata.deletion_timestamp = Some(going.spec.decided.clone());
    let (none, waits) = planned(&going, &observed(&[web], vec![]));
    assert!(none.is_empty() && waits.is_empty(), "{waits:?}");
}

#[test]
fn names_tell_pools_apart() {
    let name = deployment_name("web", "operator", "edge");
    assert_eq!(name, deployment_name("web", "operator", "edge"));
    assert!(name.starts_with("web-") && name.len() == 10, "{name}");
    assert_ne!(name, deployment_name("web", "operator", "core"));
    assert_ne!(name, deployment_name("web", "other", "edge"));
}
