//! The whole outside world in memory, with faults.

pub mod containers;

pub use containers::SimContainers;
