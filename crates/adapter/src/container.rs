//! Containers on one host, as the deployment manager needs them.
//!
//! Level-shaped: `ensure` says what should run and returns at once; `find` says what does. Restarting with back-off and
//! probing are the runtime's own; whoever calls never counts attempts. An id names at most one container, whatever was
//! killed when.

#[cfg(feature = "contract")]
pub mod contract;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use api::wdm::{Execution, InterfaceRole, OnChange};
use api::{Error, Resources};
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What runs containers on this host.
pub trait ContainerRuntime: Send + Sync + 'static {
    /// All containers that are ours, running or not, in order of their ids.
    fn list(&self) -> impl Future<Output = Result<Vec<ContainerId>, Error>> + Send;

    /// What is seen of a container; `None` if nothing of it is left.
    fn find(
        &self,
        id: &ContainerId,
    ) -> impl Future<Output = Result<Option<ContainerState>, Error>> + Send;

    /// Refuses what can be known never to run, as `ensure` does, and touches nothing: whoever replaces a container asks
    /// before removing what runs.
    fn check(&self, spec: &ContainerSpec) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes a container run as specified. If one with another [`ContainerSpec::digest`] exists, it must be removed first:
    /// that is `Conflict`. One that runs already and only differs in files is given these as `on_change` says; with
    /// `Restart` its program is started anew, while its namespace and interfaces stay.
    fn ensure(
        &self,
        id: &ContainerId,
        spec: &ContainerSpec,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks a container to end as its spec says, kills it after its grace, then removes all of it: processes, cgroups,
    /// namespace, interfaces, files. Returns at once; it is gone when `find` says `None`.
    fn remove(&self, id: &ContainerId) -> impl Future<Output = Result<(), Error>> + Send;

    /// What it wrote, oldest first.
    fn logs(
        &self,
        id: &ContainerId,
        options: LogOptions,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Bytes, Error>>, Error>> + Send;

    /// Runs a program in a container, with the container's own rights.
    fn exec(
        &self,
        id: &ContainerId,
        request: ExecRequest,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<ExecOutput, Error>>, Error>> + Send;

    /// Containers of which something changed; may be lost, repeated or late.
    fn changes(&self) -> BoxStream<'static, ContainerId>;
}

/// The name of a container on its host: that of its Instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId {
    /// The Instance's namespace.
    pub namespace: String,
    /// The Instance's name.
    pub name: String,
    /// The Instance's uid: a later Instance of the same name is another container.
    pub uid: String,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// All that is needed to run a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Where the image is: `layout:NAME[@DIGEST]`.
    pub image: String,
    /// How it is run.
    pub execution: Execution,
    /// What it may take at most.
    pub resources: Resources,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its configuration files by absolute path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How changed files reach it while it runs.
    pub on_change: OnChange,
    /// Its interfaces.
    pub interfaces: Vec<ContainerInterface>,
}

impl ContainerSpec {
    /// A digest of all that cannot be changed while it runs: everything but its files.
    pub fn digest(&self) -> String {
        let parts = (
            &self.image,
            &self.execution,
            &self.resources,
            &self.environment,
            &self.on_change,
            &self.interfaces,
        );
        digest(&parts)
    }

    /// A digest of its files.
    pub fn files_digest(&self) -> String {
        digest(&self.files)
    }
}

/// Of the form in which they travel: another version of this program must find the same, or it would replace what runs.
fn digest(parts: &impl Serialize) -> String {
    let text = serde_json::to_string(parts).expect("all keys are strings");
    format!("{:016x}", api::short_hash(&[&text]))
}

/// An interface of a container, one end of a pair whose other end is in the host's router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInterface {
    /// Its name inside.
    pub name: String,
    /// Its name in the router.
    pub router_interface: String,
    /// What it is for. What comes in at `Left` leaves at `Right` and the other way round.
    pub role: InterfaceRole,
    /// The service address that it carries.
    pub address: Option<Ipv6Addr>,
}

/// What is seen of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerState {
    /// Where it is in its life.
    pub phase: ContainerPhase,
    /// The digest it was started with.
    pub digest: String,
    /// The digest of the image that it was started from.
    pub image_digest: Option<String>,
    /// Whether its readiness probe says that it may serve; a running one without a probe is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// How the last run ended: `exit status 1`, `killed by SIGKILL (out of memory)`.
    pub last_exit: Option<String>,
    /// The files that are in force.
    pub files: FilesState,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerPhase {
    /// It is being made.
    Starting,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It ended and is started again later.
    BackOff,
    /// It was asked to end.
    Stopping,
}

/// Which files are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesState {
    /// The digest of those that it was last given: they are in force, refused, or on their way.
    pub given: String,
    /// The digest of those that are.
    pub applied: Option<String>,
    /// A newer set that the container refused; the previous one was put back.
    pub refused: Option<RefusedFiles>,
}

/// Files that a container refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFiles {
    /// Their digest.
    pub digest: String,
    /// What it said or did.
    pub why: String,
}

/// Which part of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Goes on as more is written.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u32>,
    /// The output of the run before this one.
    pub previous: bool,
}

/// A program to run in a container.
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it reads.
    pub stdin: BoxStream<'static, Bytes>,
}

/// What a program in a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// It wrote to its standard output.
    Stdout(Bytes),
    /// It wrote to its standard error.
    Stderr(Bytes),
    /// It ended; a signal counts as 128 plus its number.
    Exit(i32),
}
