//! Every kind of Groma: spec, status, units, conditions and schema rules; one file per kind, one folder per block.
//!
//! The type here is what travels, what is stored and what reconcilers read.
//! Doc comments on fields are the user reference and become the schema's descriptions.
//! The crate knows no client, no clock and no store.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes equal arguments of two printer columns for duplicates"
)]

pub mod condition;
mod crds;
mod error;
mod identity;
mod manifest;
mod quantity;
mod reference;
pub mod terminal;
mod units;

pub mod mco;
pub mod tcm;
pub mod tcrr;
pub mod tcso;
pub mod wdm;

pub use condition::{AVAILABLE, AvailableReason, Conditions, READY, Truth};
pub use crds::crds;
pub use error::{Error, ErrorKind, Result, chain};
pub use identity::{interface_name, service_address, short_hash};
pub use manifest::documents;
pub use quantity::{Quantity, Resources};
pub use reference::Ref;
pub use units::{Degrees, Ipv6Prefix, Micros, Seconds};

pub use mco::{Placement, PlacementPolicy, Workload, WorkloadRecord};
pub use tcm::{HostDatapath, Network, NetworkDomain, ServiceFunctionChain};
pub use tcrr::{Host, Link, Provider, ResourcePool, Site, VirtualisationStack};
pub use tcso::Service;
pub use wdm::{Instance, WorkloadDeployment};

/// The API group of every kind.
pub const GROUP: &str = "groma.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// The namespace of the hosts' Leases and of what belongs to the operator.
pub const SYSTEM_NAMESPACE: &str = "groma-system";
