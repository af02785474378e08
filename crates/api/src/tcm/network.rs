//! `Network`: a tenant's network over sites.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::reference::Ref;
use crate::tcm::NetworkDomain;
use crate::units::Ipv6Prefix;

/// A tenant's network over sites. Each workload in it has one service address, derived from the prefix and its name,
/// which every replica carries and which is kept when it moves. There is no route to it but through a chain.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Network",
    namespaced,
    status = "NetworkStatus",
    shortname = "tnet",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.prefix"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("self.prefix == oldSelf.prefix").message("the prefix of a network cannot change; make another network").field_path(".prefix"))]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// The prefix of its service addresses, 64 bits long.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]*:[0-9a-fA-F:.]*/64$"))]
    pub prefix: Ipv6Prefix,
    /// The domain that carries it.
    pub domain: Ref<NetworkDomain>,
}

/// What is seen of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
