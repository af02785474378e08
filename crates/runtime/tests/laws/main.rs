//! The laws on toy reconcilers: sound ones keep them, and ones broken on purpose are caught.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod broken;
mod child;
mod group;
mod guest;
mod job;
mod kinds;
mod parent;
mod sound;
mod things;
