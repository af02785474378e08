//! `Service`: components and connections become Workloads, a Network and ServiceFunctionChains.
//!
//! Reads: NetworkDomain, Site. Writes: Network, Workload, ServiceFunctionChain. Acts on: nothing.
//!
//! All Workloads are written at once, as one group, so that they are placed together; `dependsOn` orders their starts.
//! Removal goes in reverse: chains, then workloads against their start order, then the network. A service that names
//! what does not exist waits for it, and the parts that it has stay as they are.

mod check;
mod children;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use api::mco::Endpoints;
use api::tcm::ChainEnd;
use api::tcso::{ComponentStatus, ConnectionEnd};
use api::{
    Error, ErrorKind, Ipv6Prefix, Network, NetworkDomain, Ref, Result, Service,
    ServiceFunctionChain, Site, Workload, condition,
};
use kube::ResourceExt;
use runtime::{
    Child, Ctx, Kind, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting,
};
use serde::Serialize;

use crate::service::check::problems;
use crate::service::children::{children, prefix};

/// Makes the parts of each service.
#[derive(Debug)]
pub struct ServiceReconciler;

/// What became of the parts of a service.
#[derive(Debug)]
pub struct Observed {
    /// What cannot work in the spec.
    problems: Vec<String>,
    domain: Option<Arc<NetworkDomain>>,
    /// Sites of users that do not exist.
    missing_sites: Vec<Wait>,
    network: Option<Arc<Network>>,
    workloads: Vec<Arc<Workload>>,
    chains: Vec<Arc<ServiceFunctionChain>>,
}

/// The fields of the status that this reconciler owns.
#[derive(Debug, Serialize)]
pub struct Status {
    components: Vec<ComponentStatus>,
    endpoints: Endpoints,
}

impl Reconciler for ServiceReconciler {
    type Object = Service;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Network>();
        kinds.owns::<Workload>();
        kinds.owns::<ServiceFunctionChain>();
        kinds.wakes_all::<NetworkDomain>();
        kinds.reads::<Site>();
    }

    async fn observe(&self, ctx: &Ctx, service: &Service) -> Result<Observed> {
        let chains = ctx.children(service)?;
        Ok(Observed {
            problems: problems(&service.spec),
            domain: ctx.get(None, service.spec.domain.name())?,
            missing_sites: missing_sites(ctx, service, &chains)?,
            network: ctx.children(service)?.pop(),
            workloads: ctx.children(service)?,
            chains,
        })
    }

    fn plan(&self, service: &Service, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        if deleting(service) {
            // The order in which they go needs no domain, and no prefix that counts.
            plan.children = children(service, Ipv6Prefix::host(Ipv6Addr::UNSPECIFIED));
            return plan;
        }
        if !observed.problems.is_empty() && !observed.network_goes() {
            let problems = observed.problems.join("; ");
            plan.refused = Some(Error::new(ErrorKind::Invalid, problems));
            return plan;
        }
        match observed.foundation(service) {
            Ok(prefix) => {
                plan.children = children(service, prefix);
                let children = plan.children.iter();
                plan.waits = children
                    .filter_map(|child| observed.unready(child))
                    .collect();
            }
            Err(waits) => {
                plan.children = observed.parts(service);
                plan.waits = waits;
            }
        }
        if observed.network_goes() {
            // It stays while chains lead through it; when it is gone, it and they are made again.
            plan.children.retain(|child| !is_chain(child));
        }
        plan
    }

    async fn act(&self, _: &Ctx, _: &Service, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, service: &Service, observed: &Observed) -> Report<Status> {
        let status = Status {
            components: status::components(service, &observed.workloads),
            endpoints: status::endpoints(service, &observed.workloads),
        };
        let available = status::availability(service, &observed.workloads, &observed.chains);
        Report {
            status,
            conditions: vec![available],
        }
    }
}

impl Observed {
    /// The prefix of the service's network, or all that must be there or right first.
    fn foundation(&self, service: &Service) -> Result<Ipv6Prefix, Vec<Wait>> {
        let problems = self.problems.iter().cloned().map(Wait::World);
        let mut waits: Vec<Wait> = problems.collect();
        let prefix = match self.domain.as_deref() {
            Some(domain) => prefix(service, domain, self.network.as_deref()),
            None => Err("does not exist, though spec.domain names it".to_owned()),
        };
        if let Err(why) = &prefix {
            let domain = ObjectRef::new::<NetworkDomain>(None, service.spec.domain.name());
            waits.push(Wait::Object(domain, why.clone()));
        }
        waits.extend(self.missing_sites.iter().cloned());
        match prefix {
            Ok(prefix) if waits.is_empty() => Ok(prefix),
            _ => Err(waits),
        }
    }

