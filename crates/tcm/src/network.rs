//! `Network`: a tenant's network over sites.
//!
//! Reads: NetworkDomain, Network, ServiceFunctionChain. Writes and acts on nothing. A network stays as long as chains
//! lead through it.

use std::sync::Arc;

use api::tcm::NetworkStatus;
use api::{Error, ErrorKind, Network, NetworkDomain, Result, ServiceFunctionChain};
use kube::ResourceExt;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};

use crate::prefix;
use crate::world::{age, key};

/// The length of a network's prefix: a service address is 64 derived bits after it.
const PREFIX_LENGTH: u8 = 64;

/// Checks networks.
#[derive(Debug)]
pub struct NetworkReconciler;

impl Reconciler for NetworkReconciler {
    type Object = Network;
    /// Chains that lead through it.
    type Observed = Vec<ObjectRef>;
    type Step = Never;
    type Status = NetworkStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.wakes_all::<NetworkDomain>();
        kinds.wakes_all::<Network>();
        kinds.reads::<ServiceFunctionChain>();
    }

    async fn observe(&self, ctx: &Ctx, network: &Network) -> Result<Vec<ObjectRef>> {
        if !deleting(network) {
            check(network, &ctx.list(None)?, &ctx.list(None)?)?;
            return Ok(Vec::new());
        }
        let chains = ctx.list::<ServiceFunctionChain>(network.metadata.namespace.as_deref())?;
        let name = network.name_any();
        let through = chains
            .iter()
            .filter(|chain| chain.spec.network.name() == name);
        Ok(through.map(|chain| ObjectRef::of(&**chain)).collect())
    }

    fn plan(&self, _: &Network, chains: &Vec<ObjectRef>) -> Plan<Never> {
        let waits = chains
            .iter()
            .map(|one| Wait::Object(one.clone(), "still leads through it".into()));
        Plan {
            waits: waits.collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Network, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Network, _: &Vec<ObjectRef>) -> Report<NetworkStatus> {
        NetworkStatus::default().into()
    }
}

/// Whether a network is in order; an error names all that is wrong. Of two networks that overlap the older one is.
pub fn check(
    network: &Network,
    domains: &[Arc<NetworkDomain>],
    networks: &[Arc<Network>],
) -> Result<()> {
    let (prefix, name) = (network.spec.prefix, network.spec.domain.name());
    let Some(domain) = domains.iter().find(|domain| domain.name_any() == name) else {
        let what = format!("network domain {name} does not exist");
        return Err(Error::new(ErrorKind::NotFound, what));
    };
    let mut problems = Vec::new();
    if prefix.length() != PREFIX_LENGTH {
        problems.push(format!("prefix {prefix} must be {PREFIX_LENGTH} bits long"));
    }
    let tenants = &domain.spec.tenant_prefixes;
    if !tenants.iter().any(|all| prefix::holds(*all, prefix)) {
        let all: Vec<_> = tenants.iter().map(ToString::to_string).collect();
        let all = if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        };
        problems.push(format!(
            "prefix {prefix} must lie in a tenant prefix of domain {name}; it has {all}"
        ));
    }
    let older = networks
        .iter()
        .find(|other| age(&***other) < age(network) && prefix::overlap(other.spec.prefix, prefix));
    if let Some(other) = older {
        let (taken, by) = (other.spec.prefix, key(&**other));
        problems.push(format!("prefix {prefix} overlaps {taken} of network {by}"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use api::tcm::{DomainController, DomainKind, NetworkDomainSpec, NetworkSpec};

    use super::*;

    fn domain() -> Arc<NetworkDomain> {
        let spec = NetworkDomainSpec {
            kind: DomainKind::DataCentre,
            controller: DomainController::Hosts,
            mtu: 1500,
            locators: "fd00:a::/32".parse().unwrap(),
            tenant_prefixes: vec!["fd00:beef::/32".parse().unwrap()],
        };
        Arc::new(NetworkDomain::new("core", spec))
    }

    fn network(name: &str, prefix: &str) -> Arc<Network> {
        let spec = NetworkSpec {
            prefix: prefix.parse().unwrap(),
            domain: "core".into(),
        };
        let mut network = Network::new(name, spec);
        network.metadata.namespace = Some("shop".into());
        Arc::new(network)
    }

    fn check_problem(network: &Network, others: &[Arc<Network>], expected: &str) {
        let problem = check(network, &[domain()], others).expect_err("it is wrong");
        assert_eq!(problem.what, expected);
    }

    #[test]
    fn a_network_in_order_passes() {
        let one = network("a", "fd00:beef:0:1::/64");
        assert!(check(&one, &[domain()], std::slice::from_ref(&one)).is_ok());
    }

    #[test]
    fn every_problem_is_named_with_what_would_be_right() {
        let one = network("a", "fd00:beef:0:1::/64");
        let short = network("b", "fd00:dead::/48");
        check_problem(
            &short,
            &[],
            "prefix fd00:dead::/48 must be 64 bits long; prefix fd00:dead::/48 must lie in a tenant prefix of domain \
             core; it has fd00:beef::/32",
        );
        let same = network("b", "fd00:beef:0:1::/64");
        check_problem(
            &same,
            &[one.clone(), same.clone()],
            "prefix fd00:beef:0:1::/64 overlaps fd00:beef:0:1::/64 of network shop/a",
        );
        assert!(
            check(&one, &[domain()], &[one.clone(), same]).is_ok(),
            "the first one stays"
        );
        let missing = check(&one, &[], &[]).expect_err("there is no domain");
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
