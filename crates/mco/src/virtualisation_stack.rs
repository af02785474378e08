//! `VirtualisationStack`: says what it names that is not there. Reads: Provider, Site. Writes: nothing. Acts on: nothing.

use api::{Provider, Result, Site, VirtualisationStack};
use runtime::{Ctx, Kinds, Never, Plan, Reconciler, Report, Wait};

use crate::waits::absent;

/// Looks after stacks.
#[derive(Debug)]
pub(crate) struct VirtualisationStackReconciler;

impl Reconciler for VirtualisationStackReconciler {
    type Object = VirtualisationStack;
    /// What is named and not there.
    type Observed = Vec<Wait>;
    type Step = Never;
    type Status = ();

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<Provider>();
        kinds.reads::<Site>();
    }

    async fn observe(&self, ctx: &Ctx, stack: &VirtualisationStack) -> Result<Vec<Wait>> {
        let mut waits = Vec::new();
        waits.extend(absent::<Provider>(ctx, None, stack.spec.provider.name())?);
        for site in &stack.spec.sites {
            waits.extend(absent::<Site>(ctx, None, site.name())?);
        }
        Ok(waits)
    }

    fn plan(&self, stack: &VirtualisationStack, waits: &Vec<Wait>) -> Plan<Never> {
        let waits = match runtime::deleting(stack) {
            true => Vec::new(),
            false => waits.clone(),
        };
        Plan {
            waits,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &VirtualisationStack, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &VirtualisationStack, _: &Vec<Wait>) -> Report<()> {
        ().into()
    }
}
