//! `ResourcePool`: adds up its hosts. Reads: VirtualisationStack, Host, ResourcePool. Writes: nothing. Acts on: nothing.

use std::sync::Arc;

use api::tcrr::{HostCount, StackService};
use api::{Host, READY, Ref, ResourcePool, Resources, Result, VirtualisationStack};
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait};
use serde::Serialize;

use crate::waits::absent;

/// Looks after pools.
#[derive(Debug)]
pub(crate) struct ResourcePoolReconciler;

/// What a pool has and lacks.
#[derive(Debug)]
pub(crate) struct Observed {
    hosts: Vec<Arc<Host>>,
    waits: Vec<Wait>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    hosts: HostCount,
    capacity: Resources,
}

impl Reconciler for ResourcePoolReconciler {
    type Object = ResourcePool;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<VirtualisationStack>();
        kinds.wakes_all::<Host>();
    }

    async fn observe(&self, ctx: &Ctx, pool: &ResourcePool) -> Result<Observed> {
        let (mut hosts, mut waits) = (Vec::new(), Vec::new());
        waits.extend(unfit(ctx, pool.spec.stack.name())?);
        let claimed = claimed(ctx, pool)?;
        for host in &pool.spec.hosts {
            waits.extend(absent::<Host>(ctx, None, host.name())?);
            waits.extend(
                claimed
                    .iter()
                    .find(|(_, other)| other == host)
                    .map(|(pool, _)| {
                        Wait::Object(pool.clone(), format!("has {host} too, and comes first"))
                    }),
            );
            hosts.extend(ctx.get::<Host>(None, host.name())?);
        }
        Ok(Observed { hosts, waits })
    }

    fn plan(&self, pool: &ResourcePool, observed: &Observed) -> Plan<Never> {
        let waits = match runtime::deleting(pool) {
            true => Vec::new(),
            false => observed.waits.clone(),
        };
        Plan {
            waits,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &ResourcePool, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &ResourcePool, observed: &Observed) -> Report<Status> {
        let mut capacity = Resources::default();
        for host in &observed.hosts {
            capacity.add(&::placement::allocatable(host));
        }
        let hosts = count(&observed.hosts);
        Status { hosts, capacity }.into()
    }
}

/// A wait for the pool's stack, which must offer hosts.
fn unfit(ctx: &Ctx, stack: &str) -> Result<Option<Wait>> {
    let reference = ObjectRef::new::<VirtualisationStack>(None, stack);
    let wrong = |service| Wait::Object(reference, format!("offers {service:?}, not Hosts"));
    Ok(match ctx.get::<VirtualisationStack>(None, stack)? {
        Some(stack) if stack.spec.service != StackService::Hosts => Some(wrong(stack.spec.service)),
        _ => absent::<VirtualisationStack>(ctx, None, stack)?,
    })
}

/// The hosts of the pools that come before this one: a host belongs to the first that names it.
fn claimed(ctx: &Ctx, pool: &ResourcePool) -> Result<Vec<(ObjectRef, Ref<Host>)>> {
    let own = ObjectRef::of(pool);
    let others = ctx.list::<ResourcePool>(None)?;
    let earlier = others
        .iter()
        .map(|other| (ObjectRef::of(&**other), other))
        .filter(|(name, _)| (&name.namespace, &name.name) < (&own.namespace, &own.name));
    let hosts = earlier.flat_map(|(name, other)| {
        let hosts = other.spec.hosts.iter().cloned();
        hosts.map(move |host| (name.clone(), host))
    });
    Ok(hosts.collect())
}

/// How many hosts there are and how many are ready.
pub(crate) fn count(hosts: &[Arc<Host>]) -> HostCount {
    let n = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let ready = hosts.iter().filter(|host| is_ready(host));
    HostCount {
        total: n(hosts.len()),
        ready: n(ready.count()),
    }
}

/// Whether a host can carry something now.
pub(crate) fn is_ready(host: &Host) -> bool {
    let status = host.status.as_ref();
    status.is_some_and(|status| status.conditions.is_true(READY))
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    #[test]
    fn hosts_without_a_status_are_counted_but_not_ready() {
        let host = crate::tests::world::host("mad-1", "mad", 4);
        let mut unseen = host.clone();
        unseen.status = None;
        let count = count(&[Arc::new(host.clone()), Arc::new(unseen)]);
        assert_eq!((count.total, count.ready), (2, 1), "{}", host.name_any());
    }
}
