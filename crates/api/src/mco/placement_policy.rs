//! `PlacementPolicy`: the operator's criteria (TCPM).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;

/// The operator's criteria for choosing among the targets that fit (TCPM, TCRA 2.1).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "PlacementPolicy",
    plural = "placementpolicies",
    status = "PlacementPolicyStatus",
    shortname = "pp",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PlacementPolicySpec {
    /// What counts, and how much relative to the others.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["criterion"]))]
    pub criteria: Vec<WeightedCriterion>,
    /// Breaks ties the same way each time.
    #[serde(default)]
    pub tie_break_seed: u32,
}

impl Default for PlacementPolicySpec {
    /// What holds where no policy is written: latency first, then cost, then free capacity.
    fn default() -> Self {
        let weighted = |criterion, weight| WeightedCriterion { criterion, weight };
        let criteria = vec![
            weighted(Criterion::Latency, 60),
            weighted(Criterion::Cost, 30),
            weighted(Criterion::FreeCapacity, 10),
        ];
        Self {
            criteria,
            tie_break_seed: 0,
        }
    }
}

/// A criterion and its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightedCriterion {
    /// What counts.
    pub criterion: Criterion,
    /// How much, relative to the other weights.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// What can count in a placement.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Criterion {
    /// Latency from users and between neighbours: less is better.
    Latency,
    /// Money per hour: less is better.
    Cost,
    /// The share of the target that stays free: more is better.
    FreeCapacity,
}

/// What is seen of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementPolicyStatus {
    /// What is known of it.
    #[serde(default)]
    pub conditions: Conditions,
}
