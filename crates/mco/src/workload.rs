//! `Workload`: its group is decided, and what became of that is gathered up.
//!
//! Reads: Workload, Placement, WorkloadDeployment, Instance, and all of the resource repository. Writes: Placement.
//! Acts on: nothing.
//!
//! Workloads that name a group are decided together. The reconciler of the first by name of those that live writes the
//! Placement, which all of them own; the others read it. `group` tells who belongs together, `decision` decides and
//! books, `drain` tells when a place that was left is free again, `status` says what is seen.

mod decision;
mod drain;
mod group;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::mco::{Assignment, Endpoints, Outcome, PlacementSpec};
use api::{
    Host, Instance, Link, Placement, PlacementPolicy, Provider, Ref, ResourcePool, Result, Site,
    Workload, WorkloadDeployment,
};
use futures::stream::BoxStream;
use kube::ResourceExt;
use runtime::{Child, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};
use serde::Serialize;

pub(crate) use drain::replaced;
pub use group::placement_name;

use crate::host::Leases;
use crate::inputs::Inputs;
use crate::ledger::Ledger;
use crate::placement::deployment_name;
use crate::placement::deployments::{self, Target};
use crate::workload::decision::{Answer, Problem, answer};
use crate::workload::group::Group;

/// Looks after workloads.
pub(crate) struct WorkloadReconciler {
    inputs: Arc<Inputs>,
}

impl WorkloadReconciler {
    /// Decides with this ledger, and gives hosts up by these Leases.
    pub fn new(ledger: Arc<Ledger>, leases: Arc<Leases>) -> Self {
        let inputs = Arc::new(Inputs::new(ledger, leases));
        Self { inputs }
    }
}

/// What a workload and its group are.
#[derive(Debug)]
pub(crate) struct Observed {
    group: Group,
    /// What is stored for the group.
    placement: Option<Arc<Placement>>,
    /// What is to be stored, if this workload is the one that writes it.
    answer: Answer,
    /// What the stored decision asks of each pool for this workload.
    targets: Vec<Target>,
    /// The deployments of this workload by name, those that are on their way out included.
    deployments: BTreeMap<String, Arc<WorkloadDeployment>>,
}

/// The fields of the status that this reconciler owns.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    placement: Option<Ref<Placement>>,
    sites: Vec<Ref<Site>>,
    endpoints: Endpoints,
}

impl Reconciler for WorkloadReconciler {
    type Object = Workload;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Placement>();
        kinds.maps::<Workload>(group::concerned);
        kinds.maps::<WorkloadDeployment>(|deployment| {
            let namespace = deployment.namespace();
            let workload = deployment.spec.workload.name();
            vec![ObjectRef::new::<Workload>(namespace.as_deref(), workload)]
        });
        kinds.reads::<Instance>();
        // Not by Site: its status changes every second. A new site is of use once a host there is ready.
        kinds.reads::<Site>();
        kinds.wakes_all::<Host>();
        kinds.wakes_all::<Link>();
        kinds.wakes_all::<PlacementPolicy>();
        kinds.wakes_all::<Provider>();
        kinds.wakes_all::<ResourcePool>();
    }

    async fn observe(&self, ctx: &Ctx, workload: &Workload) -> Result<Observed> {
        let group = Group::of(ctx, workload)?;
        let namespace = workload.namespace();
        let placement = match group.displaced {
            true => None,
            false => ctx.get::<Placement>(namespace.as_deref(), &group.name)?,
        };
        let answer = answer(ctx, &self.inputs, &group, workload, placement.as_ref()).await?;
        let own = placement
            .as_ref()
            .map(|placement| own_part(placement, workload));
        let (mut targets, mut deployments) = (Vec::new(), BTreeMap::new());
        if let Some(own) = own {
            deployments = own_deployments(ctx, &own)?;
            let replaced = replaced(ctx, namespace.as_deref(), &own.spec)?;
            targets = deployments::targets(&own, &replaced, &deployments);
        }
        Ok(Observed {
            group,
            placement,
            answer,
            targets,
            deployments,
        })
    }

    fn plan(&self, workload: &Workload, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        if deleting(workload) {
            return plan;
        }
        if let Some(spec) = &observed.answer.wanted {
            plan.children.push(child(workload, observed, spec));
        }
        plan.waits.extend(observed.answer.waits.clone());
        plan.waits.extend(status::waits(workload, observed));
        plan
    }

    async fn act(&self, _: &Ctx, _: &Workload, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, workload: &Workload, observed: &Observed) -> Report<Status> {
        status::report(workload, observed)
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        decision::room_again(ctx.clone(), self.inputs.clone())
    }
}

impl Observed {
    /// What is decided for one workload, as it is stored.
    fn assignments<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Assignment> {
        let stored = self.placement.iter();
        stored
            .flat_map(|placement| &placement.spec.assignments)
            .filter(move |assignment| assignment.workload.name() == workload)
    }

    /// Why the group has no place, as far as this workload knows.
    fn problem(&self) -> Option<&Problem> {
        self.answer.problem.as_ref()
    }
}

/// The Placement of the group, owned by all that live.
fn child(workload: &Workload, observed: &Observed, spec: &PlacementSpec) -> Child {
    let placement = Placement::new(&observed.group.name, spec.clone());
    let own = workload.name_any();
    let staying: BTreeSet<&str> = spec
        .assignments
        .iter()
        .map(|assignment| assignment.workload.name())
        .collect();
    let others = observed.group.owners(&own, &staying);
    others.fold(Child::named(workload, placement), |child, other| {
        child.also_owned_by(&**other)
    })
}

/// The part of a Placement that is about one workload.
fn own_part(placement: &Placement, workload: &Workload) -> Placement {
    let name = workload.name_any();
    let mut own = placement.clone();
    own.spec
        .assignments
        .retain(|assignment| assignment.workload.name() == name);
    own
}

/// The deployments that exist of those that a Placement names.
fn own_deployments(
    ctx: &Ctx,
    own: &Placement,
) -> Result<BTreeMap<String, Arc<WorkloadDeployment>>> {
    let namespace = own.namespace();
    let mut found = BTreeMap::new();
    for assignment in &own.spec.assignments {
        let Outcome::Reuse {
            pool_namespace,
            pool,
        } = &assignment.outcome;
        let name = deployment_name(assignment.workload.name(), pool_namespace, pool.name());
        if let Some(deployment) = ctx.get::<WorkloadDeployment>(namespace.as_deref(), &name)? {
            found.insert(name, deployment);
        }
    }
    Ok(found)
}

/// A wait for the group's Placement.
fn placement_wait(workload: &Workload, observed: &Observed, why: &str) -> Wait {
    let namespace = workload.namespace();
    let placement = ObjectRef::new::<Placement>(namespace.as_deref(), &observed.group.name);
    Wait::Object(placement, why.to_owned())
}
