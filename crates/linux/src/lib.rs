//! One wrapper of netlink, nftables, namespaces and devices of a Linux kernel.
//!
//! Callers say what they want in plain types (a [`route::Route`], a [`link::Veth`]) and read the same types back, so that
//! wanted and seen can be compared. Every call is synchronous: the kernel answers netlink within microseconds, and a
//! blocking socket needs no task that somebody would have to own. Only sockets and TUN devices, which carry traffic, are
//! asynchronous.
//!
//! It knows nothing of Groma: no kind, no name rule, no policy. Marks of ownership are numbers that the caller chooses.

pub mod cgroup;
mod error;
pub mod link;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod probe;
pub mod process;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod tun;

pub use error::{Error, Result};
pub use netlink::Netlink;
pub use netns::Namespace;
