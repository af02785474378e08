//! When a place that a replica leaves is free again: its replacement serves, its deployment has let it go, and its
//! instance is no more.

use api::mco::{Assignment, AssignmentState, Outcome, PlacementSpec};
use api::wdm::{instance_name, is_available};
use api::{Host, Instance, READY, Result, WorkloadDeployment};
use kube::Api;
use runtime::{Ctx, ObjectRef, Wait, failed};

use crate::placement::deployment_name;

/// The draining assignments of a decision whose replica nobody needs any more: its new place serves, or there is none.
pub(crate) fn replaced(
    ctx: &Ctx,
    namespace: Option<&str>,
    spec: &PlacementSpec,
) -> Result<Vec<Assignment>> {
    let mut replaced = Vec::new();
    for leaving in draining(spec) {
        let next = successor(spec, leaving);
        if next.map_or(Ok(true), |next| serves(ctx, namespace, next))? {
            replaced.push(leaving.clone());
        }
    }
    Ok(replaced)
}

/// The assignments of a decision that are on their way out.
pub(super) fn draining(spec: &PlacementSpec) -> impl Iterator<Item = &Assignment> {
    let assignments = spec.assignments.iter();
    assignments.filter(|assignment| assignment.state == AssignmentState::Draining)
}

/// Where the replica goes.
pub(super) fn successor<'a>(
    spec: &'a PlacementSpec,
    leaving: &Assignment,
) -> Option<&'a Assignment> {
    spec.assignments.iter().find(|assignment| {
        assignment.state == AssignmentState::Active
            && assignment.workload == leaving.workload
            && assignment.replica == leaving.replica
    })
}

fn serves(ctx: &Ctx, namespace: Option<&str>, assignment: &Assignment) -> Result<bool> {
    let instance = ctx.get::<Instance>(namespace, &instance_of(assignment))?;
    let host = ctx.get::<Host>(None, assignment.host.name())?;
    Ok(instance.is_some_and(|instance| is_available(&instance, host.as_deref())))
}

/// What must happen before a place is free, for people and to be woken by.
pub(super) fn wait(
    namespace: &str,
    spec: &PlacementSpec,
    leaving: &Assignment,
    done: bool,
) -> Wait {
    let instance = |assignment| {
        let name = instance_of(assignment);
        ObjectRef::new::<Instance>(Some(namespace), &name)
    };
    match successor(spec, leaving) {
        Some(next) if !done => Wait::Object(instance(next), "replaces one that moves".into()),
        _ => Wait::Object(instance(leaving), "is on its way out".into()),
    }
}

/// Whether the instance of an assignment is gone and cannot come back. Asked of the API itself: a cache that is behind
/// would free room that is still taken.
pub(super) async fn is_gone(ctx: &Ctx, namespace: &str, leaving: &Assignment) -> Result<bool> {
    let Outcome::Reuse {
        pool_namespace,
        pool,
    } = &leaving.outcome;
    let name = deployment_name(leaving.workload.name(), pool_namespace, pool.name());
    let deployments: Api<WorkloadDeployment> = Api::namespaced(ctx.client(), namespace);
    let deployment = deployments.get_opt(&name).await;
    let deployment = deployment.map_err(failed(format!("read deployment {name}")))?;
    if deployment.is_some_and(|deployment| !has_let_go(&deployment, leaving)) {
        return Ok(false);
    }
    let name = instance_of(leaving);
    let instances: Api<Instance> = Api::namespaced(ctx.client(), namespace);
    let instance = instances.get_metadata_opt(&name).await;
    Ok(instance
        .map_err(failed(format!("read instance {name}")))?
        .is_none())
}

/// Whether a deployment has been seen without the replica by whoever makes its instances.
fn has_let_go(deployment: &WorkloadDeployment, leaving: &Assignment) -> bool {
    let conditions = deployment.status.as_ref().map(|status| &status.conditions);
    let seen = conditions
        .and_then(|conditions| conditions.get(READY))
        .and_then(|ready| ready.observed_generation);
    let listed = deployment
        .spec
        .replicas
        .iter()
        .any(|item| item.replica == leaving.replica && item.host == leaving.host);
    !listed && seen == deployment.metadata.generation
}

fn instance_of(assignment: &Assignment) -> String {
    instance_name(
        assignment.workload.name(),
        assignment.replica,
        assignment.host.name(),
    )
}
