//! The machine that an agent runs on: what it is and what it can carry.

use api::tcrr::Runtime;
use api::{Error, Resources};

/// The machine of this host.
pub trait Machine: Send + Sync + 'static {
    /// What it is and what it can carry.
    fn facts(&self) -> impl Future<Output = Result<MachineFacts, Error>> + Send;
}

/// What a machine is and what it can carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// `cpu`, `memory`, `storage`, and what else it has.
    pub capacity: Resources,
    /// The processor architecture as OCI names it.
    pub architecture: String,
    /// The kernel's release.
    pub kernel: String,
    /// What can run containers.
    pub runtimes: Vec<Runtime>,
}