    fn network_goes(&self) -> bool {
        self.network.as_deref().is_some_and(deleting)
    }

    /// The parts that there are, as they are.
    fn parts(&self, service: &Service) -> Vec<Child> {
        let network = self.network.iter();
        let networks = network.map(|it| Network::new(&it.name_any(), it.spec.clone()));
        let workloads = self.workloads.iter();
        let workloads = workloads.map(|it| Workload::new(&it.name_any(), it.spec.clone()));
        let chains = self.chains.iter();
        let chains = chains.map(|it| ServiceFunctionChain::new(&it.name_any(), it.spec.clone()));
        let networks = networks.map(|it| Child::named(service, it));
        let workloads = workloads.map(|it| Child::named(service, it));
        let chains = chains.map(|it| Child::named(service, it));
        networks.chain(workloads).chain(chains).collect()
    }

    /// Why a part is not as it should be yet.
    fn unready(&self, child: &Child) -> Option<Wait> {
        let name = child.reference();
        let why = find(self.network.as_slice(), &name)
            .or_else(|| find(&self.workloads, &name))
            .or_else(|| find(&self.chains, &name))
            .unwrap_or(Some("does not exist yet"))?;
        Some(Wait::Object(name.clone(), why.to_owned()))
    }
}

/// Sites of users that do not exist. One that a chain names already existed once, and its chain copes without it.
fn missing_sites(
    ctx: &Ctx,
    service: &Service,
    chains: &[Arc<ServiceFunctionChain>],
) -> Result<Vec<Wait>> {
    let known: BTreeSet<&str> = chains.iter().flat_map(|chain| sites(chain)).collect();
    let mut missing = BTreeMap::new();
    for connection in &service.spec.connections {
        let ConnectionEnd::Users { sites } = &connection.from else {
            continue;
        };
        for site in sites.iter().map(Ref::name) {
            if !known.contains(site) && ctx.get::<Site>(None, site)?.is_none() {
                let why = format!(
                    "does not exist, though connection {} names it",
                    connection.name
                );
                missing.insert(site, why);
            }
        }
    }
    let wait = |(site, why)| Wait::Object(ObjectRef::new::<Site>(None, site), why);
    Ok(missing.into_iter().map(wait).collect())
}

/// The sites of a chain's users.
fn sites(chain: &ServiceFunctionChain) -> Vec<&str> {
    match &chain.spec.from {
        ChainEnd::Users { sites } => sites.iter().map(Ref::name).collect(),
        ChainEnd::Workload { .. } => Vec::new(),
    }
}

fn is_chain(child: &Child) -> bool {
    child.object::<ServiceFunctionChain>().is_some()
}

/// Why the part of that name is not ready; nothing is said of one that is not among these.
fn find<'a, P: Part>(parts: &'a [Arc<P>], name: &ObjectRef) -> Option<Option<&'a str>> {
    let mut parts = parts.iter();
    let part = parts.find(|part| ObjectRef::of(&***part) == *name)?;
    Some(condition::unready(
        part.conditions(),
        part.meta().generation,
    ))
}

/// A part that says of itself, for its present generation, whether it is ready.
trait Part: Kind {
    fn conditions(&self) -> Option<&api::Conditions>;
}

impl Part for Network {
    fn conditions(&self) -> Option<&api::Conditions> {
        self.status.as_ref().map(|status| &status.conditions)
    }
}

impl Part for Workload {
    fn conditions(&self) -> Option<&api::Conditions> {
        self.status.as_ref().map(|status| &status.conditions)
    }
}

impl Part for ServiceFunctionChain {
    fn conditions(&self) -> Option<&api::Conditions> {
        self.status.as_ref().map(|status| &status.conditions)
    }
}

#[cfg(test)]
mod tests {
    use api::{AVAILABLE, Truth};
    use serde_json::json;

    use super::*;

