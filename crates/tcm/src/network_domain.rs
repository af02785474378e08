//! `NetworkDomain`: a part of the network under one control.
//!
//! Reads: Host, Network. Writes and acts on nothing. A domain stays as long as hosts or networks name it: without it
//! nobody knows what their underlay carries.

use api::tcm::NetworkDomainStatus;
use api::{Error, ErrorKind, Host, Network, NetworkDomain, Result};
use kube::ResourceExt;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};

use crate::prefix;

/// Checks domains.
#[derive(Debug)]
pub struct NetworkDomainReconciler;

impl Reconciler for NetworkDomainReconciler {
    type Object = NetworkDomain;
    /// Hosts and networks that name it.
    type Observed = Vec<ObjectRef>;
    type Step = Never;
    type Status = NetworkDomainStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<Host>();
        kinds.reads::<Network>();
    }

    async fn observe(&self, ctx: &Ctx, domain: &NetworkDomain) -> Result<Vec<ObjectRef>> {
        if !deleting(domain) {
            check(domain)?;
            return Ok(Vec::new());
        }
        let name = domain.name_any();
        let hosts = ctx.list::<Host>(None)?;
        let hosts = hosts.iter().filter(|host| host.spec.domain.name() == name);
        let networks = ctx.list::<Network>(None)?;
        let networks = networks
            .iter()
            .filter(|network| network.spec.domain.name() == name);
        let hosts = hosts.map(|host| ObjectRef::of(&**host));
        Ok(hosts
            .chain(networks.map(|network| ObjectRef::of(&**network)))
            .collect())
    }

    fn plan(&self, _: &NetworkDomain, named_by: &Vec<ObjectRef>) -> Plan<Never> {
        let waits = named_by
            .iter()
            .map(|one| Wait::Object(one.clone(), "still names it".into()));
        Plan {
            waits: waits.collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &NetworkDomain, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &NetworkDomain, _: &Vec<ObjectRef>) -> Report<NetworkDomainStatus> {
        NetworkDomainStatus::default().into()
    }
}

/// What tenants have and what the underlay has must be told apart by their addresses.
fn check(domain: &NetworkDomain) -> Result<()> {
    let locators = domain.spec.locators;
    let tenants = domain.spec.tenant_prefixes.iter();
    let both: Vec<_> = tenants
        .filter(|tenants| prefix::overlap(**tenants, locators))
        .map(|tenants| format!("tenant prefix {tenants} overlaps the locators {locators}"))
        .collect();
    if both.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, both.join("; ")))
}
