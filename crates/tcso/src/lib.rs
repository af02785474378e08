//! Telco cloud service orchestrator (TCRA 2.6): services become workloads, a network and chains.
//!
//! Nothing here decides where anything runs: that is the orchestrator's, which meets this block only through resources.

pub mod service;

use runtime::Runtime;

use crate::service::ServiceReconciler;

/// Adds what runs with the control plane.
pub fn control_plane(runtime: Runtime) -> Runtime {
    runtime.add(ServiceReconciler)
}
