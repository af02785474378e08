//! The host's router, as the connectivity manager needs it.
//!
//! The state is told in the words of `HostDatapath`: what is programmed completely is listed, what is there in part is
//! not, so that the difference to what is wanted mends drift. Every step is idempotent and replaces in place.

use std::fmt;

use api::Error;
use api::tcm::{
    AppliedDatapath, Attachment, HostDatapathSpec, LocalSid, Steering, TrafficMatch, UserPort,
};
use api::tcrr::DatapathCapability;
use futures::stream::BoxStream;
use std::net::Ipv6Addr;

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

/// What a segment has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The steps from what a router has to what it should have, in an order that never leaves a hole: what is new comes
/// before what leads to it, what is old goes after nothing leads to it.
pub fn difference(wanted: &HostDatapathSpec, state: &RouterState) -> Vec<RouterStep> {
    let have = &state.applied;
    let mut steps = Vec::new();

    let exists = |interface: &String| state.interfaces.contains(interface);
    for attachment in wanted
        .attachments
        .iter()
        .filter(|wanted| !have.attachments.contains(wanted) && exists(&wanted.interface))
    {
        steps.push(RouterStep::EnsureAttachment(attachment.clone()));
    }
    for port in wanted
        .user_ports
        .iter()
        .filter(|wanted| !have.user_ports.contains(wanted) && exists(&wanted.interface))
    {
        steps.push(RouterStep::EnsureUserPort(port.clone()));
    }
    for sid in wanted
        .sids
        .iter()
        .filter(|wanted| !have.sids.contains(wanted) && exists(target(wanted)))
    {
        steps.push(RouterStep::EnsureSid(sid.clone()));
    }
    for steering in wanted
        .steering
        .iter()
        .filter(|wanted| !have.steering.contains(wanted) && exists(&wanted.interface))
    {
        steps.push(RouterStep::EnsureSteering(steering.clone()));
    }
    let same_match =
        |a: &Steering, b: &Steering| a.interface == b.interface && a.matching == b.matching;
    for steering in have.steering.iter().filter(|have| {
        !wanted
            .steering
            .iter()
            .any(|wanted| same_match(wanted, have))
    }) {
        let (interface, matching) = (steering.interface.clone(), steering.matching.clone());
        steps.push(RouterStep::RemoveSteering {
            interface,
            matching,
        });
    }
    for sid in have
        .sids
        .iter()
        .filter(|have| !wanted.sids.iter().any(|wanted| wanted.sid == have.sid))
    {
        steps.push(RouterStep::RemoveSid(sid.sid));
    }
    for port in have.user_ports.iter().filter(|have| {
        !wanted
            .user_ports
            .iter()
            .any(|wanted| wanted.interface == have.interface)
    }) {
        steps.push(RouterStep::RemoveUserPort(port.interface.clone()));
    }
    for attachment in have.attachments.iter().filter(|have| {
        !wanted
            .attachments
            .iter()
            .any(|wanted| wanted.interface == have.interface)
    }) {
        steps.push(RouterStep::RemoveAttachment(attachment.interface.clone()));
    }
    if !state.leftovers.is_empty() {
        steps.push(RouterStep::RemoveLeftovers);
    }
    steps
}

fn target(sid: &LocalSid) -> &String {
    match &sid.target {
        api::tcm::SidTarget::Attachment { interface }
        | api::tcm::SidTarget::UserPort { interface } => interface,
    }
}
