//! What a decision asks of each pool: the deployments, their replicas and the names they go by.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::mco::{Assignment, AssignmentState, Outcome};
use api::wdm::{DeploymentReplica, DeploymentTarget, Serving, WorkloadDeploymentSpec};
use api::{Placement, Ref, ResourcePool, Workload, WorkloadDeployment, short_hash};

/// The replicas of one workload in one pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub workload: Ref<Workload>,
    pub pool_namespace: String,
    pub pool: Ref<ResourcePool>,
    pub replicas: Vec<DeploymentReplica>,
}

impl Target {
    /// The name of its deployment.
    pub fn name(&self) -> String {
        deployment_name(self.workload.name(), &self.pool_namespace, self.pool.name())
    }
}

/// The name of the deployment of a workload in a pool: the workload's, and a number that stands for the pool.
pub fn deployment_name(workload: &str, pool_namespace: &str, pool: &str) -> String {
    let hash = short_hash(&["deployment", workload, pool_namespace, pool]);
    format!("{workload}-{:06x}", hash >> 40)
}

/// The targets of a decision, in order of workload and pool. A draining replica is in one only while its deployment
/// still has it and it is not replaced: it is never started anew.
pub(crate) fn targets(
    placement: &Placement,
    replaced: &[Assignment],
    deployments: &BTreeMap<String, Arc<WorkloadDeployment>>,
) -> Vec<Target> {
    let mut targets: BTreeMap<(&str, &str, &str), Target> = BTreeMap::new();
    for assignment in &placement.spec.assignments {
        let Outcome::Reuse {
            pool_namespace,
            pool,
        } = &assignment.outcome;
        let workload = assignment.workload.name();
        let existing = deployments.get(&deployment_name(workload, pool_namespace, pool.name()));
        let draining = assignment.state == AssignmentState::Draining;
        if draining
            && (replaced.contains(assignment) || !existing.is_some_and(|it| has(it, assignment)))
        {
            continue;
        }
        let key = (workload, pool_namespace.as_str(), pool.name());
        let target = targets.entry(key).or_insert_with(|| Target {
            workload: assignment.workload.clone(),
            pool_namespace: pool_namespace.clone(),
            pool: pool.clone(),
            replicas: Vec::new(),
        });
        target.replicas.push(replica(assignment));
    }
    targets.into_values().collect()
}

/// Whether a deployment has the replica of an assignment.
pub(crate) fn has(deployment: &WorkloadDeployment, assignment: &Assignment) -> bool {
    let mut replicas = deployment.spec.replicas.iter();
    replicas.any(|item| item.replica == assignment.replica && item.host == assignment.host)
}

fn replica(assignment: &Assignment) -> DeploymentReplica {
    DeploymentReplica {
        replica: assignment.replica,
        host: assignment.host.clone(),
        artefact: assignment.artefact.clone(),
        resources: assignment.reserved.clone(),
        serving: match assignment.state {
            AssignmentState::Active => Serving::Active,
            AssignmentState::Draining => Serving::Draining,
        },
    }
}

/// The deployment of a workload at a target: all that it takes to run the replicas there.
pub(crate) fn spec(workload: &Workload, target: &Target) -> WorkloadDeploymentSpec {
    let wanted = &workload.spec;
    WorkloadDeploymentSpec {
        workload: target.workload.clone(),
        target: DeploymentTarget::Pool {
            namespace: target.pool_namespace.clone(),
            name: target.pool.clone(),
        },
        replicas: target.replicas.clone(),
        execution: wanted.execution.clone(),
        configuration: wanted.configuration.clone(),
        ports: wanted.ports.clone(),
        network: wanted.network.clone(),
        function: wanted.function,
    }
}
