//! `ServiceFunctionChain`: functions between two ends.

use std::net::Ipv6Addr;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::mco::Workload;
use crate::reference::Ref;
use crate::tcm::{Direction, Network};
use crate::tcrr::{Host, Site};
use crate::wdm::{Instance, Protocol};

/// Network functions between two ends, in order; the way back leads through the same ones in reverse (RFC 7665).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "ServiceFunctionChain",
    namespaced,
    status = "ServiceFunctionChainStatus",
    shortname = "sfc",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Functions", type_ = "string", json_path = ".spec.functions"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFunctionChainSpec {
    /// The network whose service addresses it leads to.
    pub network: Ref<Network>,
    /// Where traffic enters.
    pub from: ChainEnd,
    /// The workload that it leads to.
    pub to: Ref<Workload>,
    /// The network functions on the way, in order. A function serves one chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub functions: Vec<Ref<Workload>>,
    /// Which traffic to the workload's service address takes the chain; all of it when empty. The rest is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub classifier: Vec<Classifier>,
    /// What happens while a function is missing.
    #[serde(default)]
    pub fail_policy: FailPolicy,
}

/// Where traffic enters a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChainEnd {
    /// From users at the access ports of these sites.
    #[serde(rename_all = "camelCase")]
    Users {
        /// The sites.
        sites: Vec<Ref<Site>>,
    },
    /// From another workload.
    #[serde(rename_all = "camelCase")]
    Workload {
        /// The workload.
        name: Ref<Workload>,
    },
}

/// Traffic by protocol and destination port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Classifier {
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// What happens while a function is missing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum FailPolicy {
    /// Traffic is dropped.
    #[default]
    Block,
    /// Traffic passes around the missing function.
    Bypass,
}

/// What is seen of a chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFunctionChainStatus {
    /// The hops that are in force, forward first, each direction in order.
    #[serde(default)]
    pub hops: Vec<ChainHop>,
    /// `Available`, `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// One hop of a chain: a tunnel that ends at a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainHop {
    /// Which way.
    pub direction: Direction,
    /// The instance where it ends; not set where it ends at an access port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Ref<Instance>>,
    /// The host where it ends.
    pub host: Ref<Host>,
    /// The segment that the packets are sent to.
    pub sid: Ipv6Addr,
    /// Whether the segment is programmed and all that send to it do.
    pub applied: bool,
}
