//! `NetworkDomain`: a part of the network under one control.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::units::Ipv6Prefix;

/// A part of the network under one control; its owner chooses underlay and overlay (TCRA 2.5).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "NetworkDomain",
    status = "NetworkDomainStatus",
    shortname = "nd",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Controller", type_ = "string", json_path = ".spec.controller"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".spec.mtu"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NetworkDomainSpec {
    /// What kind of network it is.
    pub kind: DomainKind,
    /// Who programs it.
    pub controller: DomainController,
    /// The largest packet that its underlay carries, in bytes.
    #[schemars(range(min = 1280, max = 65535))]
    pub mtu: u32,
    /// The prefix of which the locators of its hosts are part.
    pub locators: Ipv6Prefix,
    /// The prefixes of which tenants' networks are part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_prefixes: Vec<Ipv6Prefix>,
}

/// What kind of network a domain is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DomainKind {
    /// Inside a data centre.
    DataCentre,
    /// Between sites.
    Wan,
    /// Towards users.
    Access,
    /// Inside a public cloud.
    PublicCloud,
}

/// Who programs a domain.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DomainController {
    /// Our agents, on the hosts.
    Hosts,
    /// People; what they programmed is only verified.
    Manual,
}

/// What is seen of a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkDomainStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
