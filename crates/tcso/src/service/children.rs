//! The parts of a service: its Network, its Workloads and its ServiceFunctionChains, named after it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use api::mco::{Demand, UserAccess, WorkloadGroup, WorkloadSpec};
use api::tcm::{ChainEnd, NetworkSpec, ServiceFunctionChainSpec};
use api::tcso::{Component, Connection, ConnectionEnd};
use api::{
    Ipv6Prefix, Network, NetworkDomain, Quantity, Ref, Service, ServiceFunctionChain, Workload,
    short_hash,
};
use kube::ResourceExt;
use runtime::{Child, child};

/// The length of a network's prefix.
const NETWORK_BITS: u8 = 64;

/// All parts, for a network of this prefix, in the order in which they come to be; they go in reverse.
pub fn children(service: &Service, prefix: Ipv6Prefix) -> Vec<Child> {
    let mut children = vec![network(service, prefix)];
    let depths = depths(&service.spec.components);
    let workload_of = |component: &Component| {
        let stage = 1 + depths
            .get(component.name.as_str())
            .copied()
            .unwrap_or_default();
        child(service, &component.name, |name| {
            Workload::new(name, workload(service, component))
        })
        .in_stage(stage)
    };
    children.extend(service.spec.components.iter().map(workload_of));
    let last = 2 + depths.values().max().copied().unwrap_or_default();
    let chain_of = |connection: &Connection| {
        child(service, &connection.name, |name| {
            ServiceFunctionChain::new(name, chain(service, connection))
        })
        .in_stage(last)
    };
    children.extend(service.spec.connections.iter().map(chain_of));
    children
}

/// The prefix of a service's network: the one that it names, else the one that it has while the domain still offers it,
/// for it cannot be changed, else one of the domain's first. An error says what the domain lacks.
pub fn prefix(
    service: &Service,
    domain: &NetworkDomain,
    network: Option<&Network>,
) -> Result<Ipv6Prefix, String> {
    let tenants = &domain.spec.tenant_prefixes;
    let offered = |prefix: &Ipv6Prefix| {
        let mut tenants = tenants.iter();
        tenants.any(|tenant| tenant.contains(prefix.address()))
    };
    let present = network.map(|network| network.spec.prefix).filter(offered);
    let derived = || tenants.first().map(|first| derived_prefix(*first, service));
    let prefix = service.spec.prefix.or(present).or_else(derived);
    prefix.ok_or_else(|| "has no tenantPrefixes; add one, or set the service's prefix".into())
}

fn network(service: &Service, prefix: Ipv6Prefix) -> Child {
    let spec = NetworkSpec {
        prefix,
        domain: service.spec.domain.clone(),
    };
    Child::named(service, Network::new(&service.name_any(), spec))
}

/// A prefix within the domain's that depends on nothing but the service's name.
fn derived_prefix(tenants: Ipv6Prefix, service: &Service) -> Ipv6Prefix {
    let hash = short_hash(&[
        "network",
        &service.namespace().unwrap_or_default(),
        &service.name_any(),
    ]);
    let free = u32::from(NETWORK_BITS.saturating_sub(tenants.length()));
    let mask = 1u64.checked_shl(free).map_or(u64::MAX, |bit| bit - 1);
    let bits = tenants.address().to_bits() | (u128::from(hash & mask) << NETWORK_BITS);
    Ipv6Prefix::new(Ipv6Addr::from_bits(bits), NETWORK_BITS)
}

/// How many components must start before each: the longest way of `dependsOn`.
fn depths(components: &[Component]) -> BTreeMap<&str, u32> {
    let mut depths: BTreeMap<&str, u32> = components
        .iter()
        .map(|component| (component.name.as_str(), 0))
        .collect();
    // Each round gets one step further; without a cycle no way is longer than there are components.
    for _ in components {
        for component in components {
            let needed = component
                .depends_on
                .iter()
                .filter_map(|name| depths.get(name.as_str()))
                .max()
                .copied();
            if let (Some(needed), Some(depth)) = (needed, depths.get_mut(component.name.as_str())) {
                *depth = (needed + 1).min(u32::try_from(components.len()).unwrap_or(u32::MAX));
            }
        }
    }
    depths
}

fn workload(service: &Service, component: &Component) -> WorkloadSpec {
    let members = service
        .spec
        .components
        .iter()
        .map(|component| workload_name(service, &component.name))
        .collect();
    WorkloadSpec {
        artefacts: component.artefacts.clone(),
        execution: component.execution.clone(),
        resources: component.resources.clone(),
        replicas: component.replicas,
        configuration: component.configuration.clone(),
        ports: component.ports.clone(),
        network: Some(Ref::new(service.name_any())),
        function: component.function,
        group: Some(WorkloadGroup {
            name: service.name_any(),
            members,
        }),
        demands: demands(service, component),
        depends_on: component
            .depends_on
            .iter()
            .map(|name| workload_name(service, name))
            .collect(),
        user_access: user_access(service, component),
        eligibility: component.eligibility.clone(),
        migration: service.spec.migration,
        policy: service.spec.policy.clone(),
    }
}

fn workload_name(service: &Service, component: &str) -> Ref<Workload> {
    Ref::new(format!("{}-{component}", service.name_any()))
}

