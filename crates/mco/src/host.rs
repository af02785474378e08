//! `Host`: whether its agent can be seen. Reads: Site. Writes: nothing. Acts on: the host's Lease, which it removes last.
//!
//! Three parts: this reconciler and `leases` judge hosts with the control plane; `facts` fills in the status and
//! `keeper` renews the Lease with the agent. `Ready=Unknown` means that nobody has heard of the agent for a while,
//! never that the machine is dead.

mod facts;
mod keeper;
mod leases;

use std::fmt;
use std::sync::Arc;

use api::{Host, Result, SYSTEM_NAMESPACE, Site};
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use runtime::{Ctx, Kinds, ObjectRef, Plan, Reconciler, Report, Wait, deleting, failed};

pub use facts::HostFactsReconciler;
pub use keeper::keep_lease;
pub use leases::{Leases, Sign};

use crate::waits::absent;

/// An agent renews its Lease this often.
pub const RENEWAL: std::time::Duration = std::time::Duration::from_secs(2);
/// After three renewals that did not come a host cannot be seen.
pub const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(6);

/// Looks after hosts.
pub struct HostReconciler {
    leases: Arc<Leases>,
}

impl HostReconciler {
    /// Judges hosts by these Leases.
    pub fn new(leases: Arc<Leases>) -> Self {
        Self { leases }
    }
}

/// What is known of a host.
#[derive(Debug)]
pub struct Observed {
    sign: Sign,
    site: Option<Wait>,
    /// Whether its Lease is there; only asked while the host is being deleted.
    lease: bool,
}

/// The end of a host.
#[derive(Debug)]
pub enum Step {
    /// Removes its Lease.
    RemoveLease,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("- lease")
    }
}

impl Reconciler for HostReconciler {
    type Object = Host;
    type Observed = Observed;
    type Step = Step;
    type Status = ();

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<Site>();
    }

    async fn observe(&self, ctx: &Ctx, host: &Host) -> Result<Observed> {
        let name = host.name_any();
        let lease = match deleting(host) {
            true => lease_exists(ctx, &name).await?,
            false => false,
        };
        Ok(Observed {
            sign: self.leases.sign(&name).await,
            site: absent::<Site>(ctx, None, host.spec.site.name())?,
            lease,
        })
    }

    fn plan(&self, host: &Host, observed: &Observed) -> Plan<Step> {
        let mut plan = Plan::default();
        if deleting(host) {
            plan.steps
                .extend(observed.lease.then_some(Step::RemoveLease));
            return plan;
        }
        plan.waits.extend(observed.site.clone());
        match observed.sign {
            Sign::Never => plan
                .waits
                .push(Wait::Unreachable("its agent has not been seen yet".into())),
            Sign::Silent => plan.waits.push(Wait::Unreachable(
                "its agent has not been heard of lately".into(),
            )),
            Sign::Alive => plan.waits.extend(unknown_facts(host)),
        }
        plan
    }

    async fn act(&self, ctx: &Ctx, host: &Host, step: &Step) -> Result<()> {
        let Step::RemoveLease = step;
        let name = host.name_any();
        let done = leases(ctx).delete(&name, &DeleteParams::default()).await;
        match done.map_err(failed(format!("delete lease {name}"))) {
            Err(error) if error.kind != api::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn report(&self, _: &Host, _: &Observed) -> Report<()> {
        ().into()
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        self.leases.clone().watch(ctx.clone())
    }
}

/// A host is of no use before its agent has said what it is.
fn unknown_facts(host: &Host) -> Option<Wait> {
    let status = host.status.as_ref();
    let known = status.is_some_and(|status| status.architecture.is_some());
    let why = "its agent has not reported its facts yet";
    (!known).then(|| Wait::Object(ObjectRef::of(host), why.into()))
}

async fn lease_exists(ctx: &Ctx, host: &str) -> Result<bool> {
    let found = leases(ctx).get_opt(host).await;
    let found = found.map_err(failed(format!("read lease {host}")))?;
    Ok(found.is_some())
}

fn leases(ctx: &Ctx) -> Api<Lease> {
    Api::namespaced(ctx.client(), SYSTEM_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sign: Sign, edit: fn(&mut Host), wait: Option<&str>) {
        let mut host = crate::tests::world::host("mad-1", "mad", 4);
        edit(&mut host);
        let reconciler = HostReconciler::new(Arc::new(Leases::new(SILENCE_MAX)));
        let observed = Observed {
            sign,
            site: None,
            lease: false,
        };
        let waits = reconciler.plan(&host, &observed).waits;
        let shown: Vec<String> = waits.iter().map(Wait::to_string).collect();
        assert_eq!(shown.first().map(String::as_str), wait);
        let unreachable = waits
            .iter()
            .any(|wait| matches!(wait, Wait::Unreachable(_)));
        assert_eq!(unreachable, sign != Sign::Alive);
    }

    #[test]
    fn a_host_is_ready_once_its_agent_is_heard_and_has_told_its_facts() {
        check(Sign::Alive, |_| {}, None);
        check(Sign::Never, |_| {}, Some("its agent has not been seen yet"));
        check(
            Sign::Silent,
            |_| {},
            Some("its agent has not been heard of lately"),
        );
        check(
            Sign::Alive,
            |host| host.status = None,
            Some("Host mad-1: its agent has not reported its facts yet"),
        );
    }
}
