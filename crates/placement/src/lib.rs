//! Chooses where the replicas of a group run, and says why there and why not elsewhere.
//!
//! [`decide()`] takes a [`Snapshot`] of what there is and a [`Request`] for one group and answers with a complete
//! [`Decision`] or with what stands in its way. It is the same call for a real request, a dry run and a what-if.
//!
//! It is pure: no I/O, no clock, no randomness, no logging. The same input gives the same answer, bit for bit.
//! It books nothing: reservations are an input, and whoever stores the answer guards against two that were taken on
//! one snapshot.

mod decide;
mod decision;
mod digest;
mod explain;
mod infeasible;
mod money;
mod reject;
mod request;
mod score;
mod screen;
mod search;
mod snapshot;
mod topology;

pub use decide::{decide, holds};
pub use decision::{Decision, Verdict, Verdicts};
pub use infeasible::{Infeasible, Need, Requirement};
pub use request::{Component, Held, Request};
pub use snapshot::{Inventory, Snapshot, allocatable, reserved};

#[cfg(test)]
mod tests;
