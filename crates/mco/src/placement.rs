//! `Placement`: one WorkloadDeployment for each workload and pool of a decision.
//!
//! Reads: Workload, WorkloadDeployment, Instance, Host. Writes: WorkloadDeployment. Acts on: nothing.
//!
//! The first deployment of a workload is made when the workloads that it depends on are available; after that it has
//! started, wherever it goes. A replica
//! that moves runs in its old place until its new one is available (make before break), then it leaves the deployment;
//! its reservation ends when the Workload's reconciler sees that it is gone.

pub(crate) mod deployments;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::mco::Assignment;
use api::{AVAILABLE, Host, Instance, Placement, Result, Workload, WorkloadDeployment, condition};
use kube::ResourceExt;
use runtime::{Child, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};

pub use deployments::deployment_name;

use crate::placement::deployments::{Target, spec, targets};
use crate::workload::{placement_name, replaced};

/// Looks after placements.
#[derive(Debug)]
pub(crate) struct PlacementReconciler;

/// What a placement is carried out with.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The workloads by name; one that is gone is absent.
    workloads: BTreeMap<String, Arc<Workload>>,
    /// Which of these and of those that they depend on are available.
    available: BTreeMap<String, bool>,
    deployments: BTreeMap<String, Arc<WorkloadDeployment>>,
    /// Draining assignments that nobody needs any more.
    replaced: Vec<Assignment>,
}

impl Reconciler for PlacementReconciler {
    type Object = Placement;
    type Observed = Observed;
    type Step = Never;
    type Status = ();

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<WorkloadDeployment>();
        kinds.maps::<Workload>(|workload| {
            let namespace = workload.namespace();
            let name = placement_name(workload);
            vec![ObjectRef::new::<Placement>(namespace.as_deref(), &name)]
        });
        kinds.reads::<Instance>();
        kinds.wakes_all::<Host>();
    }

    async fn observe(&self, ctx: &Ctx, placement: &Placement) -> Result<Observed> {
        let namespace = placement.namespace();
        let deployments = ctx.children::<WorkloadDeployment>(placement)?;
        let mut observed = Observed {
            workloads: BTreeMap::new(),
            available: BTreeMap::new(),
            deployments: deployments
                .into_iter()
                .map(|deployment| (deployment.name_any(), deployment))
                .collect(),
            replaced: replaced(ctx, namespace.as_deref(), &placement.spec)?,
        };
        for assignment in &placement.spec.assignments {
            let name = assignment.workload.name();
            let Some(workload) = ctx.get::<Workload>(namespace.as_deref(), name)? else {
                continue;
            };
            for needed in &workload.spec.depends_on {
                let other = ctx.get::<Workload>(namespace.as_deref(), needed.name())?;
                let available = other.is_some_and(|other| serves(&other));
                observed
                    .available
                    .insert(needed.name().to_owned(), available);
            }
            observed.workloads.insert(name.to_owned(), workload);
        }
        Ok(observed)
    }

    fn plan(&self, placement: &Placement, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        if deleting(placement) {
            return plan;
        }
        for target in targets(placement, &observed.replaced, &observed.deployments) {
            match carried_out(placement, observed, &target) {
                Ok(child) => {
                    plan.waits.extend(unready(observed, &child));
                    plan.children.push(child);
                }
                Err(waits) => plan.waits.extend(waits),
            }
        }
        plan
    }

    async fn act(&self, _: &Ctx, _: &Placement, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Placement, _: &Observed) -> Report<()> {
        ().into()
    }
}

/// Whether a workload serves its users now.
fn serves(workload: &Workload) -> bool {
    let status = workload.status.as_ref();
    status.is_some_and(|status| status.conditions.is_true(AVAILABLE))
}

/// The deployment for a target, or what must happen before there may be one.
fn carried_out(
    placement: &Placement,
    observed: &Observed,
    target: &Target,
) -> Result<Child, Vec<Wait>> {
    let existing = observed.deployments.get(&target.name());
    let workload = observed.workloads.get(target.workload.name());
    let spec = match (workload, existing) {
        (Some(workload), Some(_)) => spec(workload, target),
        (Some(workload), None) => {
            let waits = too_early(placement, observed, workload);
            if !waits.is_empty() && !started(observed, target) {
                return Err(waits);
            }
            spec(workload, target)
        }
        // Its workload is gone; what is left of it only drains.
        (None, Some(existing)) => {
            let mut spec = existing.spec.clone();
            spec.replicas.clone_from(&target.replicas);
            spec
        }
        (None, None) => return Err(Vec::new()),
    };
    let deployment = WorkloadDeployment::new(&target.name(), spec);
    Ok(Child::named(placement, deployment))
}

/// Whether the workload runs anywhere yet: only its first start waits for what it depends on, a move does not.
fn started(observed: &Observed, target: &Target) -> bool {
    let mut deployments = observed.deployments.values();
    deployments.any(|deployment| deployment.spec.workload == target.workload)
}

/// The workloads that must be available first.
fn too_early(placement: &Placement, observed: &Observed, workload: &Workload) -> Vec<Wait> {
    let namespace = placement.namespace();
    let name = workload.name_any();
    let needed = workload.spec.depends_on.iter();
    needed
        .filter(|needed| observed.available.get(needed.name()) != Some(&true))
        .map(|needed| {
            let needed = ObjectRef::new::<Workload>(namespace.as_deref(), needed.name());
            Wait::Object(needed, format!("must be available before {name} starts"))
        })
        .collect()
}

fn unready(observed: &Observed, child: &Child) -> Option<Wait> {
    let name = child.reference();
    let existing = observed.deployments.get(&name.name)?;
    let conditions = existing.status.as_ref().map(|status| &status.conditions);
    let why = condition::unready(conditions, existing.metadata.generation)?;
    Some(Wait::Object(name, why.to_owned()))
}

#[cfg(test)]
mod tests;
