//! Why a site or host cannot take a replica: the typed reason and the number that failed.

use std::fmt;

use api::mco::RejectionReason;
use api::mco::Workload;
use api::tcrr::DatapathCapability;
use api::{Micros, Quantity, Ref, Site};

/// A requirement that is not met, with what was needed and what there is. Later ones were got further.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reject {
    NotEligible {
        what: &'static str,
        value: String,
    },
    NoPool {
        tenant: String,
    },
    NoReadyHost {
        n_hosts: usize,
    },
    NoArtefact {
        architecture: String,
    },
    DatapathUnable {
        capability: DatapathCapability,
    },
    Resources {
        resource: String,
        needed: Quantity,
        free: Quantity,
    },
    UserPath {
        from: Ref<Site>,
    },
    UserLatency {
        from: Ref<Site>,
        latency: Micros,
        max: Micros,
    },
    UserBandwidth {
        from: Ref<Site>,
        needed: Quantity,
        widest: Quantity,
    },
    NeighbourPath {
        neighbour: Ref<Workload>,
        at: Ref<Site>,
    },
    NeighbourLatency {
        neighbour: Ref<Workload>,
        at: Ref<Site>,
        latency: Micros,
        max: Micros,
    },
    NeighbourBandwidth {
        neighbour: Ref<Workload>,
        at: Ref<Site>,
        needed: Quantity,
        widest: Quantity,
    },
}

impl Reject {
    /// The reason as it is stored.
    pub fn reason(&self) -> RejectionReason {
        match self {
            Self::NotEligible { .. } => RejectionReason::NotEligible,
            Self::NoPool { .. } => RejectionReason::NoPool,
            Self::NoReadyHost { .. } => RejectionReason::NoReadyHost,
            Self::NoArtefact { .. } => RejectionReason::NoArtefact,
            Self::DatapathUnable { .. } => RejectionReason::DatapathUnable,
            Self::Resources { .. } => RejectionReason::InsufficientResources,
            Self::UserPath { .. } | Self::UserLatency { .. } => RejectionReason::UserLatency,
            Self::NeighbourPath { .. } | Self::NeighbourLatency { .. } => {
                RejectionReason::NeighbourLatency
            }
            Self::UserBandwidth { .. } | Self::NeighbourBandwidth { .. } => {
                RejectionReason::InsufficientBandwidth
            }
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEligible { what, value } => {
                write!(f, "{what} `{value}` is not among those allowed")
            }
            Self::NoPool { tenant } => write!(f, "no pool serves namespace `{tenant}`"),
            Self::NoReadyHost { n_hosts } => write!(f, "0 of {n_hosts} hosts are ready"),
            Self::NoArtefact { architecture } => write!(f, "no artefact for {architecture}"),
            Self::DatapathUnable { capability } => {
                write!(f, "its kernel lacks {}", capability_name(*capability))
            }
            Self::Resources {
                resource,
                needed,
                free,
            } => write!(f, "needs {needed} {resource}, {free} free"),
            Self::UserPath { from } => write!(f, "no path from {from}"),
            Self::UserLatency { from, latency, max } => {
                write!(f, "{latency} from {from}, at most {max}")
            }
            Self::UserBandwidth {
                from,
                needed,
                widest,
            } => write!(
                f,
                "needs {needed} bit/s from {from}, the widest path has {widest}"
            ),
            Self::NeighbourPath { neighbour, at } => write!(f, "no path to {neighbour} at {at}"),
            Self::NeighbourLatency {
                neighbour,
                at,
                latency,
                max,
            } => write!(f, "{latency} to {neighbour} at {at}, at most {max}"),
            Self::NeighbourBandwidth {
                neighbour,
                at,
                needed,
                widest,
            } => write!(
                f,
                "needs {needed} bit/s to {neighbour} at {at}, the widest path has {widest}"
            ),
        }
    }
}

/// The capability's name in RFC 8986 or in the kernel.
fn capability_name(capability: DatapathCapability) -> &'static str {
    match capability {
        DatapathCapability::HEncaps => "H.Encaps",
        DatapathCapability::EndDt6 => "End.DT6",
        DatapathCapability::Nftables => "nftables",
        DatapathCapability::Vrf => "VRF",
    }
}
