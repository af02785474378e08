//! `WorkloadRecord`: what ran where, from when to when (TCWI). It has no owner, so it outlives its workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mco::{Endpoints, Workload};
use crate::quantity::Quantity;
use crate::reference::Ref;
use crate::tcrr::{Host, Site};
use crate::wdm::Artefact;

/// An entry of the workload inventory: one replica on one host, from when to when.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "WorkloadRecord",
    namespaced,
    shortname = "wlrec",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.site"),
    printcolumn(name = "From", type_ = "date", json_path = ".spec.from"),
    printcolumn(name = "To", type_ = "date", json_path = ".spec.to"),
    selectable = ".spec.workload"
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRecordSpec {
    /// The workload.
    pub workload: Ref<Workload>,
    /// Which of its replicas.
    pub replica: u32,
    /// The site.
    pub site: Ref<Site>,
    /// The host.
    pub host: Ref<Host>,
    /// What ran.
    pub artefact: Artefact,
    /// Since when it was placed there.
    pub from: Time,
    /// Until when; not set while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// Where it was reached.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// What it cost per hour.
    pub hourly_cost: Quantity,
}
