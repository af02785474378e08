//! What a laboratory is built from: the very documents that describe the infrastructure to the control plane.

use std::collections::{BTreeMap, BTreeSet};

use api::{Error, ErrorKind, Host, Link, NetworkDomain, Result, Site, documents};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::layout::users;

/// The kinds that a topology file may have.
const KINDS: [&str; 9] = [
    "Host",
    "Link",
    "Namespace",
    "NetworkDomain",
    "PlacementPolicy",
    "Provider",
    "ResourcePool",
    "Site",
    "VirtualisationStack",
];

/// The documents of a topology file, and those of them that something is built from.
#[derive(Clone, Debug)]
pub struct Topology {
    /// All documents, to be applied as they are.
    pub documents: Vec<Value>,
    /// The places.
    pub sites: Vec<Site>,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The connections of sites.
    pub links: Vec<Link>,
    /// The networks whose underlay is built.
    pub domains: Vec<NetworkDomain>,
}

impl Topology {
    /// Reads a topology and refuses one that names what it does not describe, all problems at once.
    pub fn parse(text: &str) -> Result<Self> {
        let documents = documents(text)?;
        if let Some(kind) = documents
            .iter()
            .filter_map(|d| d["kind"].as_str())
            .find(|kind| !KINDS.contains(kind))
        {
            return Err(invalid(format!(
                "a topology has no {kind}; it may have {}",
                KINDS.join(", ")
            )));
        }
        let topology = Self {
            sites: of_kind(&documents, "Site")?,
            hosts: of_kind(&documents, "Host")?,
            links: of_kind(&documents, "Link")?,
            domains: of_kind(&documents, "NetworkDomain")?,
            documents,
        };
        let problems = topology.problems();
        if problems.is_empty() {
            Ok(topology)
        } else {
            Err(invalid(problems.join("; ")))
        }
    }

    /// The underlay's largest packet at a host, in bytes.
    pub(crate) fn mtu(&self, host: &Host) -> u32 {
        let domain = self
            .domains
            .iter()
            .find(|domain| domain.name_any() == host.spec.domain.name());
        domain.expect("every host's domain was checked").spec.mtu
    }

    /// The smallest of all domains: what a link between sites carries.
    pub(crate) fn smallest_mtu(&self) -> u32 {
        self.domains
            .iter()
            .map(|domain| domain.spec.mtu)
            .min()
            .expect("at least one domain was checked")
    }

    fn problems(&self) -> Vec<String> {
        let sites: BTreeSet<String> = self.sites.iter().map(ResourceExt::name_any).collect();
        let domains: BTreeSet<String> = self.domains.iter().map(ResourceExt::name_any).collect();
        let mut problems = Vec::new();
        if self.hosts.is_empty() {
            problems.push("a topology needs at least one Host".to_owned());
        }
        for host in &self.hosts {
            let (name, spec) = (host.name_any(), &host.spec);
            if !sites.contains(spec.site.name()) {
                problems.push(format!(
                    "host {name}: site names `{}`, which is no Site",
                    spec.site
                ));
            }
            if !domains.contains(spec.domain.name()) {
                problems.push(format!(
                    "host {name}: domain names `{}`, which is no NetworkDomain",
                    spec.domain
                ));
            }
        }
        for link in &self.links {
            for site in link
                .spec
                .sites
                .iter()
                .filter(|site| !sites.contains(site.name()))
            {
                problems.push(format!(
                    "link {}: sites names `{site}`, which is no Site",
                    link.name_any()
                ));
            }
        }
        problems.extend(self.overlaps());
        problems.extend(self.shared_names());
        problems
    }

    /// Access ports whose users would be in the same namespace: `a-b` and `c` make the same name as `a` and `b-c`.
    fn shared_names(&self) -> Vec<String> {
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        let mut problems = Vec::new();
        for host in &self.hosts {
            for port in &host.spec.access_ports {
                let one = format!("{} of host {}", port.name, host.name_any());
                let name = users("", &host.name_any(), &port.name);
                if let Some(other) = owners.insert(name, one.clone()) {
                    problems.push(format!(
                        "access ports {other} and {one} get the same name; rename one"
                    ));
                }
            }
        }
        problems
    }

