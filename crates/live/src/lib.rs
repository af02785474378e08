//! What the live tests share: why one is skipped, laboratories, the programs of other
//! projects that they drive, and how benchmarks measure and print.
//!
//! The tests themselves are in `tests/`: they touch real namespaces, containers, SRv6 and real clients.

pub mod bench;
pub mod cache;
pub mod disk;
pub mod etcd;
pub mod figures;
pub mod groma;
pub mod history;
pub mod kubernetes;
pub mod lab;
pub mod servers;
pub mod skip;
pub mod tools;
pub mod usage;

pub use groma::Groma;
pub use lab::Laboratory;
pub use skip::Skip;
