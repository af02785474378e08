//! The host's router, as the connectivity manager needs it.
//!
//! The state is told in the words of `HostDatapath`: what is programmed completely is listed, what is there in part is
//! not, so that the difference to what is wanted mends drift. Every step is idempotent and replaces in place.

#[cfg(feature = "contract")]
pub mod contract;
mod difference;

use std::fmt;
use std::net::Ipv6Addr;

use api::Error;
use api::tcm::{
    AppliedDatapath, Attachment, HostDatapathSpec, LocalSid, SidCounters, Steering, TrafficMatch,
    UserPort,
};
use api::tcrr::DatapathCapability;
use futures::stream::BoxStream;

pub use difference::{difference, missing};

/// The router's address at its end of every attachment and user port; link-local, so it can be the same on all.
pub const ROUTER_SIDE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The address of the instance at the other end of an attachment.
pub const INSTANCE_SIDE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// The router of this host.
pub trait Router: Send + Sync + 'static {
    /// What the kernel can do, as probed.
    fn capabilities(&self) -> impl Future<Output = Result<Vec<DatapathCapability>, Error>> + Send;

    /// The router's address in the underlay.
    fn underlay_address(&self) -> impl Future<Output = Result<Option<Ipv6Addr>, Error>> + Send;

    /// What is programmed now, read from the kernel; interfaces of containers that exist, whether set up or not.
    fn read(&self) -> impl Future<Output = Result<RouterState, Error>> + Send;

    /// Does one step. An attachment or user port whose interface does not exist is `NotFound`.
    fn apply(
        &self,
        datapath: &HostDatapathSpec,
        step: &RouterStep,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The packets counted so far.
    fn counters(&self) -> impl Future<Output = Result<Vec<SidCounters>, Error>> + Send;

    /// Something changed in the router; may be lost, repeated or late.
    fn changes(&self) -> BoxStream<'static, ()>;
}

/// What a router has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterState {
    /// What is programmed.
    pub applied: AppliedDatapath,
    /// Interfaces that exist in the router.
    pub interfaces: Vec<String>,
    /// Whether anything of ours is there that `applied` does not account for: leftovers and what is broken.
    pub leftovers: Vec<String>,
}

/// One change of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterStep {
    /// Sets up the router's end of an instance's interface.
    EnsureAttachment(Attachment),
    /// Sets up a port of users.
    EnsureUserPort(UserPort),
    /// Programs a segment; one that exists with another target is replaced.
    EnsureSid(LocalSid),
    /// Programs steering; what the interface matches already is replaced in place.
    EnsureSteering(Steering),
    /// Takes steering away.
    RemoveSteering {
        /// The interface at which it arrives.
        interface: String,
        /// What is matched.
        matching: TrafficMatch,
    },
    /// Takes a segment away.
    RemoveSid(Ipv6Addr),
    /// Takes a port of users away.
    RemoveUserPort(String),
    /// Takes the router's end of an instance's interface away.
    RemoveAttachment(String),
    /// Removes all of ours that nothing accounts for.
    RemoveLeftovers,
}

impl fmt::Display for RouterStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsureAttachment(attachment) => write!(
                f,
                "+ attachment {} of {}",
                attachment.interface, attachment.of
            ),
            Self::EnsureUserPort(port) => {
                write!(f, "+ user port {} {}", port.interface, port.prefix)
            }
            Self::EnsureSid(sid) => write!(f, "~ sid {} of {}", sid.sid, sid.chain),
            Self::EnsureSteering(steering) => {
                let segments: Vec<_> = steering.segments.iter().map(Ipv6Addr::to_string).collect();
                write!(
                    f,
                    "~ steer {} to {} by {}",
                    steering.interface,
                    steering.matching.destination,
                    segments.join(", ")
                )
            }
            Self::RemoveSteering {
                interface,
                matching,
            } => write!(f, "- steer {interface} to {}", matching.destination),
            Self::RemoveSid(sid) => write!(f, "- sid {sid}"),
            Self::RemoveUserPort(interface) => write!(f, "- user port {interface}"),
            Self::RemoveAttachment(interface) => write!(f, "- attachment {interface}"),
            Self::RemoveLeftovers => f.write_str("- leftovers"),
        }
    }
}
