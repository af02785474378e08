//! Hosts, routers and links of one machine, made of network namespaces.
//!
//! `topology` reads what is wanted, `layout` turns it into namespaces, wires and routes (pure), `build` makes and removes
//! them. A daemon (`daemon`) carries what needs a process: links that delay (`wire`), the management network
//! (`management`), and the programs of every host (`programs`). `control` is how the command line talks to it.
//!
//! Only the infrastructure is small; the software that runs on it is the same as anywhere. What a laboratory makes bears
//! its name, so that it can be removed whatever was killed when.

pub mod build;
pub mod control;
pub mod daemon;
mod layout;
pub mod management;
mod programs;
pub mod requirements;
pub mod settings;
mod topology;
mod wire;

pub use layout::{Layout, Node, Role, host_router};
pub use settings::Settings;
pub use topology::Topology;
