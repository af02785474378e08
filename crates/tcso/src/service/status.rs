//! What is told of a service, gathered from its parts.

use std::sync::Arc;

use api::condition::condition;
use api::mco::Endpoints;
use api::tcso::{ComponentStatus, ConnectionEnd};
use api::{AVAILABLE, AvailableReason, Service, ServiceFunctionChain, Truth, Workload};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::service::Part;

/// A message names so many parts at most.
const NAMED_MAX: usize = 3;

/// The components with where they run.
pub fn components(service: &Service, workloads: &[Arc<Workload>]) -> Vec<ComponentStatus> {
    let component = |component: &api::tcso::Component| {
        let workload = find(service, workloads, &component.name);
        let status = workload.and_then(|workload| workload.status.as_ref());
        ComponentStatus {
            name: component.name.clone(),
            available: workload.is_some_and(is_available),
            sites: status
                .map(|status| status.sites.clone())
                .unwrap_or_default(),
        }
    };
    service.spec.components.iter().map(component).collect()
}

/// Where users reach the service: the endpoints of what their connections lead to, or all if it has none of these.
pub fn endpoints(service: &Service, workloads: &[Arc<Workload>]) -> Endpoints {
    let connections = service.spec.connections.iter();
    let from_users =
        connections.filter(|connection| matches!(connection.from, ConnectionEnd::Users { .. }));
    let mut reached: Vec<&str> = from_users
        .map(|connection| connection.to.as_str())
        .collect();
    if reached.is_empty() {
        reached = service
            .spec
            .components
            .iter()
            .map(|component| component.name.as_str())
            .collect();
    }
    reached.sort_unstable();
    reached.dedup();
    let found = reached
        .into_iter()
        .filter_map(|name| find(service, workloads, name));
    found
        .filter_map(|workload| workload.status.as_ref())
        .flat_map(|status| status.endpoints.clone())
        .collect()
}

/// A service serves when all its components and all its chains do.
pub fn availability(
    service: &Service,
    workloads: &[Arc<Workload>],
    chains: &[Arc<ServiceFunctionChain>],
) -> Condition {
    let component = |name: &&str| !find(service, workloads, name).is_some_and(is_available);
    let components = service
        .spec
        .components
        .iter()
        .map(|component| component.name.as_str());
    let missing_components = components
        .filter(component)
        .map(|name| format!("component {name}"));
    let chain = |name: &&str| {
        let full = format!("{}-{name}", service.name_any());
        !chains
            .iter()
            .any(|chain| chain.name_any() == full && is_available(&**chain))
    };
    let connections = service
        .spec
        .connections
        .iter()
        .map(|connection| connection.name.as_str());
    let missing_chains = connections
        .filter(chain)
        .map(|name| format!("connection {name}"));
    let missing: Vec<_> = missing_components.chain(missing_chains).collect();
    match missing.len() {
        0 => condition(AVAILABLE, Truth::True, AvailableReason::Serving, ""),
        n => {
            let named = missing[..n.min(NAMED_MAX)].join(", ");
            let rest = if n > NAMED_MAX {
                format!(" and {} more", n - NAMED_MAX)
            } else {
                String::new()
            };
            condition(
                AVAILABLE,
                Truth::False,
                AvailableReason::PartsMissing,
                format!("not available: {named}{rest}"),
            )
        }
    }
}

fn find<'a>(
    service: &Service,
    workloads: &'a [Arc<Workload>],
    component: &str,
) -> Option<&'a Workload> {
    let name = format!("{}-{component}", service.name_any());
    workloads
        .iter()
        .find(|workload| workload.name_any() == name)
        .map(|workload| &**workload)
}

fn is_available(part: &impl Part) -> bool {
    part.conditions()
        .is_some_and(|conditions| conditions.is_true(AVAILABLE))
}
