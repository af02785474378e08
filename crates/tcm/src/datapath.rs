//! What each host's router must program: a guest of Host that makes the HostDatapath of the same name.
//!
//! Reads: all that the `chain` crate decides on (see `world`). Writes: HostDatapath. Acts on: nothing. A host that is
//! being deleted is declared dead, so nobody waits for its agent.

use api::tcm::HostDatapathSpec;
use api::{Host, HostDatapath, NetworkDomain, Result};
use kube::ResourceExt;
use runtime::{Child, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Role, deleting};

use crate::{underlay, world};

/// Plans the datapath of each host.
#[derive(Debug)]
pub struct DatapathPlanner;

impl Reconciler for DatapathPlanner {
    type Object = Host;
    /// The plan; none if people program the host's domain, or the host is being deleted.
    type Observed = Option<HostDatapathSpec>;
    type Step = Never;
    type Status = ();

    fn role() -> Role {
        Role::Guest {
            condition: "DatapathPlanned",
            finalizer: Some("groma.dev/datapath"),
        }
    }

    fn uses(kinds: &mut Kinds) {
        world::wakes_all(kinds);
        kinds.owns::<HostDatapath>();
    }

    async fn observe(&self, ctx: &Ctx, host: &Host) -> Result<Option<HostDatapathSpec>> {
        if deleting(host) {
            return Ok(None);
        }
        let domains = ctx.list::<NetworkDomain>(None)?;
        underlay::domain(host, &domains, &ctx.list(None)?)?;
        Ok(chain::plan(&world::world(ctx)?, &host.name_any()))
    }

    fn plan(&self, host: &Host, spec: &Option<HostDatapathSpec>) -> Plan<Never> {
        let name = host.name_any();
        let datapath = spec
            .as_ref()
            .map(|spec| HostDatapath::new(&name, spec.clone()));
        let dead = deleting(host).then(|| ObjectRef::new::<HostDatapath>(None, &name));
        Plan {
            children: datapath
                .map(|datapath| Child::named(host, datapath))
                .into_iter()
                .collect(),
            forgotten: dead.into_iter().collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Host, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Host, _: &Option<HostDatapathSpec>) -> Report<()> {
        ().into()
    }
}
