//! `Placement`: the stored decision for one group. Active placements are the reservations.
//!
//! An exception to "spec is what the user wants": the decision is its spec, status holds what was observed of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::mco::{Criterion, PlacementPolicy, Workload};
use crate::quantity::{Quantity, Resources};
use crate::reference::Ref;
use crate::tcrr::{Host, Provider, ResourcePool, Site};
use crate::units::Micros;
use crate::wdm::Artefact;

/// The decision for one group of workloads: where each replica runs, at what cost, why there and why not elsewhere.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "Placement",
    namespaced,
    status = "PlacementStatus",
    shortname = "pl",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(
        name = "Sites",
        type_ = "string",
        json_path = ".spec.assignments[*].site"
    ),
    printcolumn(
        name = "Cost-per-hour",
        type_ = "string",
        json_path = ".spec.hourlyCost"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSpec {
    /// What was decided about.
    pub group: PlacementGroup,
    /// When it was decided.
    pub decided: Time,
    /// A digest of everything the decision was taken on.
    pub inputs_digest: String,
    /// The criteria that were applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Ref<PlacementPolicy>>,
    /// Where each replica runs. Each is a reservation, those that drain included.
    pub assignments: Vec<Assignment>,
    /// What all of it costs per hour.
    pub hourly_cost: Quantity,
    /// Why here and why not elsewhere, for each workload.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["workload"]))]
    pub explanation: Vec<Explanation>,
}

/// The workloads that were decided together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementGroup {
    /// The group's name.
    pub name: String,
    /// Its members.
    pub members: Vec<Ref<Workload>>,
}

/// Where one replica runs and what it takes there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The workload.
    pub workload: Ref<Workload>,
    /// Which of its replicas, from 0.
    pub replica: u32,
    /// Whether it runs here or is on its way out.
    #[serde(default)]
    pub state: AssignmentState,
    /// How the target carries it.
    pub outcome: Outcome,
    /// The site.
    pub site: Ref<Site>,
    /// The host.
    pub host: Ref<Host>,
    /// The artefact that was chosen.
    pub artefact: Artefact,
    /// What is reserved on the host.
    pub reserved: Resources,
    /// What it costs per hour.
    pub hourly_cost: Quantity,
    /// Since when it was placed here.
    pub since: Time,
}

/// Whether an assignment is in force.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum AssignmentState {
    /// It runs here.
    #[default]
    Active,
    /// It was moved; what it took stays reserved until its old deployment is gone.
    Draining,
}

/// How a target carries a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It fits a target that exists.
    #[serde(rename_all = "camelCase")]
    Reuse {
        /// The namespace of the pool.
        pool_namespace: String,
        /// The pool.
        pool: Ref<ResourcePool>,
    },
}

/// Why a workload is where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The workload.
    pub workload: Ref<Workload>,
    /// The sites that were chosen, with their scores.
    #[serde(default)]
    pub chosen: Vec<Candidate>,
    /// The next best sites, at most eight, best first.
    #[serde(default)]
    pub runners_up: Vec<Candidate>,
    /// Sites that could not be taken, grouped by reason.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    /// How many sites were looked at.
    pub sites_considered: u32,
}

/// A site that could carry the workload, and how good it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The site.
    pub site: Ref<Site>,
    /// Its provider.
    pub provider: Ref<Provider>,
    /// The weighted sum of the scores, from 0 to 1,000: more is better.
    pub total: u32,
    /// The score of each criterion.
    pub scores: Vec<Score>,
    /// The latency from the users, where the workload has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_latency_micros: Option<Micros>,
    /// What one replica costs per hour here.
    pub hourly_cost: Quantity,
    /// What would have made this site win, for a runner-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wins_if: Option<String>,
}

/// The score of one criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// The criterion.
    pub criterion: Criterion,
    /// From 0 to 1,000: more is better.
    pub score: u32,
}

/// Sites that could not be taken for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Why.
    pub reason: RejectionReason,
    /// The sites, each with the number that failed: `needs 4 cpu, 2 free`.
    pub sites: Vec<RejectedSite>,
}

/// A site that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedSite {
    /// The site.
    pub site: Ref<Site>,
    /// What was needed and what there is.
    pub detail: String,
}

/// Why a site cannot carry a workload, in the order in which it is asked: the later ones got further.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RejectionReason {
    /// The workload's `eligibility` excludes it. Change `eligibility` or choose another site.
    NotEligible,
    /// No pool at the site serves the tenant. Add one, or name the tenant in `sharedWith`.
    NoPool,
    /// No host at the site is ready. Look at the hosts' conditions.
    NoReadyHost,
    /// No artefact runs there. Offer one for the architecture and form of the target.
    NoArtefact,
    /// A kernel capability that the chain needs is missing. Look at the host's `datapath`.
    DatapathUnable,
    /// Not enough of a resource is free on any single host. Add hosts or free some.
    InsufficientResources,
    /// The users are too far away. Allow more latency or add a nearer site.
    UserLatency,
    /// A neighbour is too far away. Allow more latency between the two.
    NeighbourLatency,
    /// No path has enough free bandwidth. Ask for less, or add bandwidth.
    InsufficientBandwidth,
}

/// What is observed of a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
