//! `ResourcePool`: hosts that serve as one deployment target.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::quantity::Resources;
use crate::reference::Ref;
use crate::tcrr::{Host, HostCount, VirtualisationStack};

/// Hosts that serve as one deployment target. It lives in an operator's namespace and names the tenants it serves.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "ResourcePool",
    namespaced,
    status = "ResourcePoolStatus",
    shortname = "pool",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Stack", type_ = "string", json_path = ".spec.stack"),
    printcolumn(name = "Hosts", type_ = "integer", json_path = ".status.hosts.total"),
    printcolumn(
        name = "Ready-Hosts",
        type_ = "integer",
        json_path = ".status.hosts.ready"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePoolSpec {
    /// The stack whose technology runs the workloads; its service must be `hosts`.
    pub stack: Ref<VirtualisationStack>,
    /// The hosts in it. A host belongs to one pool.
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub hosts: Vec<Ref<Host>>,
    /// Namespaces of the tenants that may use it; `*` means all. Empty: only its own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
}

impl ResourcePool {
    /// Whether workloads of a namespace may be placed here.
    pub fn serves(&self, namespace: &str) -> bool {
        let shared = self
            .spec
            .shared_with
            .iter()
            .any(|tenant| tenant == "*" || tenant == namespace);
        shared || self.metadata.namespace.as_deref() == Some(namespace)
    }
}

/// What is seen of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePoolStatus {
    /// How many hosts it has.
    #[serde(default)]
    pub hosts: HostCount,
    /// What its hosts can carry in all.
    #[serde(default)]
    pub capacity: Resources,
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
