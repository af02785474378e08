//! What is seen of a workload: whether it has a place, whether it serves, and where it is reached.

use std::collections::{BTreeMap, BTreeSet};

use api::condition::{self, Truth, condition};
use api::mco::{AssignmentState, Endpoint, Endpoints};
use api::{AVAILABLE, AvailableReason, Placement, Ref, Site, Workload, WorkloadDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use runtime::{ObjectRef, Report, Wait};

use super::{Observed, Status, placement_wait};
use crate::placement::deployments::{Target, spec};

/// Whether every replica has a place.
pub(super) const PLACED: &str = "Placed";
/// The reason while it is not decided yet.
pub(super) const WAITING: &str = "Waiting";

/// What must happen before the workload is as it should be, beside what its group waits for.
pub(super) fn waits(workload: &Workload, observed: &Observed) -> Vec<Wait> {
    let name = workload.name_any();
    let mut waits = Vec::new();
    let writes = observed.group.is_written_by(&name);
    match (&observed.answer.problem, observed.answer.holds) {
        (Some(problem), _) if !writes => {
            waits.push(placement_wait(workload, observed, &problem.message));
        }
        (None, false) if observed.answer.waits.is_empty() => {
            waits.push(placement_wait(workload, observed, "is not decided yet"));
        }
        _ => {}
    }
    let leaving = observed
        .assignments(&name)
        .any(|assignment| assignment.state == AssignmentState::Draining);
    if leaving && !writes {
        waits.push(placement_wait(
            workload,
            observed,
            "has a replica on its way out",
        ));
    }
    let targets = observed.targets.iter();
    waits.extend(targets.filter_map(|target| unready(workload, observed, target)));
    waits
}

fn unready(workload: &Workload, observed: &Observed, target: &Target) -> Option<Wait> {
    let (namespace, name) = (workload.namespace(), target.name());
    let wait = |why: &str| {
        let deployment = ObjectRef::new::<WorkloadDeployment>(namespace.as_deref(), &name);
        Some(Wait::Object(deployment, why.to_owned()))
    };
    let Some(deployment) = observed.deployments.get(&name) else {
        return wait("does not exist yet");
    };
    let conditions = deployment.status.as_ref().map(|status| &status.conditions);
    match deployment.spec == spec(workload, target) {
        false => wait("is not up to date"),
        true => condition::unready(conditions, deployment.metadata.generation).and_then(wait),
    }
}

/// Says what is seen.
pub(super) fn report(workload: &Workload, observed: &Observed) -> Report<Status> {
    let name = workload.name_any();
    let sites: BTreeSet<Ref<Site>> = observed
        .assignments(&name)
        .filter(|assignment| assignment.state == AssignmentState::Active)
        .map(|assignment| assignment.site.clone())
        .collect();
    let known = observed.answer.holds || !sites.is_empty();
    let placement = observed.placement.as_ref().filter(|_| known);
    let status = Status {
        placement: placement.map(|placement| Ref::<Placement>::new(placement.name_any())),
        sites: sites.iter().cloned().collect(),
        endpoints: endpoints(observed),
    };
    Report {
        conditions: vec![placed(observed, &sites), available(workload, observed)],
        status,
    }
}

fn placed(observed: &Observed, sites: &BTreeSet<Ref<Site>>) -> Condition {
    if let Some(problem) = observed.problem() {
        return condition(PLACED, Truth::False, &problem.reason, &problem.message);
    }
    let stored = observed.placement.is_some();
    if !(stored && observed.answer.holds) {
        let first = observed.answer.waits.first().map(Wait::to_string);
        let message = first.unwrap_or_else(|| "it is not decided yet".into());
        return condition(PLACED, Truth::False, WAITING, message);
    }
    let sites: Vec<&str> = sites.iter().map(Ref::name).collect();
    condition(
        PLACED,
        Truth::True,
        "Placed",
        format!("at {}", sites.join(", ")),
    )
}

/// It serves as soon as one replica does; a place that it leaves counts until it is left.
fn available(workload: &Workload, observed: &Observed) -> Condition {
    let (serving, n_available) = served(observed.deployments.values().map(|it| &**it));
    let n_wanted = workload.spec.replicas;
    let message = format!("{n_available} of {n_wanted} replicas are available");
    match (n_wanted, serving) {
        (0, _) => condition(
            AVAILABLE,
            Truth::True,
            AvailableReason::NothingWanted,
            message,
        ),
        (_, true) => condition(AVAILABLE, Truth::True, AvailableReason::Serving, message),
        (_, false) => condition(AVAILABLE, Truth::False, AvailableReason::NoReplica, message),
    }
}

fn served<'a>(deployments: impl Iterator<Item = &'a WorkloadDeployment>) -> (bool, u32) {
    let (mut serving, mut n_available) = (false, 0u32);
    for status in deployments.filter_map(|deployment| deployment.status.as_ref()) {
        serving |= status.conditions.is_true(AVAILABLE);
        n_available = n_available.saturating_add(status.replicas);
    }
    (serving, n_available)
}

fn endpoints(observed: &Observed) -> Endpoints {
    let deployments = observed.deployments.values();
    let all = deployments
        .filter_map(|deployment| deployment.status.as_ref())
        .flat_map(|status| &status.endpoints);
    let by_port: BTreeMap<&str, &Endpoint> = all
        .map(|endpoint| (endpoint.name.as_str(), endpoint))
        .collect();
    by_port.into_values().cloned().collect()
}
