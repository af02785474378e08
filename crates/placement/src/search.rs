//! The joint search: which host each replica of the group gets.
//!
//! `state` knows what is taken and what an offer is worth; `strategy` chooses the order in which replicas are placed.

mod state;
mod strategy;

pub(crate) use state::State;
pub(crate) use strategy::{Problem, solve, stay};