    /// A service of a domain that does not exist, and what is seen of it.
    fn typo() -> (Service, Observed) {
        let component = |name: &str, needs: &[&str]| {
            let artefact = json!({"form": "container", "image": "layout:web"});
            json!({"name": name, "artefacts": [artefact], "resources": {"cpu": "1"}, "dependsOn": needs})
        };
        let service: Service = serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Service",
            "metadata": {"name": "shop", "namespace": "default"},
            "spec": {
                "domain": "typo",
                "components": [component("app", &["db"]), component("db", &[])],
                "connections": [{"name": "web", "from": {"users": {"sites": ["mad"]}}, "to": "app"}],
            },
        }))
        .expect("a service");
        let observed = Observed {
            problems: problems(&service.spec),
            domain: None,
            missing_sites: Vec::new(),
            network: None,
            workloads: Vec::new(),
            chains: Vec::new(),
        };
        (service, observed)
    }

    #[test]
    fn while_it_is_deleted_it_waits_for_nothing_and_still_names_all_parts() {
        let (mut service, observed) = typo();
        let before = ServiceReconciler.plan(&service, &observed);
        assert_eq!((before.children.len(), before.waits.len()), (0, 1));
        service.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        let after = ServiceReconciler.plan(&service, &observed);
        assert_eq!(after.waits, []);
        let names: Vec<String> = after
            .children
            .iter()
            .map(|child| child.reference().to_string())
            .collect();
        let parts = [
            "Network default/shop",
            "Workload default/shop-app",
            "Workload default/shop-db",
            "ServiceFunctionChain default/shop-web",
        ];
        assert_eq!(names, parts);
    }

    fn domain() -> NetworkDomain {
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "NetworkDomain", "metadata": {"name": "typo"},
            "spec": {"kind": "wan", "controller": "hosts", "mtu": 1500, "locators": "fd00::/16",
                "tenantPrefixes": ["fd01::/32"]},
        }))
        .expect("a domain")
    }

    fn network(service: &Service) -> Network {
        let prefix = Ipv6Prefix::new("fd01::".parse().expect("an address"), 64);
        let network = children(service, prefix).swap_remove(0);
        network.object::<Network>().expect("the first part").clone()
    }

    #[test]
    fn what_there_is_stays_as_it_is_while_the_spec_names_what_does_not_exist() {
        let (service, mut observed) = typo();
        let site = ObjectRef::new::<Site>(None, "mad");
        observed.missing_sites = vec![Wait::Object(site, "does not exist".into())];
        let plan = ServiceReconciler.plan(&service, &observed);
        assert_eq!((plan.children.len(), plan.waits.len()), (0, 2));
        let network = Arc::new(network(&service));
        observed.network = Some(network.clone());
        let plan = ServiceReconciler.plan(&service, &observed);
        let kept = plan.children.iter().map(Child::object::<Network>);
        let specs: Vec<_> = kept.map(|kept| kept.map(|kept| &kept.spec)).collect();
        assert_eq!(specs, [Some(&network.spec)]);
        let waits: Vec<String> = plan.waits.iter().map(Wait::to_string).collect();
        let expected = [
            "NetworkDomain typo: does not exist, though spec.domain names it",
            "Site mad: does not exist",
        ];
        assert_eq!(waits, expected);
    }

    #[test]
    fn chains_let_go_a_network_that_is_being_deleted() {
        let (mut service, mut observed) = typo();
        let mut network = network(&service);
        let n_of = |service: &Service, observed: &Observed| {
            let plan = ServiceReconciler.plan(service, observed);
            let n_chains = plan.children.iter().filter(|child| is_chain(child)).count();
            (n_chains, plan.children.len())
        };
        observed.domain = Some(Arc::new(domain()));
        observed.network = Some(Arc::new(network.clone()));
        assert_eq!(n_of(&service, &observed), (1, 4));
        let chain = children(&service, network.spec.prefix).pop();
        let chain = chain.and_then(|chain| chain.object::<ServiceFunctionChain>().cloned());
        observed.chains = vec![Arc::new(chain.expect("the last part"))];
        network.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        observed.network = Some(Arc::new(network));
        assert_eq!(n_of(&service, &observed), (0, 3));
        observed.domain = None;
        assert_eq!(n_of(&service, &observed), (0, 1), "whatever else is wrong");
        service.spec.connections[0].to = "nobody".into();
        observed.problems = problems(&service.spec);
        assert_eq!(
            n_of(&service, &observed),
            (0, 1),
            "also with an edit that cannot work"
        );
        observed.network = None;
        assert!(
            ServiceReconciler
                .plan(&service, &observed)
                .refused
                .is_some()
        );
    }

    #[test]
    fn a_spec_that_cannot_work_is_refused_and_what_serves_is_still_told() {
        let (mut service, _) = typo();
        service.spec.connections[0].to = "nobody".into();
        let observed = Observed {
            problems: problems(&service.spec),
            ..typo().1
        };
        let plan = ServiceReconciler.plan(&service, &observed);
        let refused = plan.refused.expect("it names no component");
        assert_eq!(refused.kind, ErrorKind::Invalid);
        assert_eq!(
            refused.what,
            "connection web: to names `nobody`, which is no component"
        );
        let report = ServiceReconciler.report(&service, &observed);
        let available = &report.conditions[0];
        assert_eq!(available.type_, AVAILABLE);
        assert_eq!(available.status, Truth::False.word());
    }
}