    fn overlaps(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (n, host) in self.hosts.iter().enumerate() {
            for other in &self.hosts[..n] {
                if host.name_any() == other.name_any() {
                    problems.push(format!("host {} is described twice", host.name_any()));
                } else if host.spec.locator.contains(other.spec.locator.address())
                    || other.spec.locator.contains(host.spec.locator.address())
                {
                    problems.push(format!(
                        "hosts {} and {} have overlapping locators",
                        other.name_any(),
                        host.name_any()
                    ));
                }
            }
        }
        problems
    }
}

fn of_kind<K: DeserializeOwned>(documents: &[Value], kind: &str) -> Result<Vec<K>> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    let read = |document: &Value| {
        serde_json::from_value(document.clone()).map_err(|error| {
            invalid(format!(
                "cannot read {kind} {}: {error}",
                document["metadata"]["name"]
            ))
        })
    };
    of_kind.map(read).collect()
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SMALL: &str = r#"
apiVersion: groma.dev/v1alpha1
kind: NetworkDomain
metadata: {name: core}
spec: {kind: wan, controller: hosts, mtu: 1600, locators: "fd00::/16"}
---
apiVersion: groma.dev/v1alpha1
kind: Site
metadata: {name: mad}
spec: {provider: iberia, region: centre, country: ES, tier: edge}
---
apiVersion: groma.dev/v1alpha1
kind: Site
metadata: {name: bcn}
spec: {provider: iberia, region: east, country: ES, tier: edge}
---
apiVersion: groma.dev/v1alpha1
kind: Link
metadata: {name: mad-bcn}
spec: {sites: [mad, bcn], latencyMicros: 4000, bandwidth: 1G}
---
apiVersion: groma.dev/v1alpha1
kind: Host
metadata: {name: mad-1}
spec: {site: mad, domain: core, locator: "fd00:1::/48", accessPorts: [{name: users, interface: acc0, prefix: "fd10:1::/64"}]}
---
apiVersion: groma.dev/v1alpha1
kind: Host
metadata: {name: bcn-1}
spec: {site: bcn, domain: core, locator: "fd00:2::/48"}
"#;

    #[test]
    fn a_sound_topology_is_read() {
        let topology = Topology::parse(SMALL).expect("it is sound");
        assert_eq!(
            (
                topology.sites.len(),
                topology.hosts.len(),
                topology.links.len()
            ),
            (2, 2, 1)
        );
    }

    #[test]
    fn two_ports_with_one_name_are_refused() {
        let port = |interface: &str| {
            format!(
                "accessPorts: [{{name: INTERFACE, interface: {interface}, prefix: \"fd10:1::/64\"}}]"
            )
        };
        let host = |name: &str, port_name: &str, locator: &str| {
            let ports = port("acc0").replace("INTERFACE", port_name);
            format!(
                "---\napiVersion: groma.dev/v1alpha1\nkind: Host\nmetadata: {{name: {name}}}\nspec: {{site: mad, domain: core, locator: \"{locator}\", {ports}}}\n"
            )
        };
        let text = format!(
            "{SMALL}{}{}",
            host("a-b", "c", "fd00:3::/48"),
            host("a", "b-c", "fd00:4::/48")
        );
        let error = Topology::parse(&text).expect_err("one namespace for two");
        assert!(
            error.what.contains("c of host a-b") && error.what.contains("b-c of host a"),
            "{error}"
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let broken = SMALL
            .replace("sites: [mad, bcn]", "sites: [mad, oslo]")
            .replace("fd00:2::/48", "fd00:1::/40");
        let error = Topology::parse(&broken).expect_err("it is broken");
        assert!(
            error.what.contains("`oslo`") && error.what.contains("overlapping locators"),
            "{error}"
        );
        let foreign = format!("{SMALL}---\nkind: Pod\nmetadata: {{name: x}}\n");
        assert!(
            Topology::parse(&foreign)
                .expect_err("no Pod")
                .what
                .contains("a topology has no Pod")
        );
    }
}
