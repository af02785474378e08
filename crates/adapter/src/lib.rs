//! The traits of the outside world and the contract tests that every adapter must pass.
//!
//! A block of the reference architecture knows these traits, never netlink, runc or Redfish.
//! Every trait has at least two implementations: the simulated world (`adapter-sim`) and a real one.

pub mod container;
pub mod faults;
pub mod machine;
pub mod router;

pub use api::tcm::SidCounters;
pub use container::{
    ContainerId, ContainerInterface, ContainerPhase, ContainerRuntime, ContainerSpec,
    ContainerState, ExecOutput, ExecRequest, FilesState, LogOptions, RefusedFiles,
};
pub use machine::{Machine, MachineFacts};
pub use router::{Router, RouterState, RouterStep, difference, missing};
