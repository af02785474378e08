//! What is asked: one group of components, the operator's criteria, and where its replicas are now.

use api::Ref;
use api::Resources;
use api::mco::{
    Assignment, AssignmentState, Demand, Eligibility, PlacementPolicySpec, UserAccess, Workload,
};
use api::wdm::Artefact;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

/// A group that is decided together: all of it or nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// The tenant.
    pub namespace: String,
    /// The members.
    pub components: Vec<Component>,
    /// What counts, and how much.
    pub policy: PlacementPolicySpec,
    /// Where its replicas are now, those on their way out included.
    pub held: Vec<Held>,
    /// The time of the decision.
    pub now: Time,
}

/// One component as placement sees it; what does not bear on the place is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Component {
    /// The workload.
    pub workload: Ref<Workload>,
    /// What can be run, in order of preference.
    pub artefacts: Vec<Artefact>,
    /// What one replica takes.
    pub resources: Resources,
    /// How many replicas.
    pub replicas: u32,
    /// Whether the host's data path must reach it.
    pub connected: bool,
    /// What it needs of the way to its neighbours.
    pub demands: Vec<Demand>,
    /// Where its users are and what they need.
    pub user_access: Option<UserAccess>,
    /// Where it may run.
    pub eligibility: Eligibility,
}

/// A replica that has a place.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// Its place.
    pub assignment: Assignment,
    /// Its host is given up: the replica must go elsewhere.
    pub lost: bool,
}

impl Component {
    /// What bears on the place of a workload.
    pub fn of(name: &str, workload: &Workload) -> Self {
        let spec = &workload.spec;
        Self {
            workload: Ref::new(name),
            artefacts: spec.artefacts.clone(),
            resources: spec.resources.clone(),
            replicas: spec.replicas,
            connected: spec.network.is_some() || spec.function.is_some(),
            demands: spec.demands.clone(),
            user_access: spec.user_access.clone(),
            eligibility: spec.eligibility.clone(),
        }
    }
}

impl Request {
    /// The place that a replica has now, unless it is on its way out.
    pub(crate) fn active(&self, workload: &Ref<Workload>, replica: u32) -> Option<&Held> {
        self.held.iter().find(|held| {
            held.assignment.state == AssignmentState::Active
                && held.assignment.workload == *workload
                && held.assignment.replica == replica
        })
    }
}
