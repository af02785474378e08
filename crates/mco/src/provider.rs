//! `Provider`: counts its sites. Reads: Site. Writes: nothing. Acts on: nothing.

use api::{Provider, Result, Site};
use kube::ResourceExt;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report};
use serde::Serialize;

/// Looks after providers.
#[derive(Debug)]
pub(crate) struct ProviderReconciler;

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    sites: u32,
}

impl Reconciler for ProviderReconciler {
    type Object = Provider;
    /// How many sites it has.
    type Observed = u32;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds
            .maps::<Site>(|site| vec![ObjectRef::new::<Provider>(None, site.spec.provider.name())]);
    }

    async fn observe(&self, ctx: &Ctx, provider: &Provider) -> Result<u32> {
        let name = provider.name_any();
        let sites = ctx.list::<Site>(None)?;
        let own = sites
            .iter()
            .filter(|site| site.spec.provider.name() == name);
        Ok(u32::try_from(own.count()).unwrap_or(u32::MAX))
    }

    fn plan(&self, _: &Provider, _: &u32) -> Plan<Never> {
        Plan::default()
    }

    async fn act(&self, _: &Ctx, _: &Provider, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Provider, sites: &u32) -> Report<Status> {
        Status { sites: *sites }.into()
    }
}
