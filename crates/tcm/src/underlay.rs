//! Whether a host is attached to an underlay that our agents program, and its locator is right.

use std::ops::RangeInclusive;
use std::sync::Arc;

use api::tcm::DomainController;
use api::{Error, ErrorKind, Host, NetworkDomain, Result};
use kube::ResourceExt;

use crate::prefix;
use crate::world::age;

/// The lengths that a locator may have: a segment needs 64 bits of its own.
const LOCATOR_LENGTHS: RangeInclusive<u8> = 32..=64;

/// The domain of a host; none if people program it. An error names what is wrong with the host.
pub fn domain<'a>(
    host: &Host,
    domains: &'a [Arc<NetworkDomain>],
    hosts: &[Arc<Host>],
) -> Result<Option<&'a NetworkDomain>> {
    let name = host.spec.domain.name();
    let Some(domain) = domains.iter().find(|domain| domain.name_any() == name) else {
        let what = format!("network domain {name} does not exist");
        return Err(Error::new(ErrorKind::NotFound, what));
    };
    if domain.spec.controller == DomainController::Manual {
        return Ok(None);
    }
    let problems = problems(host, domain, hosts);
    if problems.is_empty() {
        return Ok(Some(domain));
    }
    Err(Error::new(ErrorKind::Invalid, problems.join("; ")))
}

fn problems(host: &Host, domain: &NetworkDomain, hosts: &[Arc<Host>]) -> Vec<String> {
    let (locator, all) = (host.spec.locator, domain.spec.locators);
    let mut problems = Vec::new();
    if !LOCATOR_LENGTHS.contains(&locator.length()) {
        let (least, most) = (LOCATOR_LENGTHS.start(), LOCATOR_LENGTHS.end());
        problems.push(format!(
            "locator {locator} must be {least} to {most} bits long"
        ));
    }
    if !prefix::holds(all, locator) {
        let domain = domain.name_any();
        problems.push(format!(
            "locator {locator} must lie in {all}, the locators of domain {domain}"
        ));
    }
    let older = hosts
        .iter()
        .find(|other| age(&***other) < age(host) && prefix::overlap(other.spec.locator, locator));
    if let Some(other) = older {
        let (name, taken) = (other.name_any(), other.spec.locator);
        problems.push(format!("locator {locator} overlaps {taken} of host {name}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use api::tcm::{DomainKind, NetworkDomainSpec};
    use api::tcrr::HostSpec;

    use super::*;

    fn domains(controller: DomainController) -> Vec<Arc<NetworkDomain>> {
        let spec = NetworkDomainSpec {
            kind: DomainKind::DataCentre,
            controller,
            mtu: 1500,
            locators: "fd00:a::/32".parse().unwrap(),
            tenant_prefixes: Vec::new(),
        };
        vec![Arc::new(NetworkDomain::new("core", spec))]
    }

    fn host(name: &str, locator: &str) -> Arc<Host> {
        let spec = HostSpec {
            site: "mad".into(),
            domain: "core".into(),
            locator: locator.parse().unwrap(),
            access_ports: Vec::new(),
            allocatable: api::Resources::default(),
        };
        Arc::new(Host::new(name, spec))
    }

    fn check(host: &Host, others: &[Arc<Host>], expected: &str) {
        let domains = domains(DomainController::Hosts);
        let found = domain(host, &domains, others);
        assert_eq!(found.expect_err("it is wrong").what, expected);
    }

    #[test]
    fn a_host_in_order_has_a_domain_unless_people_program_it() {
        let host = host("a", "fd00:a:1::/48");
        let ours = domains(DomainController::Hosts);
        assert!(
            domain(&host, &ours, std::slice::from_ref(&host))
                .unwrap()
                .is_some()
        );
        assert!(
            domain(&host, &domains(DomainController::Manual), &[])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_wrong_locator_is_named() {
        check(
            &host("a", "fd00:b::/72"),
            &[],
            "locator fd00:b::/72 must be 32 to 64 bits long; locator fd00:b::/72 must lie in fd00:a::/32, the locators \
             of domain core",
        );
        let (one, other) = (host("a", "fd00:a:1::/48"), host("b", "fd00:a:1:1::/64"));
        let hosts = [one.clone(), other.clone()];
        check(
            &other,
            &hosts,
            "locator fd00:a:1:1::/64 overlaps fd00:a:1::/48 of host a",
        );
        assert!(
            domain(&one, &domains(DomainController::Hosts), &hosts).is_ok(),
            "the first one stays"
        );
        let missing = domain(&one, &[], &[]).expect_err("there is no domain");
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
