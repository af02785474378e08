//! Telco Connectivity Manager (TCRA 2.5): networks, chains, and what each host's router must program.

mod host_datapath;
mod network;
mod network_domain;
mod service_function_chain;

pub use host_datapath::{
    AppliedDatapath, Attachment, Direction, HostDatapath, HostDatapathSpec, HostDatapathStatus,
    LocalSid, SidCounters, SidTarget, Steering, TrafficMatch, UserPort,
};
pub use network::{Network, NetworkSpec, NetworkStatus};
pub use network_domain::{
    DomainController, DomainKind, NetworkDomain, NetworkDomainSpec, NetworkDomainStatus,
};
pub use service_function_chain::{
    ChainEnd, ChainHop, Classifier, FailPolicy, ServiceFunctionChain, ServiceFunctionChainSpec,
    ServiceFunctionChainStatus,
};
