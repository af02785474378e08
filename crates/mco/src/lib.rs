//! Multi-cloud orchestrator (TCRA 2.1): the resource repository (TCRR), decisions about workloads, and the workload
//! inventory (TCWI).
//!
//! One module per kind. A Workload is decided by `workload`, guarded by the [`Ledger`], stored as a Placement, and
//! `placement` turns that into WorkloadDeployments; how these come to run is the deployment manager's business.
//! `host` judges hosts by their Leases here and fills in their facts on the agent's side.

pub mod host;
mod inputs;
mod ledger;
mod link;
mod placement;
mod placement_policy;
mod provider;
mod resource_pool;
mod site;
mod virtualisation_stack;
mod waits;
pub mod workload;
mod workload_record;

use std::sync::Arc;

use adapter::{Machine, Router};
use api::Host;
use runtime::Runtime;

pub use ledger::{Ledger, Moved};
pub use placement::deployment_name;
pub use workload::placement_name;

use crate::host::{HostFactsReconciler, HostReconciler, Leases, SILENCE_MAX};
use crate::link::LinkReconciler;
use crate::placement::PlacementReconciler;
use crate::placement_policy::PlacementPolicyReconciler;
use crate::provider::ProviderReconciler;
use crate::resource_pool::ResourcePoolReconciler;
use crate::site::SiteReconciler;
use crate::virtualisation_stack::VirtualisationStackReconciler;
use crate::workload::WorkloadReconciler;
use crate::workload_record::WorkloadRecordKeeper;

/// Adds what runs with the control plane.
pub fn control_plane(runtime: Runtime) -> Runtime {
    let leases = Arc::new(Leases::new(SILENCE_MAX));
    orchestration(repository(runtime, leases.clone()), leases)
}

/// Adds what runs with the agent of a host: it sees only that Host.
pub fn agent<M: Machine, R: Router>(
    runtime: Runtime,
    host: &str,
    machine: Arc<M>,
    router: Arc<R>,
) -> Runtime {
    runtime
        .select::<Host>(format!("metadata.name={host}"))
        .add(HostFactsReconciler::new(host, machine, router))
}

/// The kinds of the resource repository.
fn repository(runtime: Runtime, leases: Arc<Leases>) -> Runtime {
    runtime
        .add(ProviderReconciler)
        .add(VirtualisationStackReconciler)
        .add(SiteReconciler)
        .add(LinkReconciler)
        .add(ResourcePoolReconciler)
        .add(PlacementPolicyReconciler)
        .add(HostReconciler::new(leases))
}

/// The kinds that are decided about and what becomes of them.
fn orchestration(runtime: Runtime, leases: Arc<Leases>) -> Runtime {
    runtime
        .add(WorkloadReconciler::new(Arc::default(), leases))
        .add(WorkloadRecordKeeper)
        .add(PlacementReconciler)
}

#[cfg(test)]
mod tests;
