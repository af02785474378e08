//! The host-based router: what a `HostDatapath` says, in routes, rules and a firewall table of one network namespace.
//!
//! - `program` says which kernel objects each item of the spec is made of (pure);
//! - `firewall` says what the nftables table holds (pure);
//! - `kernel` reads what is there; `state` compares both (pure);
//! - `memory` keeps the words of a spec that the kernel has no room for;
//! - `router` is the [`adapter::Router`] that does one step at a time.
//!
//! Everything it makes carries the protocol number [`PROTOCOL`] or lies in its own table, so that it never touches what
//! others made. Each step may be cut off anywhere: what is incomplete is not reported as applied and is made again.
//! It does not make interfaces, and it does not route the underlay: both are there before it.

#[cfg(test)]
mod example;
mod firewall;
mod kernel;
mod memory;
mod program;
mod router;
mod state;

pub use program::{PROTOCOL, attachment_mtu};
pub use router::Srv6Router;
