//! Multi-Cloud Orchestrator (TCRA 2.1): workloads, the decisions about them, and what became of them.

mod placement;
mod placement_policy;
mod workload;
mod workload_record;

pub use placement::{
    Assignment, AssignmentState, Candidate, Explanation, Outcome, Placement, PlacementGroup,
    PlacementSpec, PlacementStatus, RejectedSite, Rejection, RejectionReason, Score,
};
pub use placement_policy::{
    Criterion, PlacementPolicy, PlacementPolicySpec, PlacementPolicyStatus, WeightedCriterion,
};
pub use workload::{
    Demand, Eligibility, Endpoint, Endpoints, FunctionForm, Migration, UserAccess, Workload,
    WorkloadGroup, WorkloadSpec, WorkloadStatus,
};
pub use workload_record::{WorkloadRecord, WorkloadRecordSpec};
