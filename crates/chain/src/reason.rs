//! Why a chain is not served, or not wholly: what a user must know, typed.

use std::fmt;
use std::net::Ipv6Addr;

use crate::world::Key;

/// What keeps a chain from being served wholly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The network does not exist or is not in order. Make it, or mend it.
    NetworkMissing {
        /// The network.
        network: String,
    },
    /// A function serves another, older chain. Give this chain an own function.
    FunctionTaken {
        /// The function.
        function: String,
        /// The chain that has it.
        by: Key,
    },
    /// Another, older chain leads from the same start to the same end, or back. Packets could not be told apart.
    PathTaken {
        /// That chain.
        by: Key,
    },
    /// Start and end, or two functions, are the same workload.
    WorkloadRepeated {
        /// The workload.
        workload: String,
    },
    /// Two segments of a host were derived alike. Rename the chain.
    SegmentCollision {
        /// The host.
        host: String,
        /// The segment.
        sid: Ipv6Addr,
    },
    /// No host at these sites has a port for users.
    NoUserPort {
        /// The sites.
        sites: Vec<String>,
    },
    /// No host with users of the chain can be seen.
    UsersUnseen,
    /// A workload has no instance with the interfaces that its place needs: `left` and `right` for a function, one
    /// for an end.
    NoInstance {
        /// The workload.
        workload: String,
    },
    /// No instance of a workload is available.
    InstanceUnavailable {
        /// The workload.
        workload: String,
    },
    /// Traffic passes around a function because no instance of it is available.
    Bypassed {
        /// The function.
        function: String,
    },
    /// The kernel of a host cannot do what its place in the chain needs.
    HostIncapable {
        /// The host.
        host: String,
        /// What it lacks, as standards name it.
        lacks: &'static str,
    },
    /// A host has not applied a segment or what sends to it yet.
    NotApplied {
        /// The host.
        host: String,
    },
}

impl Reason {
    /// The word that a condition shows.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NetworkMissing { .. } => "NetworkMissing",
            Self::FunctionTaken { .. } => "FunctionTaken",
            Self::PathTaken { .. } => "PathTaken",
            Self::WorkloadRepeated { .. } => "WorkloadRepeated",
            Self::SegmentCollision { .. } => "SegmentCollision",
            Self::NoUserPort { .. } => "NoUserPort",
            Self::UsersUnseen => "UsersUnseen",
            Self::NoInstance { .. } => "NoInstance",
            Self::InstanceUnavailable { .. } => "InstanceUnavailable",
            Self::Bypassed { .. } => "Bypassed",
            Self::HostIncapable { .. } => "HostIncapable",
            Self::NotApplied { .. } => "NotApplied",
        }
    }

    /// Whether the chain is refused: only a change of what users wrote helps.
    pub fn refuses(&self) -> bool {
        matches!(
            self,
            Self::NetworkMissing { .. }
                | Self::FunctionTaken { .. }
                | Self::PathTaken { .. }
                | Self::WorkloadRepeated { .. }
                | Self::SegmentCollision { .. }
        )
    }

    /// Whether traffic flows in spite of it.
    pub fn tolerated(&self) -> bool {
        matches!(self, Self::Bypassed { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkMissing { network } => {
                write!(f, "network {network} does not exist or is not ready")
            }
            Self::FunctionTaken { function, by } => {
                write!(f, "function {function} serves chain {by} already")
            }
            Self::PathTaken { by } => {
                write!(f, "chain {by} connects the same ends already")
            }
            Self::WorkloadRepeated { workload } => {
                write!(f, "workload {workload} is named twice")
            }
            Self::SegmentCollision { host, sid } => {
                write!(f, "segment {sid} of host {host} is taken already")
            }
            Self::NoUserPort { sites } => {
                write!(f, "no host at {} has an access port", sites.join(", "))
            }
            Self::UsersUnseen => f.write_str("no host with users of the chain can be seen"),
            Self::NoInstance { workload } => {
                write!(
                    f,
                    "workload {workload} has no instance with the interfaces that its place needs"
                )
            }
            Self::InstanceUnavailable { workload } => {
                write!(f, "no instance of workload {workload} is available")
            }
            Self::Bypassed { function } => {
                write!(f, "traffic passes around function {function}")
            }
            Self::HostIncapable { host, lacks } => {
                write!(f, "the kernel of host {host} lacks {lacks}")
            }
            Self::NotApplied { host } => {
                write!(f, "host {host} has not applied its part yet")
            }
        }
    }
}
