//! The reconcile harness: observe, plan, act, report, and the four laws.
//!
//! `reconcile` is the contract between a block and the loop, `run` is the loop, `pass` is one pass over one object, and
//! `laws` (feature `laws`) proves a set of reconcilers against faults. The harness alone writes status, conditions,
//! finalizers and children, and alone decides when an object is looked at again. `election` lets one of several processes
//! run the loop.
//!
//! It knows no kind of Groma, no adapter and no server: it talks to any Kubernetes-style API through `kube::Client`.

mod cache;
mod child;
mod clock;
mod ctx;
mod election;
mod failure;
mod kinds;
#[cfg(feature = "laws")]
pub mod laws;
mod object;
mod pass;
mod queue;
mod reason;
mod reconcile;
mod run;
mod stats;
mod task;
mod watch;
mod worker;

pub use child::{Child, child};
pub use clock::Clock;
pub use ctx::Ctx;
pub use election::Election;
pub use failure::failed;
pub use kinds::Kinds;
pub use object::{Kind, KindName, Object, ObjectRef, deleting};
pub use reason::ReadyReason;
pub use reconcile::{Never, Plan, Reconciler, Report, Role, Wait};
pub use run::Runtime;
pub use stats::Stats;
pub use task::{Task, spawn};
