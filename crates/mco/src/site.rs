//! `Site`: what its hosts can carry, what is reserved and what is left. Reads: Provider, Host, Placement. Writes: nothing.
//!
//! Hosts and Placements change much more often than anybody looks at a Site, so their changes wake it only through
//! `pulse`, once a second at most. Placement never reads this status.

mod pulse;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::tcrr::HostCount;
use api::{Host, Placement, Provider, Ref, Resources, Result, Site};
use futures::stream::BoxStream;
use kube::ResourceExt;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait};
use serde::Serialize;

use crate::resource_pool::{count, is_ready};
use crate::waits::absent;

/// Looks after sites.
#[derive(Debug)]
pub(crate) struct SiteReconciler;

/// What is at a site.
#[derive(Debug)]
pub(crate) struct Observed {
    hosts: Vec<Arc<Host>>,
    /// What is reserved on each of its hosts.
    reserved: BTreeMap<Ref<Host>, Resources>,
    waits: Vec<Wait>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    hosts: HostCount,
    capacity: Resources,
    reserved: Resources,
    free: Resources,
}

impl Reconciler for SiteReconciler {
    type Object = Site;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<Provider>();
        kinds.reads::<Host>();
        kinds.reads::<Placement>();
    }

    async fn observe(&self, ctx: &Ctx, site: &Site) -> Result<Observed> {
        let name = site.name_any();
        let mut hosts = ctx.list::<Host>(None)?;
        hosts.retain(|host| host.spec.site.name() == name);
        let placements = ctx.list::<Placement>(None)?;
        let mut reserved = ::placement::reserved(placements.iter().map(|placement| &**placement));
        reserved.retain(|host, _| hosts.iter().any(|own| own.name_any() == host.name()));
        let waits = absent::<Provider>(ctx, None, site.spec.provider.name())?;
        Ok(Observed {
            hosts,
            reserved,
            waits: waits.into_iter().collect(),
        })
    }

    fn plan(&self, site: &Site, observed: &Observed) -> Plan<Never> {
        let waits = match runtime::deleting(site) {
            true => Vec::new(),
            false => observed.waits.clone(),
        };
        Plan {
            waits,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Site, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Site, observed: &Observed) -> Report<Status> {
        let mut status = Status {
            hosts: count(&observed.hosts),
            capacity: Resources::default(),
            reserved: Resources::default(),
            free: Resources::default(),
        };
        for host in &observed.hosts {
            let allocatable = ::placement::allocatable(host);
            let reserved = observed.reserved.get(&Ref::new(host.name_any()));
            let reserved = reserved.cloned().unwrap_or_default();
            status.capacity.add(&allocatable);
            status.reserved.add(&reserved);
            if is_ready(host) {
                status.free.add(&allocatable.left_after(&reserved));
            }
        }
        status.into()
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        pulse::sites(ctx.clone())
    }
}

#[cfg(test)]
mod tests {
    use api::Quantity;

    use super::*;
    use crate::tests::world::host;

    #[test]
    fn what_is_free_is_what_ready_hosts_have_left() {
        let mut lost = host("mad-2", "mad", 8);
        let full = host("mad-3", "mad", 1);
        lost.status.as_mut().unwrap().conditions.0[0].status = "Unknown".into();
        let cpu = |cores| Resources::from([("cpu", Quantity::whole(cores))]);
        let observed = Observed {
            hosts: vec![
                Arc::new(host("mad-1", "mad", 4)),
                Arc::new(lost),
                Arc::new(full),
            ],
            reserved: BTreeMap::from([
                (Ref::new("mad-1"), cpu(1)),
                (Ref::new("mad-2"), cpu(2)),
                (Ref::new("mad-3"), cpu(2)),
            ]),
            waits: Vec::new(),
        };
        let site = crate::tests::world::site("mad");
        let status = SiteReconciler.report(&site, &observed).status;
        assert_eq!((status.hosts.total, status.hosts.ready), (3, 2));
        assert_eq!(status.capacity.get("cpu"), Quantity::whole(13));
        assert_eq!(status.reserved.get("cpu"), Quantity::whole(5));
        assert_eq!(status.free.get("cpu"), Quantity::whole(3));
    }
}
