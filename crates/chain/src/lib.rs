//! Turns chains, networks and a topology into per-host datapath plans, and traces a packet through them.
//!
//! [`World`] is what is known; [`plan()`] says what one host's router must program; [`hops()`] says what is in force of one
//! chain; [`trace()`] follows a packet through the routers; [`users()`] and
//! [`steers`] say who still sends to an instance, and traffic of a chain.
//!
//! A chain is a series of tunnels of one segment each: from where traffic starts to the first function, from each
//! function to the next, to the end, and the same back. What keeps packets flowing while things change:
//!
//! - Every instance of a chain's workloads has its segments and sends on, chosen or not; they stay as long as it does.
//! - A host steers to a segment only once that segment is applied, and a chain's start, or whoever steered elsewhere
//!   before, only once the whole rest of the way is applied, the way back included. Until then it keeps what it has.
//! - What is no longer part of a chain goes only after nobody steers to it.
//! - The way only ever leads to a later place in the chain (back: to an earlier one), so it never goes round.
//!
//! Everything here is a pure function of what was observed, which may be late. While the order of functions is changed
//! in place, packets may for a moment pass fewer functions than either order names; another chain avoids that.

mod complete;
mod course;
mod hops;
mod kept;
mod layout;
#[cfg(test)]
mod no_holes;
mod observed;
mod plan;
mod reason;
#[cfg(test)]
mod sample;
mod sid;
mod trace;
mod users;
mod world;

pub use hops::{ChainState, hops};
pub use plan::plan;
pub use reason::Reason;
pub use trace::{Arrival, Loss, Packet, Place, Trace, planned, trace};
pub use users::{steers, users};
pub use world::{Chain, Host, Instance, Key, World};
