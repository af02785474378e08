//! Telco connectivity manager (TCRA 2.5): networks, chains, and what each host's router must program.
//!
//! With the control plane run `network_domain`, `network` and `service_function_chain`, which own their kinds;
//! `datapath`, a guest of Host that makes each host's HostDatapath; and `instance`, a guest of Instance that keeps one
//! running until nobody sends to it. With the agent of a host runs `host_datapath`, which programs its router.
//! All decisions are made by the `chain` crate; this one gathers what they need and stores what comes out.

mod datapath;
pub mod host_datapath;
mod instance;
mod network;
mod network_domain;
mod prefix;
mod service_function_chain;
#[cfg(test)]
mod tests;
mod underlay;
mod world;

use std::sync::Arc;

use adapter::Router;
use api::HostDatapath;
use runtime::Runtime;

pub use host_datapath::{clear, sweep};

use crate::datapath::DatapathPlanner;
use crate::host_datapath::HostDatapathReconciler;
use crate::instance::InstanceGuard;
use crate::network::NetworkReconciler;
use crate::network_domain::NetworkDomainReconciler;
use crate::service_function_chain::ServiceFunctionChainReconciler;

/// Adds what runs with the control plane.
pub fn control_plane(runtime: Runtime) -> Runtime {
    runtime
        .add(NetworkDomainReconciler)
        .add(NetworkReconciler)
        .add(ServiceFunctionChainReconciler)
        .add(DatapathPlanner)
        .add(InstanceGuard)
}

/// Adds what runs with the agent of a host: it sees only that host's HostDatapath.
pub fn agent<R: Router>(runtime: Runtime, host: &str, router: Arc<R>) -> Runtime {
    runtime
        .select::<HostDatapath>(format!("metadata.name={host}"))
        .add(HostDatapathReconciler::new(host, router))
}
