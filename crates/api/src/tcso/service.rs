//! `Service`: components, and who talks to whom through which functions.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::mco::{Eligibility, Endpoints, FunctionForm, Migration, PlacementPolicy};
use crate::quantity::{Quantity, Resources};
use crate::reference::Ref;
use crate::tcm::{Classifier, FailPolicy, NetworkDomain};
use crate::tcrr::Site;
use crate::units::{Ipv6Prefix, Micros};
use crate::wdm::{Artefact, Configuration, Execution, Port};

/// A telco cloud service: its components, in which order they start, and how they are connected.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Service",
    namespaced,
    status = "ServiceStatus",
    shortname = "tsvc",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoints[0].address"
    ),
    printcolumn(
        name = "Port",
        type_ = "integer",
        json_path = ".status.endpoints[0].port"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Its parts.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<Component>,
    /// Who talks to whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub connections: Vec<Connection>,
    /// The prefix of its network, 64 bits long; derived from its name within the domain's tenant prefixes when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]*:[0-9a-fA-F:.]*/64$"))]
    pub prefix: Option<Ipv6Prefix>,
    /// The domain that carries its connections.
    pub domain: Ref<NetworkDomain>,
    /// The operator's criteria for placing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Ref<PlacementPolicy>>,
    /// When its components move.
    #[serde(default)]
    pub migration: Migration,
}

/// One part of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name within the service.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"))]
    pub name: String,
    /// Components that must be available before this one starts for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What to run; one of several that do the same.
    #[schemars(length(min = 1, max = 16))]
    pub artefacts: Vec<Artefact>,
    /// How to run it.
    #[serde(default)]
    pub execution: Execution,
    /// What one replica takes.
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
    /// Set for a network function that connections lead through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionForm>,
    /// Where it may run.
    #[serde(default)]
    pub eligibility: Eligibility,
}

fn one() -> u32 {
    1
}

/// Who talks to whom, through which functions, and what that needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its name within the service.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"))]
    pub name: String,
    /// Who begins.
    pub from: ConnectionEnd,
    /// The component that is reached.
    pub to: String,
    /// Components with a `function` that the traffic passes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub through: Vec<String>,
    /// Which traffic; all of it when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classifier: Vec<Classifier>,
    /// What happens while a function is missing.
    #[serde(default)]
    pub fail_policy: FailPolicy,
    /// Bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Quantity>,
    /// The most one-way latency between the users, or the first component, and the last. It is checked on the direct way
    /// between the two and on each hop between neighbours; the hops are not added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_max_micros: Option<Micros>,
}

/// Who begins a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionEnd {
    /// Users at the access ports of these sites.
    #[serde(rename_all = "camelCase")]
    Users {
        /// The sites.
        sites: Vec<Ref<Site>>,
    },
    /// Another component.
    #[serde(rename_all = "camelCase")]
    Component {
        /// Its name.
        name: String,
    },
}

/// What is seen of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its components.
    #[serde(default)]
    pub components: Vec<ComponentStatus>,
    /// Where to reach it.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// `Available`, `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// What is seen of a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The component.
    pub name: String,
    /// Whether it serves.
    pub available: bool,
    /// Where it was decided to run.
    #[serde(default)]
    pub sites: Vec<Ref<Site>>,
}
