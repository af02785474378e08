//! `PlacementPolicy`: nothing can be wrong with it that its schema does not refuse, so it is ready once seen.

use api::{PlacementPolicy, Result};
use runtime::{Ctx, Never, Plan, Reconciler, Report};

/// Looks after policies.
#[derive(Debug)]
pub(crate) struct PlacementPolicyReconciler;

impl Reconciler for PlacementPolicyReconciler {
    type Object = PlacementPolicy;
    type Observed = ();
    type Step = Never;
    type Status = ();

    async fn observe(&self, _: &Ctx, _: &PlacementPolicy) -> Result<()> {
        Ok(())
    }

    fn plan(&self, _: &PlacementPolicy, (): &()) -> Plan<Never> {
        Plan::default()
    }

    async fn act(&self, _: &Ctx, _: &PlacementPolicy, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &PlacementPolicy, (): &()) -> Report<()> {
        ().into()
    }
}
