//! Garbage collection by owner references: what to look at after which change.

use std::collections::BTreeSet;

use crate::history::Event;
use crate::object::Key;
use crate::server::Server;
use crate::state::State;

/// What may have become garbage.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) suspects: BTreeSet<Key>,
}

impl Collector {
    pub(crate) fn note(&mut self, _event: &Event) {}
}

impl State {
    pub(crate) fn suspect_all(&mut self) {}
}

impl Server {
    pub(crate) fn collect(&self) {}
}
