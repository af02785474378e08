//! Telco Cloud Resource Repository (TCRA 2.1): who offers which resources, where, and how sites are connected.

mod host;
mod link;
mod provider;
mod resource_pool;
mod site;
mod virtualisation_stack;

pub use host::{AccessPort, DatapathCapability, Host, HostSpec, HostStatus, Runtime};
pub use link::{Link, LinkSpec, LinkStatus};
pub use provider::{Provider, ProviderSpec, ProviderStatus, ResourcePrice, Trust};
pub use resource_pool::{ResourcePool, ResourcePoolSpec, ResourcePoolStatus};
pub use site::{HostCount, Location, Site, SiteSpec, SiteStatus, Tier};
pub use virtualisation_stack::{
    StackService, VirtualisationStack, VirtualisationStackSpec, VirtualisationStackStatus,
};
