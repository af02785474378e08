//! `Provider`: who offers resources, at which prices and under which jurisdiction.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::quantity::Quantity;

/// Who offers resources: an operator, an edge provider or a public cloud (TCRA 2.1).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Provider",
    status = "ProviderStatus",
    shortname = "prov",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(
        name = "Jurisdiction",
        type_ = "string",
        json_path = ".spec.jurisdiction"
    ),
    printcolumn(name = "Sites", type_ = "integer", json_path = ".status.sites"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// The country whose law governs the provider, as ISO 3166-1 alpha-2 code.
    #[schemars(regex(pattern = r"^[A-Z]{2}$"))]
    pub jurisdiction: String,
    /// How far the operator trusts it.
    #[serde(default)]
    pub trust: Trust,
    /// What one unit of a resource costs per hour, in the currency of the placement policy. A resource without a price is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resource"]))]
    pub prices: Vec<ResourcePrice>,
}

/// The price of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePrice {
    /// The resource: `cpu`, `memory`, or any other that hosts name.
    pub resource: String,
    /// How much of the resource the price is for: `1` core, `1Gi` of memory.
    pub per: Quantity,
    /// Money per hour for that much.
    pub hourly: Quantity,
}

/// How far a provider is trusted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// Run by the operator itself.
    Own,
    /// Run by another under contract.
    #[default]
    Partner,
    /// Open to everybody.
    Public,
}

/// What is seen of a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// How many sites it has.
    #[serde(default)]
    pub sites: u32,
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
