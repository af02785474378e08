//! `Link`: a connection of two sites.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::quantity::Quantity;
use crate::reference::Ref;
use crate::tcrr::Site;
use crate::units::Micros;

/// A connection of two sites; it carries traffic both ways alike.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Link",
    status = "LinkStatus",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Sites", type_ = "string", json_path = ".spec.sites"),
    printcolumn(
        name = "Latency-µs",
        type_ = "integer",
        json_path = ".spec.latencyMicros"
    ),
    printcolumn(name = "Bandwidth", type_ = "string", json_path = ".spec.bandwidth"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("self.sites.size() < 2 || self.sites[0] != self.sites[1]").message("a link must connect two different sites").field_path(".sites"))]
#[serde(rename_all = "camelCase")]
pub struct LinkSpec {
    /// The two sites.
    #[schemars(length(min = 2, max = 2))]
    pub sites: Vec<Ref<Site>>,
    /// One-way latency.
    pub latency_micros: Micros,
    /// Bits per second, each way.
    pub bandwidth: Quantity,
    /// How far the latency varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_micros: Option<Micros>,
    /// Money per gigabyte carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gigabyte: Option<Quantity>,
    /// Links that share a group may fail together (RFC 4202 §2.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_risk_groups: Vec<String>,
}

/// What is seen of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
