//! Decides a group: searches, writes the answer down, or finds out what stands in its way.

use api::Quantity;
use api::mco::{Assignment, AssignmentState, Outcome};

use crate::decision::Decision;
use crate::digest::Digest;
use crate::explain;
use crate::infeasible::{self, Infeasible};
use crate::request::{Held, Request};
use crate::search::{Problem, State, solve, stay};
use crate::snapshot::Snapshot;

/// Decides where the replicas of a group run: all of them, or none.
///
/// Replicas that may stay where they are stay; one that leaves a place is in the answer twice until its old place is
/// released: `Draining` there and `Active` elsewhere.
pub fn decide(snapshot: &Snapshot, request: &Request) -> Result<Decision, Box<Infeasible>> {
    let problem = Problem::new(snapshot, request);
    let inputs_digest = Digest::of(&(snapshot.digest(), request));
    let (state, blocked) = solve(&problem);
    let verdicts = explain::verdicts(&state);
    let explanation = verdicts.iter().map(explain::summary).collect();
    match blocked {
        Some(slot) => Err(Box::new(infeasible::diagnose(
            &problem,
            slot,
            explanation,
            inputs_digest,
        ))),
        None => {
            let assignments = assignments(&state);
            Ok(Decision {
                hourly_cost: assignments.iter().map(|item| item.hourly_cost).sum(),
                assignments,
                explanation,
                verdicts,
                inputs_digest,
            })
        }
    }
}

/// Whether every replica has a place and may keep it, so that a decision would change nothing.
pub fn holds(snapshot: &Snapshot, request: &Request) -> bool {
    let problem = Problem::new(snapshot, request);
    let Some(state) = stay(&problem) else {
        return false;
    };
    let wanted = assignments(&state);
    let held = |wanted: &Assignment| request.held.iter().any(|held| held.assignment == *wanted);
    wanted.len() == request.held.len() && wanted.iter().all(held)
}

/// All assignments of a full state: the new, those that stay, and those that drain.
fn assignments(state: &State<'_>) -> Vec<Assignment> {
    let problem = state.problem();
    let mut assignments: Vec<Assignment> = (0..problem.slots.len())
        .filter_map(|slot| {
            let (host, artefact) = state.place(slot)?;
            Some(assignment(problem, slot, host, artefact))
        })
        .collect();
    let leaving: Vec<Assignment> = problem
        .request
        .held
        .iter()
        .filter(|held| {
            !assignments
                .iter()
                .any(|kept| same_place(kept, &held.assignment))
        })
        .map(draining)
        .collect();
    assignments.extend(leaving);
    assignments.sort_by(|a, b| {
        let key = |item: &Assignment| {
            (
                item.workload.clone(),
                item.replica,
                item.state,
                item.host.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    assignments
}

fn assignment(problem: &Problem<'_>, slot: usize, host: usize, artefact: usize) -> Assignment {
    let component = problem.component(slot);
    let (index, replica) = (problem.slots[slot].component, problem.slots[slot].replica);
    let facts = &problem.snapshot.hosts[host];
    let here = problem.request.held.iter().find(|held| {
        let old = &held.assignment;
        old.workload == component.workload && old.replica == replica && old.host == facts.name
    });
    Assignment {
        workload: component.workload.clone(),
        replica,
        state: AssignmentState::Active,
        outcome: Outcome::Reuse {
            pool_namespace: facts.pool.namespace.clone(),
            pool: facts.pool.name.clone(),
        },
        site: problem.snapshot.sites[facts.site].name.clone(),
        host: facts.name.clone(),
        artefact: component.artefacts[artefact].clone(),
        reserved: component.resources.clone(),
        hourly_cost: hourly_cost(problem, index, facts.site),
        since: here.map_or_else(
            || problem.request.now.clone(),
            |held| held.assignment.since.clone(),
        ),
    }
}

fn hourly_cost(problem: &Problem<'_>, component: usize, site: usize) -> Quantity {
    problem.screens[component].costs[site].quantity()
}

fn same_place(a: &Assignment, b: &Assignment) -> bool {
    a.workload == b.workload && a.replica == b.replica && a.host == b.host
}

fn draining(held: &Held) -> Assignment {
    Assignment {
        state: AssignmentState::Draining,
        ..held.assignment.clone()
    }
}
