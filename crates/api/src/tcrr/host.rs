//! `Host`: a machine that runs our agent.

use std::net::Ipv6Addr;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::quantity::Resources;
use crate::reference::Ref;
use crate::tcm::NetworkDomain;
use crate::tcrr::Site;
use crate::units::Ipv6Prefix;

/// A machine that runs our agent. The agent fills in the facts; a missing agent shows as `Ready=Unknown`.
/// Deleting a host declares the machine dead: nobody waits for it any more.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Host",
    status = "HostStatus",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.site"),
    printcolumn(name = "Locator", type_ = "string", json_path = ".spec.locator"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.capacity.cpu"),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.capacity.memory"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    selectable = ".spec.site"
)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// Where it stands.
    pub site: Ref<Site>,
    /// The network domain whose underlay it is attached to.
    pub domain: Ref<NetworkDomain>,
    /// The SRv6 locator (RFC 8986 §3.1) that the underlay routes to this host: from 32 to 64 bits long, its own.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]*:[0-9a-fA-F:.]*/(3[2-9]|[45][0-9]|6[0-4])$"))]
    pub locator: Ipv6Prefix,
    /// Ports at which users reach the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub access_ports: Vec<AccessPort>,
    /// How much of the machine may carry workloads. What is not named is taken from what the agent sees.
    #[serde(default)]
    pub allocatable: Resources,
}

/// A port at which users are attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPort {
    /// Its name on this host.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$"))]
    pub name: String,
    /// The interface in the host's router.
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
    /// The addresses of the users behind it.
    pub prefix: Ipv6Prefix,
}

/// What the agent and the orchestrator see of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// What it can carry in all. Written by the agent.
    #[serde(default)]
    pub capacity: Resources,
    /// The processor architecture as OCI names it: `amd64`, `arm64`. Written by the agent.
    #[serde(default)]
    pub architecture: Option<String>,
    /// The kernel's release. Written by the agent.
    #[serde(default)]
    pub kernel: Option<String>,
    /// What can run containers here. Written by the agent.
    #[serde(default)]
    pub runtimes: Vec<Runtime>,
    /// What the kernel can do with packets, as probed. Written by the agent.
    #[serde(default)]
    pub datapath: Vec<DatapathCapability>,
    /// The router's address in the underlay. Written by the agent.
    #[serde(default)]
    pub underlay_address: Option<Ipv6Addr>,
    /// The version of the agent. Written by the agent.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// `Ready` by the orchestrator, `Enrolled` by the agent.
    #[serde(default)]
    pub conditions: Conditions,
}

/// A program that runs containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Its name, for example `runc`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Something the kernel of a host can do with packets (RFC 8986 §4, §5).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DatapathCapability {
    /// Encapsulation with a segment list: H.Encaps.
    #[serde(rename = "H.Encaps")]
    HEncaps,
    /// Decapsulation and IPv6 table lookup: End.DT6.
    #[serde(rename = "End.DT6")]
    EndDt6,
    /// Classification by nftables.
    #[serde(rename = "nftables")]
    Nftables,
    /// Virtual routing and forwarding devices.
    #[serde(rename = "VRF")]
    Vrf,
}
