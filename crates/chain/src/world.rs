//! What is known of hosts, networks, instances and chains: the input of every decision here.
//!
//! It is built from objects by whoever has them and may be behind the world; nothing here is ever written back.

use std::collections::BTreeMap;
use std::fmt;

use api::Ipv6Prefix;
use api::tcm::{
    AppliedDatapath, HostDatapathSpec, LocalSid, ServiceFunctionChainSpec, Steering, UserPort,
};
use api::tcrr::DatapathCapability;
use api::wdm::{InstanceInterface, InterfaceRole, Serving};

/// The name of an object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// Names an object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Hosts by name; one that is being deleted is declared dead and not listed.
    pub hosts: BTreeMap<String, Host>,
    /// The prefixes of the networks that are in order.
    pub networks: BTreeMap<Key, Ipv6Prefix>,
    /// Instances, those that are being deleted included: they still run.
    pub instances: BTreeMap<Key, Instance>,
    /// Chains; one that is being deleted is wanted no more and not listed.
    pub chains: BTreeMap<Key, Chain>,
}

/// A host and its router.
#[derive(Clone, Debug)]
pub struct Host {
    /// Every segment of the host lies in it.
    pub locator: Ipv6Prefix,
    /// The largest packet that its underlay carries.
    pub mtu: u32,
    /// Where it stands.
    pub site: String,
    /// Where users reach it.
    pub user_ports: Vec<UserPort>,
    /// Whether its agent can be seen. What a host that cannot be seen has applied counts as gone for new traffic, and
    /// as in use for everything that it steers to.
    pub seen: bool,
    /// What its kernel can do with packets.
    pub capabilities: Vec<DatapathCapability>,
    /// What its router was told last.
    pub spec: Option<HostDatapathSpec>,
    /// What its router has, as reported last.
    pub applied: AppliedDatapath,
}

/// One running copy of a workload.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The workload, of the same namespace.
    pub workload: String,
    /// The host.
    pub host: String,
    /// Whether traffic may be sent to it.
    pub available: bool,
    /// Whether it is on its way out.
    pub serving: Serving,
    /// Whether it goes as soon as nobody relies on it.
    pub deleting: bool,
    /// Its interfaces.
    pub interfaces: Vec<InstanceInterface>,
}

/// A chain as it is wanted.
#[derive(Clone, Debug)]
pub struct Chain {
    /// When it was made, in seconds: of two chains that exclude each other the older one is served.
    pub created: i64,
    /// What is wanted.
    pub spec: ServiceFunctionChainSpec,
}

impl Host {
    /// Whether the kernel can do this.
    pub(crate) fn can(&self, capability: DatapathCapability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Steering that the router has or was told to have.
    pub(crate) fn steering(&self) -> impl Iterator<Item = &Steering> {
        let told = self.spec.iter().flat_map(|spec| &spec.steering);
        told.chain(&self.applied.steering)
    }

    /// Segments that the router has or was told to have.
    pub(crate) fn sids(&self) -> impl Iterator<Item = &LocalSid> {
        let told = self.spec.iter().flat_map(|spec| &spec.sids);
        told.chain(&self.applied.sids)
    }
}

impl Instance {
    /// The name of its interface in its host's router.
    pub(crate) fn interface(&self, key: &Key, role: InterfaceRole) -> Option<String> {
        let interface = self
            .interfaces
            .iter()
            .find(|interface| interface.role == role)?;
        Some(api::interface_name(
            &key.namespace,
            &key.name,
            &interface.name,
        ))
    }
}
