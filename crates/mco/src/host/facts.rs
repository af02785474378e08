//! The agent's side of a `Host`: what the machine is and can do. Reads: the machine and its router. Writes: nothing.
//!
//! A guest without a finalizer: it leaves nothing behind. Its condition is `Enrolled`.

use std::net::Ipv6Addr;
use std::sync::Arc;

use adapter::{Machine, MachineFacts, Router};
use api::tcrr::{DatapathCapability, Runtime};
use api::{Host, Resources, Result};
use futures::stream::{BoxStream, StreamExt};
use kube::ResourceExt;
use runtime::{Ctx, Never, ObjectRef, Plan, Reconciler, Report, Role, Wait, deleting};
use serde::Serialize;

/// Fills in the facts of the agent's own host.
pub struct HostFactsReconciler<M, R> {
    host: String,
    machine: Arc<M>,
    router: Arc<R>,
}

impl<M: Machine, R: Router> HostFactsReconciler<M, R> {
    /// Looks at this machine and router.
    pub fn new(host: &str, machine: Arc<M>, router: Arc<R>) -> Self {
        Self {
            host: host.to_owned(),
            machine,
            router,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    machine: MachineFacts,
    datapath: Vec<DatapathCapability>,
    underlay_address: Option<Ipv6Addr>,
}

/// The fields that the agent owns.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    capacity: Resources,
    architecture: String,
    kernel: String,
    runtimes: Vec<Runtime>,
    datapath: Vec<DatapathCapability>,
    underlay_address: Option<Ipv6Addr>,
    agent_version: &'static str,
}

impl<M: Machine, R: Router> Reconciler for HostFactsReconciler<M, R> {
    type Object = Host;
    /// Nothing for an object that is not this host.
    type Observed = Option<Observed>;
    type Step = Never;
    type Status = Option<Status>;

    fn role() -> Role {
        Role::Guest {
            condition: "Enrolled",
            finalizer: None,
        }
    }

    async fn observe(&self, _: &Ctx, host: &Host) -> Result<Option<Observed>> {
        if host.name_any() != self.host {
            return Ok(None);
        }
        Ok(Some(Observed {
            machine: self.machine.facts().await?,
            datapath: self.router.capabilities().await?,
            underlay_address: self.router.underlay_address().await?,
        }))
    }

    fn plan(&self, host: &Host, observed: &Option<Observed>) -> Plan<Never> {
        let attached = observed
            .as_ref()
            .is_none_or(|found| found.underlay_address.is_some());
        let why = "the router has no address in the underlay yet";
        let wait = (!attached && !deleting(host)).then(|| Wait::World(why.into()));
        Plan {
            waits: wait.into_iter().collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Host, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Host, observed: &Option<Observed>) -> Report<Option<Status>> {
        let status = observed.clone().map(|found| Status {
            capacity: found.machine.capacity,
            architecture: found.machine.architecture,
            kernel: found.machine.kernel,
            runtimes: found.machine.runtimes,
            datapath: found.datapath,
            underlay_address: found.underlay_address,
            agent_version: env!("CARGO_PKG_VERSION"),
        });
        status.into()
    }

    fn changes(&self, _: &Ctx) -> BoxStream<'static, ObjectRef> {
        let host = ObjectRef::new::<Host>(None, &self.host);
        self.router.changes().map(move |()| host.clone()).boxed()
    }
}
