//! `Site`: a place where resources are.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::quantity::Resources;
use crate::reference::Ref;
use crate::tcrr::Provider;
use crate::units::Degrees;

/// A place where a provider has resources.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Site",
    status = "SiteStatus",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Hosts", type_ = "string", json_path = ".status.hosts.ready"),
    printcolumn(name = "Free-CPU", type_ = "string", json_path = ".status.free.cpu"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SiteSpec {
    /// Who owns the place.
    pub provider: Ref<Provider>,
    /// Where it is on the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The region, as the operator names it.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
    /// The country as ISO 3166-1 alpha-2 code.
    #[schemars(regex(pattern = r"^[A-Z]{2}$"))]
    pub country: String,
    /// How near to users it is.
    pub tier: Tier,
}

/// A point on the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Degrees north.
    pub latitude: Degrees,
    /// Degrees east.
    pub longitude: Degrees,
}

/// How near to users a site is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// At the radio mast or on the customer's premises.
    FarEdge,
    /// In the central office.
    Edge,
    /// In a regional data centre.
    Regional,
    /// In a national data centre.
    Central,
    /// In a public cloud region.
    PublicCloud,
}

/// What is seen of a site; placement never reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// How many hosts it has.
    #[serde(default)]
    pub hosts: HostCount,
    /// What its hosts can carry in all.
    #[serde(default)]
    pub capacity: Resources,
    /// What placements reserve.
    #[serde(default)]
    pub reserved: Resources,
    /// What is left on hosts that are ready.
    #[serde(default)]
    pub free: Resources,
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}

/// Hosts of a site or pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostCount {
    /// All of them.
    #[serde(default)]
    pub total: u32,
    /// Those that are ready.
    #[serde(default)]
    pub ready: u32,
}
