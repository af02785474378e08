//! A process whose end a task waits for.
#![allow(
    unsafe_code,
    reason = "registering a descriptor with the event loop is unsafe in case somebody closes it meanwhile"
)]

use std::io;

use linux::process::{Ended, Process};
use tokio::io::unix::AsyncFd;

/// A process, registered with the event loop.
#[derive(Debug)]
pub(crate) struct Handle(AsyncFd<Process>);

impl Handle {
    /// Registers a process.
    pub(crate) fn new(process: Process) -> io::Result<Self> {
        // SAFETY: the process owns its descriptor, and nothing can take it out of the registration, which ends first.
        unsafe { AsyncFd::register(process) }
            .map(Self)
            .map_err(Into::into)
    }

    /// The process.
    pub(crate) fn process(&self) -> &Process {
        self.0.get_ref()
    }

    /// Waits for its end; says how it ended if it was a child that nobody else has reaped.
    pub(crate) async fn ended(&self) -> Option<Ended> {
        if self.0.readable().await.is_err() {
            // The event loop is ending, and with it whoever waits.
            std::future::pending::<()>().await;
        }
        self.process().reap()
    }
}
