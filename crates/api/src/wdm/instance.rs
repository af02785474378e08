//! `Instance`: one running copy on one host, executed by that host's agent.

use std::net::Ipv6Addr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{AVAILABLE, Conditions, READY};
use crate::mco::Workload;
use crate::quantity::Resources;
use crate::reference::Ref;
use crate::tcrr::Host;
use crate::wdm::{Artefact, Configuration, Execution};

/// One running copy of a workload on one host. It only names Secrets and ConfigMaps; the host's agent reads them.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Instance",
    namespaced,
    status = "InstanceStatus",
    shortname = "inst",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts"),
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
    selectable = ".spec.host",
    selectable = ".spec.workload"
)]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("self.host == oldSelf.host").message("an instance cannot change its host; make another one there").field_path(".host"))]
#[serde(rename_all = "camelCase")]
pub struct InstanceSpec {
    /// The host that runs it.
    pub host: Ref<Host>,
    /// The workload that it is a copy of.
    pub workload: Ref<Workload>,
    /// What it runs.
    pub artefact: Artefact,
    /// How it is run.
    #[serde(default)]
    pub execution: Execution,
    /// What it may take of the host.
    pub resources: Resources,
    /// Its files and environment; placement facts are literals here.
    #[serde(default)]
    pub configuration: Configuration,
    /// Its interfaces.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub interfaces: Vec<InstanceInterface>,
    /// Whether new traffic goes to it.
    #[serde(default)]
    pub serving: Serving,
}

/// An interface of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceInterface {
    /// Its name inside the instance: `eth0`, or `left` and `right`.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9]{0,14}$"))]
    pub name: String,
    /// What it is for.
    pub role: InterfaceRole,
    /// The service address that it carries, for an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv6Addr>,
}

/// What an interface is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum InterfaceRole {
    /// The one interface of an application.
    End,
    /// The side of a function that faces the chain's start.
    Left,
    /// The side of a function that faces the chain's end.
    Right,
}

/// Whether new traffic goes to an instance.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Serving {
    /// It serves.
    #[default]
    Active,
    /// It serves only while nothing else can; it is on its way out.
    Draining,
}

/// What the agent sees of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Since when it runs; not set while it does not.
    #[serde(default)]
    pub started: Option<Time>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// The digest of the image that runs.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// How the last run ended, for people.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// The configuration that is in force.
    #[serde(default)]
    pub configuration: InstanceConfiguration,
    /// `Available` by readiness, `Configured`, `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// The configuration that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceConfiguration {
    /// The digest of what is applied.
    #[serde(default)]
    pub applied: Option<String>,
    /// A newer one that the instance refused; the previous one was put back.
    #[serde(default)]
    pub refused: Option<RefusedConfiguration>,
}

/// A configuration that an instance refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedConfiguration {
    /// Its digest.
    pub digest: String,
    /// What the instance said or did.
    pub why: String,
}

/// The name of the instance of a replica on a host.
pub fn instance_name(workload: &str, replica: u32, host: &str) -> String {
    format!("{workload}-{replica}-{host}")
}

/// Whether traffic may be sent to an instance: it says so, and its host can be seen. All readers ask this one function.
pub fn is_available(instance: &Instance, host: Option<&Host>) -> bool {
    let says_so = instance
        .status
        .as_ref()
        .is_some_and(|status| status.conditions.is_true(AVAILABLE));
    let host_ready = host
        .and_then(|host| host.status.as_ref())
        .is_some_and(|status| status.conditions.is_true(READY));
    instance.metadata.deletion_timestamp.is_none() && says_so && host_ready
}
