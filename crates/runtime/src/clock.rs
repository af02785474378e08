//! The time that reconcilers see: the wall clock, or in tests one that follows the paused clock of tokio.

use jiff::Timestamp;
use tokio::time::Instant;

/// Where `Ctx::now` comes from; a copy shows the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Option<(Timestamp, Instant)>);

impl Clock {
    /// The wall clock of the machine.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that shows `start` now and goes on with tokio's time, which a test may pause.
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Some((start, Instant::now())))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self.0 {
            None => Timestamp::now(),
            Some((start, since)) => start + since.elapsed(),
        }
    }
}
