//! What holds for every snapshot and request, and the behaviours that users rely on.

mod behaviour;
mod properties;
pub(crate) mod world;
