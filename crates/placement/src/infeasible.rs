//! What stands in the way of a group: the component that finds no place, why, and the fewest requirements that cannot
//! be met together.

use std::fmt;

use api::Ref;
use api::mco::{Explanation, Rejection, Workload};

use crate::request::Component;
use crate::search::{Problem, solve};

/// A message names at most so many sites of each reason.
const SITES_SHOWN_MAX: usize = 3;
/// Beyond so many requirements the conflict is not narrowed down: each one costs a search.
const NEEDS_MAX: usize = 32;
/// So many places are tried in each of these searches: all of them together take about as long as the decision itself.
const TRIES_MAX: usize = 600;

/// No placement meets all that the group needs; nothing is reserved.
#[derive(Clone, Debug, PartialEq)]
pub struct Infeasible {
    /// The component that found no place.
    pub blocked: Ref<Workload>,
    /// The fewest requirements that cannot be met together; empty if room or capability is missing whatever is required.
    pub conflict: Vec<Need>,
    /// What was found for each workload, as far as the group could be placed.
    pub explanation: Vec<Explanation>,
    /// A digest of the request and the snapshot.
    pub inputs_digest: String,
}

/// A requirement of a workload that its user could give up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The workload.
    pub workload: Ref<Workload>,
    /// What it requires.
    pub requirement: Requirement,
}

/// What a user can require and give up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// `eligibility`.
    Eligibility,
    /// `userAccess.latencyMaxMicros`.
    UserLatency,
    /// `userAccess.bandwidth`.
    UserBandwidth,
    /// `demands[].latencyMaxMicros` to this neighbour.
    NeighbourLatency(Ref<Workload>),
    /// `demands[].bandwidth` to this neighbour.
    NeighbourBandwidth(Ref<Workload>),
}

/// Says what stands in the way of a group that could not be placed.
pub(crate) fn diagnose(
    problem: &Problem<'_>,
    slot: usize,
    explanation: Vec<Explanation>,
    inputs_digest: String,
) -> Infeasible {
    Infeasible {
        blocked: problem.component(slot).workload.clone(),
        conflict: conflict(problem),
        explanation,
        inputs_digest,
    }
}

/// Gives up one requirement after the other and takes back each whose loss alone makes room: what stays is a set that
/// cannot be met, while any smaller part of it can.
fn conflict(problem: &Problem<'_>) -> Vec<Need> {
    let all: Vec<Need> = problem.request.components.iter().flat_map(needs).collect();
    if all.is_empty() || all.len() > NEEDS_MAX || !feasible(problem, &all) {
        return Vec::new();
    }
    let mut given_up = Vec::new();
    for need in &all {
        given_up.push(need.clone());
        if feasible(problem, &given_up) {
            given_up.pop();
        }
    }
    all.into_iter()
        .filter(|need| !given_up.contains(need))
        .collect()
}

fn feasible(problem: &Problem<'_>, given_up: &[Need]) -> bool {
    let mut request = problem.request.clone();
    for need in given_up {
        for component in &mut request.components {
            if component.workload == need.workload {
                give_up(component, &need.requirement);
            }
        }
    }
    solve(&Problem::limited(problem.snapshot, &request, TRIES_MAX))
        .1
        .is_none()
}

fn needs(component: &Component) -> Vec<Need> {
    let mut requirements = Vec::new();
    if component.eligibility != Default::default() {
        requirements.push(Requirement::Eligibility);
    }
    if let Some(access) = &component.user_access {
        requirements.extend(access.latency_max_micros.map(|_| Requirement::UserLatency));
        requirements.extend(access.bandwidth.map(|_| Requirement::UserBandwidth));
    }
    for demand in &component.demands {
        let to = &demand.to;
        let latency = demand.latency_max_micros;
        requirements.extend(latency.map(|_| Requirement::NeighbourLatency(to.clone())));
        let bandwidth = demand.bandwidth;
        requirements.extend(bandwidth.map(|_| Requirement::NeighbourBandwidth(to.clone())));
    }
    let need = |requirement| Need {
        workload: component.workload.clone(),
        requirement,
    };
    requirements.into_iter().map(need).collect()
}

fn give_up(component: &mut Component, requirement: &Requirement) {
    match requirement {
        Requirement::Eligibility => component.eligibility = Default::default(),
        Requirement::UserLatency => {
            if let Some(access) = &mut component.user_access {
                access.latency_max_micros = None;
            }
        }
        Requirement::UserBandwidth => {
            if let Some(access) = &mut component.user_access {
                access.bandwidth = None;
            }
        }
        Requirement::NeighbourLatency(to) => {
            for demand in component
                .demands
                .iter_mut()
                .filter(|demand| demand.to == *to)
            {
                demand.latency_max_micros = None;
            }
        }
        Requirement::NeighbourBandwidth(to) => {
            for demand in component
                .demands
                .iter_mut()
                .filter(|demand| demand.to == *to)
            {
                demand.bandwidth = None;
            }
        }
    }
}

impl fmt::Display for Infeasible {
    /// One sentence: who finds no place, why, and what would help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no place for {}", self.blocked)?;
        let explained = self
            .explanation
            .iter()
            .find(|item| item.workload == self.blocked);
        let rejected = explained.map(|item| &item.rejected[..]).unwrap_or_default();
        for (index, rejection) in rejected.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            write_rejection(f, rejection)?;
        }
        if rejected.is_empty() {
            f.write_str(": there are no sites")?;
        }
        for (index, need) in self.conflict.iter().enumerate() {
            f.write_str(if index == 0 {
                "; cannot be met together: "
            } else {
                ", "
            })?;
            write!(f, "{need}")?;
        }
        Ok(())
    }
}

fn write_rejection(f: &mut fmt::Formatter<'_>, rejection: &Rejection) -> fmt::Result {
    write!(f, "{:?} at ", rejection.reason)?;
    for (index, site) in rejection.sites.iter().take(SITES_SHOWN_MAX).enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        write!(f, "{} ({})", site.site, site.detail)?;
    }
    match rejection.sites.len().checked_sub(SITES_SHOWN_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, " and {more} more"),
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}'s ", self.workload)?;
        match &self.requirement {
            Requirement::Eligibility => f.write_str("eligibility"),
            Requirement::UserLatency => f.write_str("latency to its users"),
            Requirement::UserBandwidth => f.write_str("bandwidth to its users"),
            Requirement::NeighbourLatency(to) => write!(f, "latency to {to}"),
            Requirement::NeighbourBandwidth(to) => write!(f, "bandwidth to {to}"),
        }
    }
}