/// The components that a connection passes, in order.
fn path(connection: &Connection) -> Vec<&str> {
    let from = match &connection.from {
        ConnectionEnd::Component { name } => Some(name.as_str()),
        ConnectionEnd::Users { .. } => None,
    };
    let through = connection.through.iter().map(String::as_str);
    from.into_iter()
        .chain(through)
        .chain([connection.to.as_str()])
        .collect()
}

/// What a component needs of the way to the next one of each connection, one demand for each neighbour.
fn demands(service: &Service, component: &Component) -> Vec<Demand> {
    let mut demands: BTreeMap<&str, Demand> = BTreeMap::new();
    for connection in &service.spec.connections {
        let path = path(connection);
        let pairs = path.windows(2).filter(|pair| pair[0] == component.name);
        for pair in pairs {
            let to = workload_name(service, pair[1]);
            let demand = demands.entry(pair[1]).or_insert(Demand {
                to,
                bandwidth: None,
                latency_max_micros: None,
            });
            demand.bandwidth = sum(demand.bandwidth, connection.bandwidth);
            // The way between any two neighbours can never take longer than the whole.
            demand.latency_max_micros =
                match (demand.latency_max_micros, connection.latency_max_micros) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
        }
    }
    demands.into_values().collect()
}

/// What several connections need together.
fn sum(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

/// Users matter to the first component that they meet, which should be near, and to the last, which has their latency.
fn user_access(service: &Service, component: &Component) -> Option<UserAccess> {
    let mut access: Option<UserAccess> = None;
    for connection in &service.spec.connections {
        let ConnectionEnd::Users { sites } = &connection.from else {
            continue;
        };
        let path = path(connection);
        if path.first() != Some(&component.name.as_str())
            && path.last() != Some(&component.name.as_str())
        {
            continue;
        }
        let merged = access.get_or_insert(UserAccess {
            sites: Vec::new(),
            latency_max_micros: None,
            bandwidth: None,
        });
        let new = sites
            .iter()
            .filter(|site| !merged.sites.contains(site))
            .cloned()
            .collect::<Vec<_>>();
        merged.sites.extend(new);
        merged.latency_max_micros = match (merged.latency_max_micros, connection.latency_max_micros)
        {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        merged.bandwidth = sum(merged.bandwidth, connection.bandwidth);
    }
    access
}

fn chain(service: &Service, connection: &Connection) -> ServiceFunctionChainSpec {
    let from = match &connection.from {
        ConnectionEnd::Users { sites } => ChainEnd::Users {
            sites: sites.clone(),
        },
        ConnectionEnd::Component { name } => ChainEnd::Workload {
            name: workload_name(service, name),
        },
    };
    ServiceFunctionChainSpec {
        network: Ref::new(service.name_any()),
        from,
        to: workload_name(service, &connection.to),
        functions: connection
            .through
            .iter()
            .map(|name| workload_name(service, name))
            .collect(),
        classifier: connection.classifier.clone(),
        fail_policy: connection.fail_policy,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(components: &[&str], connections: Value) -> Service {
        let artefact = json!({"form": "container", "image": "layout:web"});
        let component =
            |name: &&str| json!({"name": name, "artefacts": [artefact], "resources": {"cpu": "1"}});
        let components: Vec<Value> = components.iter().map(component).collect();
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Service",
            "metadata": {"name": "shop", "namespace": "default"},
            "spec": {"domain": "core", "components": components, "connections": connections},
        }))
        .expect("a service")
    }

    fn domain(tenants: &[&str]) -> NetworkDomain {
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "NetworkDomain", "metadata": {"name": "core"},
            "spec": {"kind": "wan", "controller": "hosts", "mtu": 1500, "locators": "fd00::/16", "tenantPrefixes": tenants},
        }))
        .expect("a domain")
    }

    #[test]
    fn a_network_keeps_its_prefix_while_the_domain_offers_it() {
        let service = service(&["app"], json!([]));
        let [one, two] = ["fd01::/32", "fd02::/32"];
        let first = prefix(&service, &domain(&[one]), None).expect("a prefix");
        let spec = NetworkSpec {
            prefix: first,
            domain: Ref::new("core"),
        };
        let network = Network::new("shop", spec);
        let now = |tenants: &[&str]| prefix(&service, &domain(tenants), Some(&network));
        assert_eq!(now(&[two, one]), Ok(first));
        assert_ne!(now(&[two]), Ok(first), "it is not the domain's any more");
        assert!(now(&[]).is_err());
    }

    #[test]
    fn bandwidths_of_connections_to_one_component_add_up() {
        let from = |site: &str| json!({"users": {"sites": [site]}});
        let connections = json!([
            {"name": "a", "from": from("mad"), "to": "app", "bandwidth": "100M"},
            {"name": "b", "from": from("bcn"), "to": "app", "bandwidth": "20M"},
            {"name": "c", "from": from("bcn"), "to": "app"},
        ]);
        let service = service(&["app"], connections);
        let access = user_access(&service, &service.spec.components[0]).expect("users");
        assert_eq!(access.bandwidth, Some("120M".parse().expect("a quantity")));
        assert_eq!(access.sites, [Ref::new("mad"), Ref::new("bcn")]);
    }
}
