//! Counters of a running loop, for metrics and for tests.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a loop has done since it was made.
#[derive(Debug, Default)]
pub struct Stats {
    /// Passes begun.
    pub n_passes: Counter,
    /// Passes that ended because someone else wrote first.
    pub n_conflicts: Counter,
    /// Passes that panicked: each is a bug.
    pub n_panics: Counter,
    /// Objects that were seen and did not parse.
    pub n_unreadable: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicUsize);

impl Counter {
    /// Its value.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}
