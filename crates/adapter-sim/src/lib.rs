//! The whole outside world in memory, with faults.

pub mod containers;
pub mod machine;
pub mod router;

pub use containers::SimContainers;
pub use machine::SimMachine;
pub use router::{SimNetwork, SimRouter};
