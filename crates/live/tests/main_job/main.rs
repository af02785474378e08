//! The main job on this machine, end to end: a service placed, run, chained, broken and healed in a laboratory.
//!
//! Everything is real: release programs, containers, segment routes, packets. Each test has a laboratory of its own and
//! leaves nothing; they take turns, because each needs the whole machine.

mod breaking;
mod chain;
mod kills;
mod power;
mod random;
mod shop;
