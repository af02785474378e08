//! Scenarios through the real API: user stories over many sites, in virtual time.
//!
//! A scenario is one text file of commands with the expected output under each; `script` reads and writes it, `play`
//! runs it in a `world`. The API server, the controllers of all blocks and the agents are the real ones; only what is
//! behind the agents, containers, routers and machines, is simulated. Time is tokio's paused clock, so that minutes
//! pass in milliseconds and two runs are the same. Nothing here touches the machine.
//! The same scenarios can be played on a Kubernetes cluster, in real time.

mod agent;
mod control_plane;
mod home;
mod line;
mod mask;
mod packet;
mod play;
mod rest;
mod script;
mod wait;
mod world;

pub use control_plane::CONTROLLERS;
pub use home::Cluster;
pub use mask::timeless;
pub use play::{play, play_on};
