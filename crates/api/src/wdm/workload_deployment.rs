//! `WorkloadDeployment`: one workload on one target.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::mco::{Endpoints, FunctionForm, Workload};
use crate::quantity::Resources;
use crate::reference::Ref;
use crate::tcm::Network;
use crate::tcrr::{Host, ResourcePool};
use crate::wdm::{Artefact, Configuration, Execution, Port, Serving};

/// One workload on one target. The orchestrator writes it; the deployment manager makes it run.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "WorkloadDeployment",
    namespaced,
    status = "WorkloadDeploymentStatus",
    shortname = "wd",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
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
pub struct WorkloadDeploymentSpec {
    /// The workload whose replicas these are.
    pub workload: Ref<Workload>,
    /// What carries them.
    pub target: DeploymentTarget,
    /// The replicas, each with its place.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["replica", "host"]))]
    pub replicas: Vec<DeploymentReplica>,
    /// How they are run.
    #[serde(default)]
    pub execution: Execution,
    /// Their files and environment.
    #[serde(default)]
    pub configuration: Configuration,
    /// The ports at which they serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The network that they are attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Ref<Network>>,
    /// Set for a network function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionForm>,
}

/// What carries a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeploymentTarget {
    /// Hosts of a pool that run our agent.
    #[serde(rename_all = "camelCase")]
    Pool {
        /// The pool's namespace.
        namespace: String,
        /// The pool.
        name: Ref<ResourcePool>,
    },
}

/// One replica and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentReplica {
    /// Which replica, from 0.
    pub replica: u32,
    /// The host it runs on.
    pub host: Ref<Host>,
    /// What it runs.
    pub artefact: Artefact,
    /// What it takes.
    pub resources: Resources,
    /// Whether new traffic goes to it.
    #[serde(default)]
    pub serving: Serving,
}

/// What is seen of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadDeploymentStatus {
    /// How many replicas are available.
    #[serde(default)]
    pub replicas: u32,
    /// Where to reach it.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// `Available`, `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}
