//! `Workload`: one component to run.

use std::net::Ipv6Addr;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::mco::{Placement, PlacementPolicy};
use crate::quantity::{Quantity, Resources};
use crate::reference::Ref;
use crate::tcm::Network;
use crate::tcrr::{Provider, Site, Tier};
use crate::units::{Micros, Seconds};
use crate::wdm::{Artefact, Configuration, Execution, Port};

/// One component to run: what it is, what it needs, and where it may be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Workload",
    namespaced,
    status = "WorkloadStatus",
    shortname = "wl",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Placement", type_ = "string", json_path = ".status.placement"),
    printcolumn(name = "Sites", type_ = "string", json_path = ".status.sites"),
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
pub struct WorkloadSpec {
    /// What to run; one of several that do the same is chosen by what the target can run.
    #[schemars(length(min = 1, max = 16))]
    pub artefacts: Vec<Artefact>,
    /// How to run it.
    #[serde(default)]
    pub execution: Execution,
    /// What one replica takes of its target.
    pub resources: Resources,
    /// How many replicas run.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// Its files and environment.
    #[serde(default)]
    pub configuration: Configuration,
    /// The ports at which it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub ports: Vec<Port>,
    /// The network that it is attached to. Without one it is reached only from its own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Ref<Network>>,
    /// Set for a network function that chains lead through: it then has the interfaces `left` and `right`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionForm>,
    /// The workloads that must be decided together with this one. Without it, this one is decided alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<WorkloadGroup>,
    /// What it needs of the way to its neighbours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["to"]))]
    pub demands: Vec<Demand>,
    /// Workloads that must be available before this one starts for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Ref<Workload>>,
    /// Where its users are and what they need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_access: Option<UserAccess>,
    /// Where it may run. Each list that is not empty must name the site's own value.
    #[serde(default)]
    pub eligibility: Eligibility,
    /// When it moves.
    #[serde(default)]
    pub migration: Migration,
    /// The operator's criteria; the policy named `default` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Ref<PlacementPolicy>>,
}

fn one() -> u32 {
    1
}

/// How a network function takes part in a chain.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum FunctionForm {
    /// It forwards IP packets from `left` to `right` and back, and knows nothing of chains.
    Router,
}

/// Workloads that are decided together: nothing is reserved unless all of it fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadGroup {
    /// The group's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// All members by name; the group is decided once all exist and name the same members.
    #[schemars(length(min = 1, max = 64))]
    pub members: Vec<Ref<Workload>>,
}

/// What a workload needs of the way to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// The neighbour, of the same group.
    pub to: Ref<Workload>,
    /// Bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Quantity>,
    /// The most one-way latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_max_micros: Option<Micros>,
}

/// Where the users of a workload are and what they need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAccess {
    /// The sites at whose access ports the users are.
    #[schemars(length(min = 1, max = 1000))]
    pub sites: Vec<Ref<Site>>,
    /// The most one-way latency from any of these sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_max_micros: Option<Micros>,
    /// Bits per second from each of these sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Quantity>,
}

/// Where a workload may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Eligibility {
    /// Only these sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Ref<Site>>,
    /// Only sites of these providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Ref<Provider>>,
    /// Only sites in these countries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Only sites of these tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// When a workload moves away from its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// After a host could not be seen for so long its replicas are decided anew. Not set: never, for a host that
    /// cannot be seen is not a host that is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_unreachable_seconds: Option<Seconds>,
}

/// What is seen of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// The decision that holds for it.
    #[serde(default)]
    pub placement: Option<Ref<Placement>>,
    /// The sites where it was decided to run.
    #[serde(default)]
    pub sites: Vec<Ref<Site>>,
    /// Where to reach it.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// `Placed`, `Available`, `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// Where something is reached, at most one per port.
pub type Endpoints = Vec<Endpoint>;

/// Where a port is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The port's name.
    pub name: String,
    /// The workload that serves it.
    pub workload: Ref<Workload>,
    /// The address that every replica carries.
    pub address: Ipv6Addr,
    /// The port.
    pub port: u16,
}
