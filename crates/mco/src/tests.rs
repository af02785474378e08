//! What the orchestrator promises as a whole: the laws, and the stories in which rooms are short and hosts are lost.

mod compete;
mod hosts;
mod laws;
mod names;
mod players;
pub mod process;
pub mod world;
