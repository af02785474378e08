//! What all containers of a host share: settings, images, control groups, and how a container's things are named.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use adapter::{ContainerId, ContainerInterface};
use linux::cgroup::{Group, Hierarchies};
use tokio::sync::broadcast;

use crate::disk::Folder;
use crate::image::{Layouts, Store};
use crate::network::Network;

/// The first part of all control groups and namespaces that are ours.
const OWNER: &str = "groma";

/// How many digits the key of a container has.
const KEY_DIGITS: usize = 16;

/// The settings of a host's container runtime.
#[derive(Clone, Debug)]
pub struct OciConfig {
    /// The host's name; no two agents of one machine may have the same.
    pub host: String,
    /// The folder for everything that is kept.
    pub state: PathBuf,
    /// The folder of image layouts.
    pub images: PathBuf,
    /// The network namespace of the host's router.
    pub router_netns: String,
    /// The largest packet of a new attachment, in bytes; later it is what the router's end has.
    pub attachment_mtu: u32,
    /// The program that calls [`crate::shim::main`], with the arguments that lead there: `/proc/self/exe`, `shim`.
    pub shim: Vec<OsString>,
    /// The OCI runtime program.
    pub runtime_program: String,
}

/// A host's container runtime, without the containers.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: OciConfig,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) layouts: Layouts,
    pub(crate) store: Store,
    pub(crate) hints: broadcast::Sender<ContainerId>,
}

/// The short name of a container, by which everything of it is found.
pub(crate) fn key(id: &ContainerId) -> String {
    let hash = api::short_hash(&["container", &id.namespace, &id.name, &id.uid]);
    format!("{hash:016x}")
}

impl Host {
    /// The folder of a container.
    pub(crate) fn folder(&self, key: &str) -> Folder {
        Folder(self.containers().join(key))
    }

    /// The folder of all containers.
    pub(crate) fn containers(&self) -> PathBuf {
        self.config.state.join("containers")
    }

    /// The folder in which removed containers are torn apart.
    pub(crate) fn removed(&self) -> PathBuf {
        self.config.state.join("removed")
    }

    /// The control group of all containers.
    pub(crate) fn group_of_all(&self) -> Group {
        self.hierarchies
            .group(&format!("{OWNER}/{}", self.config.host))
    }

    /// The control group of a container, with the children `shim` and `c`.
    pub(crate) fn group(&self, key: &str) -> Group {
        self.group_of_all().child(key)
    }

    /// The network of a container.
    pub(crate) fn network(&self, key: &str, interfaces: Vec<ContainerInterface>) -> Network {
        Network {
            name: format!("{}{key}", self.namespace_prefix()),
            router: self.config.router_netns.clone(),
            mtu: self.config.attachment_mtu,
            interfaces,
        }
    }

    /// Removes groups and namespaces that carry our name and belong to no container: what is left when the folder of
    /// state was lost.
    pub(crate) fn remove_strangers(&self, known: &[String]) -> linux::Result<()> {
        let ours = |key: &String| is_key(key) && !known.contains(key);
        let all = self.group_of_all();
        for key in self
            .hierarchies
            .children(all.path())
            .into_iter()
            .filter(ours)
        {
            tracing::warn!(key, "removed a control group of no known container");
            all.child(&key).remove(crate::supervisor::KILL_LIMIT)?;
        }
        all.remove_if_empty();
        let prefix = self.namespace_prefix();
        for name in linux::netns::list(&prefix)? {
            // The names of a host `a-b` begin with those of a host `a`: what follows must be nothing but a key.
            let key = name[prefix.len()..].to_owned();
            if ours(&key) {
                tracing::warn!(name, "removed a network namespace of no known container");
                linux::netns::delete(&name)?;
            }
        }
        Ok(())
    }

    fn namespace_prefix(&self) -> String {
        format!("{OWNER}-{}-", self.config.host)
    }
}

fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The file of a named network namespace.
pub(crate) fn namespace_file(name: &str) -> PathBuf {
    Path::new(linux::netns::FOLDER).join(name)
}
