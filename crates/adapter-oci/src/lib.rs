//! Containers on a host: [`OciRuntime`] runs them by an OCI runtime program (runc) under one shim process each.
//!
//! How it fits: the agent calls the trait [`adapter::ContainerRuntime`]; a [`supervisor`] task per container starts,
//! probes, restarts and removes; the [`shim`] process between it and the container outlives the agent. What is wanted
//! lies on disk ([`disk`]), what lives is told by control groups, so any process may be killed at any moment and the next
//! agent goes on.
//!
//! It does not pull images, does not choose addresses, and programs nothing in the host's router but the near end of each
//! container's interfaces.

mod bundle;
mod disk;
mod exec;
mod handle;
mod host;
mod image;
mod logs;
mod machine;
mod network;
mod requirements;
mod runtime;
pub mod shim;
mod spawn;
mod supervisor;

pub use host::OciConfig;
pub use machine::LocalMachine;
pub use requirements::requirements;
pub use runtime::OciRuntime;
