//! `VirtualisationStack`: a technology that a provider runs at some of its sites.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::reference::Ref;
use crate::tcrr::{Provider, Site};

/// A technology that a provider runs at some sites and that can carry workloads (TCRA 2.1).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "VirtualisationStack",
    status = "VirtualisationStackStatus",
    shortname = "vstack",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Technology", type_ = "string", json_path = ".spec.technology"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualisationStackSpec {
    /// Who runs it.
    pub provider: Ref<Provider>,
    /// What it offers.
    pub service: StackService,
    /// How it does that, for example `oci`.
    #[schemars(length(min = 1, max = 63))]
    pub technology: String,
    /// The sites at which it runs.
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub sites: Vec<Ref<Site>>,
}

/// What a stack offers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum StackService {
    /// Hosts that run our agent.
    Hosts,
    /// Containers as a service: Kubernetes clusters.
    Caas,
    /// Infrastructure as a service: virtual machines.
    Iaas,
    /// Bare metal as a service: servers.
    Bmaas,
}

/// What is seen of a stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualisationStackStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
