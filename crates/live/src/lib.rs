//! What the live tests share: why one is skipped, laboratories, and the programs of other
//! projects that they drive.
//!
//! The tests themselves are in `tests/`: they touch real namespaces, containers, SRv6 and real clients.

pub mod cache;
pub mod groma;
pub mod kubernetes;
pub mod lab;
pub mod skip;
pub mod tools;

pub use groma::Groma;
pub use lab::Laboratory;
pub use skip::Skip;
