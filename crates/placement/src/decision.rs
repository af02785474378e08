//! The answer: where every replica runs, what that costs, and a verdict for every site.

use api::Quantity;
use api::Ref;
use api::mco::{Assignment, Candidate, Explanation, RejectionReason, Workload};

/// The places of all replicas of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Where each replica runs, by workload, replica and host; those on their way out are among them.
    pub assignments: Vec<Assignment>,
    /// What all of it costs per hour.
    pub hourly_cost: Quantity,
    /// Why here and why not elsewhere, for each workload.
    pub explanation: Vec<Explanation>,
    /// The whole table that the explanation is a summary of.
    pub verdicts: Vec<Verdicts>,
    /// A digest of the request and the snapshot.
    pub inputs_digest: String,
}

/// What was found for one workload at every site.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdicts {
    /// The workload.
    pub workload: Ref<Workload>,
    /// One verdict for each site of the snapshot, in order of the sites' names.
    pub sites: Vec<Verdict>,
}

/// What was found at one site.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Replicas run here.
    Chosen(Candidate),
    /// A replica could run here, all others staying where they are.
    Possible(Candidate),
    /// No replica can run here.
    Rejected {
        /// The site.
        site: Ref<api::Site>,
        /// Why.
        reason: RejectionReason,
        /// What was needed and what there is.
        detail: String,
    },
}
