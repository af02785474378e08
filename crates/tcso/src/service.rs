//! `Service`: components and connections become Workloads, a Network and ServiceFunctionChains.
//!
//! Reads: NetworkDomain. Writes: Network, Workload, ServiceFunctionChain. Acts on: nothing.
//!
//! All Workloads are written at once, as one group, so that they are placed together; `dependsOn` orders their starts.
//! Removal goes in reverse: chains, then workloads against their start order, then the network.

mod check;
mod children;
mod status;

use std::sync::Arc;

use api::mco::Endpoints;
use api::tcso::ComponentStatus;
use api::{
    Error, ErrorKind, Network, NetworkDomain, Result, Service, ServiceFunctionChain, Workload,
    condition,
};
use runtime::{
    Child, Ctx, Kind, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting,
};
use serde::Serialize;

use crate::service::check::problems;
use crate::service::children::children;

/// Makes the parts of each service.
#[derive(Debug)]
pub struct ServiceReconciler;

/// What became of the parts of a service.
#[derive(Debug)]
pub struct Observed {
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
        let problems = problems(&service.spec);
        if !deleting(service) && !problems.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, problems.join("; ")));
        }
        Ok(Observed {
            domain: ctx.get(None, service.spec.domain.name())?,
            network: ctx.children(service)?.pop(),
            workloads: ctx.children(service)?,
            chains: ctx.children(service)?,
        })
    }

    fn plan(&self, service: &Service, observed: &Observed) -> Plan<Never> {
        let Some(domain) = &observed.domain else {
            let domain = ObjectRef::new::<NetworkDomain>(None, service.spec.domain.name());
            return Plan {
                waits: vec![Wait::Object(domain, "does not exist".into())],
                ..Plan::default()
            };
        };
        match children(service, domain) {
            Ok(children) => {
                let waits = children
                    .iter()
                    .filter_map(|child| observed.unready(child))
                    .collect();
                Plan {
                    children,
                    waits,
                    ..Plan::default()
                }
            }
            Err(why) => {
                let domain = ObjectRef::of(&**domain);
                Plan {
                    waits: vec![Wait::Object(domain, why)],
                    ..Plan::default()
                }
            }
        }
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
