//! The kinds of the toys.

use api::Conditions;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Has children and nothing else.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "toys.groma.dev",
    version = "v1",
    kind = "Parent",
    namespaced,
    status = "ParentStatus"
)]
pub struct ParentSpec {
    pub replicas: u32,
    pub size: u32,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct ParentStatus {
    #[serde(default)]
    pub ready: u32,
    #[serde(default)]
    pub conditions: Conditions,
}

/// The same as a parent, but without a namespace; its children have one.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "toys.groma.dev",
    version = "v1",
    kind = "Region",
    status = "ParentStatus"
)]
pub struct RegionSpec {
    pub size: u32,
}

/// Has a thing in the world.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "toys.groma.dev",
    version = "v1",
    kind = "Child",
    plural = "children",
    namespaced,
    status = "ChildStatus"
)]
pub struct ChildSpec {
    pub size: u32,
    /// Sent as null and dropped by the server: the two differ as JSON and not as types.
    pub note: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct ChildStatus {
    pub thing: Option<String>,
    /// Written by the guest.
    pub seal: Option<String>,
    #[serde(default)]
    pub conditions: Conditions,
}

/// Has a thing that starts at a time.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "toys.groma.dev",
    version = "v1",
    kind = "Job",
    namespaced,
    status = "JobStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    pub start_seconds: i64,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct JobStatus {
    pub thing: Option<String>,
    #[serde(default)]
    pub conditions: Conditions,
}

/// Shares one child with the other members of its group.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "toys.groma.dev",
    version = "v1",
    kind = "Member",
    namespaced,
    status = "MemberStatus"
)]
pub struct MemberSpec {
    pub group: String,
    pub size: u32,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct MemberStatus {
    #[serde(default)]
    pub conditions: Conditions,
}

pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        Parent::crd(),
        Region::crd(),
        Child::crd(),
        Job::crd(),
        Member::crd(),
    ]
}
