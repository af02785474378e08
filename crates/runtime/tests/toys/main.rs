//! Toy reconcilers on the real in-memory API: sound ones keep the laws, ones broken on purpose are caught, and each
//! promise of the harness that is no law has its own test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod broken;
mod child;
mod children;
mod group;
mod guest;
mod job;
mod kinds;
mod parent;
mod process;
mod promises;
mod sound;
mod things;
mod waking;
