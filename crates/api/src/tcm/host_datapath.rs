//! `HostDatapath`: all that one host's router must program. Generated, one per host, named like it.
//!
//! The model: every interface of an instance ends in the host's router as an *attachment*; users end there as a *user
//! port*. A *SID* (RFC 8986) is an address under the host's locator: what arrives for it is decapsulated and handed to
//! one attachment or user port (End.DT6 into a table of its own). *Steering* takes what an attachment or user port sends,
//! matches it and encapsulates it towards a SID, of this or another host (H.Encaps).

use std::net::Ipv6Addr;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::tcm::Classifier;
use crate::units::Ipv6Prefix;

/// All that one host's router must program. Written by the connectivity manager, applied by the host's agent.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "groma.dev",
    version = "v1alpha1",
    kind = "HostDatapath",
    status = "HostDatapathStatus",
    shortname = "hdp",
    category = "groma",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Locator", type_ = "string", json_path = ".spec.locator"),
    printcolumn(
        name = "SIDs",
        type_ = "string",
        json_path = ".status.applied.sids[*].sid"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HostDatapathSpec {
    /// The host's locator; every SID lies in it.
    pub locator: Ipv6Prefix,
    /// The largest packet that the underlay carries. Attachments get what is left after encapsulation.
    pub mtu: u32,
    /// Interfaces of instances that end here.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Ports at which users end here.
    #[serde(default)]
    pub user_ports: Vec<UserPort>,
    /// Segments that end here.
    #[serde(default)]
    pub sids: Vec<LocalSid>,
    /// What is sent on, and to which segments.
    #[serde(default)]
    pub steering: Vec<Steering>,
}

/// The router's end of an instance's interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The interface's name in the router, derived from namespace, instance and interface.
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
    /// `namespace/instance/interface`, for people.
    pub of: String,
}

/// A port at which users end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserPort {
    /// The interface's name in the router.
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
    /// The addresses of the users behind it.
    pub prefix: Ipv6Prefix,
}

/// A segment that ends here: decapsulate, then hand over (End.DT6, RFC 8986 §4.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSid {
    /// The segment's address.
    pub sid: Ipv6Addr,
    /// Where what arrives goes.
    pub target: SidTarget,
    /// `namespace/chain`, for people and for the trace.
    pub chain: String,
    /// Which way of the chain.
    pub direction: Direction,
}

/// Where a segment hands packets over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SidTarget {
    /// To an instance, whatever the inner destination is.
    #[serde(rename_all = "camelCase")]
    Attachment {
        /// The attachment's interface.
        interface: String,
    },
    /// To users: the inner destination must lie in the port's prefix.
    #[serde(rename_all = "camelCase")]
    UserPort {
        /// The port's interface.
        interface: String,
    },
}

/// Which way of a chain.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// From users or the first workload to the last.
    Forward,
    /// Back.
    Reverse,
}

/// What one attachment or user port sends, and where it goes (H.Encaps, RFC 8986 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Steering {
    /// The interface in the router at which it arrives.
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
    /// What is matched.
    pub matching: TrafficMatch,
    /// The segments, first to be visited first; never empty.
    #[schemars(length(min = 1, max = 8))]
    pub segments: Vec<Ipv6Addr>,
    /// `namespace/chain`, for people and for the trace.
    pub chain: String,
    /// Which way of the chain.
    pub direction: Direction,
}

/// Traffic by destination, and by protocol and port where that is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficMatch {
    /// Where it goes to.
    pub destination: Ipv6Prefix,
    /// One of these; everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classifier: Vec<Classifier>,
}

/// What the agent sees of its router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostDatapathStatus {
    /// What is programmed and was read back.
    #[serde(default)]
    pub applied: AppliedDatapath,
    /// What is wrong and could not be mended, for people.
    #[serde(default)]
    pub faults: Vec<String>,
    /// `Ready`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// What is programmed in a router. What is there only in part is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedDatapath {
    /// Attachments that are set up.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// User ports that are set up.
    #[serde(default)]
    pub user_ports: Vec<UserPort>,
    /// Segments that end here.
    #[serde(default)]
    pub sids: Vec<LocalSid>,
    /// What is sent on.
    #[serde(default)]
    pub steering: Vec<Steering>,
}

/// What a segment has seen since it was programmed; asked for on demand, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidCounters {
    /// The segment.
    pub sid: Ipv6Addr,
    /// Packets handed over.
    pub packets: u64,
    /// Bytes handed over.
    pub bytes: u64,
    /// Packets dropped.
    pub errors: u64,
}
