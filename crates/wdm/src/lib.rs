//! Workload deployment manager (TCRA 2.3): deployments, and the instances they are made of.
//!
//! `workload_deployment` runs with the control plane: it turns one workload on one target into Instances.
//! `instance` runs with the agent of a host: it makes each of the host's Instances a container.
//! The two meet only through the `Instance` resource.

pub mod instance;
pub mod workload_deployment;

use std::sync::Arc;

use adapter::ContainerRuntime;
use api::Instance;
use runtime::Runtime;

use crate::instance::InstanceReconciler;
use crate::workload_deployment::WorkloadDeploymentReconciler;

/// Adds what runs with the control plane.
pub fn control_plane(runtime: Runtime) -> Runtime {
    runtime.add(WorkloadDeploymentReconciler)
}

/// Adds what runs with the agent of a host: it sees only that host's Instances.
pub fn agent<C: ContainerRuntime>(runtime: Runtime, host: &str, containers: Arc<C>) -> Runtime {
    runtime
        .select::<Instance>(format!("spec.host={host}"))
        .add(InstanceReconciler::new(containers))
}
