//! `Link`: says which of its sites is not there. Reads: Site. Writes: nothing. Acts on: nothing.

use api::{Link, Result, Site};
use runtime::{Ctx, Kinds, Never, Plan, Reconciler, Report, Wait};

use crate::waits::absent;

/// Looks after links.
#[derive(Debug)]
pub(crate) struct LinkReconciler;

impl Reconciler for LinkReconciler {
    type Object = Link;
    /// The sites that are not there.
    type Observed = Vec<Wait>;
    type Step = Never;
    type Status = ();

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<Site>();
    }

    async fn observe(&self, ctx: &Ctx, link: &Link) -> Result<Vec<Wait>> {
        let mut waits = Vec::new();
        for site in &link.spec.sites {
            waits.extend(absent::<Site>(ctx, None, site.name())?);
        }
        Ok(waits)
    }

    fn plan(&self, link: &Link, waits: &Vec<Wait>) -> Plan<Never> {
        let waits = match runtime::deleting(link) {
            true => Vec::new(),
            false => waits.clone(),
        };
        Plan {
            waits,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Link, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Link, _: &Vec<Wait>) -> Report<()> {
        ().into()
    }
}
