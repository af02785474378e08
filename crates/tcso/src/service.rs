//! `Service`: components and connections become Workloads, a Network and ServiceFunctionChains.
//!
//! Reads: NetworkDomain. Writes: Network, Workload, ServiceFunctionChain. Acts on: nothing.
//!
//! All Workloads are written at once, as one group, so that they are placed together; `dependsOn` orders their starts.
//! Removal goes in reverse: chains, then workloads against their start order, then the network.

mod check;
mod children;
mod status;

use std::net::Ipv6Addr;
use std::sync::Arc;

use api::mco::Endpoints;
use api::tcso::ComponentStatus;
use api::{
    Error, ErrorKind, Ipv6Prefix, Network, NetworkDomain, Result, Service, ServiceFunctionChain,
    Workload, condition,
};
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
    }

    async fn observe(&self, ctx: &Ctx, service: &Service) -> Result<Observed> {
        Ok(Observed {
            problems: problems(&service.spec),
            domain: ctx.get(None, service.spec.domain.name())?,
            network: ctx.children(service)?.pop(),
            workloads: ctx.children(service)?,
            chains: ctx.children(service)?,
        })
    }

    fn plan(&self, service: &Service, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        if deleting(service) {
            // The order in which they go needs no domain, and no prefix that counts.
            plan.children = children(service, Ipv6Prefix::host(Ipv6Addr::UNSPECIFIED));
            return plan;
        }
        if !observed.problems.is_empty() {
            let problems = observed.problems.join("; ");
            plan.refused = Some(Error::new(ErrorKind::Invalid, problems));
            return plan;
        }
        match observed.prefix(service) {
            Ok(prefix) => {
                plan.children = children(service, prefix);
                let children = plan.children.iter();
                plan.waits = children
                    .filter_map(|child| observed.unready(child))
                    .collect();
            }
            Err(wait) => plan.waits.push(wait),
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
    /// The prefix of the service's network, or what its domain lacks.
    fn prefix(&self, service: &Service) -> Result<Ipv6Prefix, Wait> {
        let name = service.spec.domain.name();
        let wait = |why| Wait::Object(ObjectRef::new::<NetworkDomain>(None, name), why);
        let domain = self.domain.as_deref();
        let domain = domain.ok_or_else(|| wait("does not exist".into()))?;
        prefix(service, domain, self.network.as_deref()).map_err(wait)
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
