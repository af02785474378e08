//! Everything that a run needs before its shim is started: image, network, files, bundle.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use adapter::ContainerSpec;
use api::{Error, ErrorKind};
use linux::cgroup::{Hierarchies, Version};
use rustix::process::{Resource, getrlimit};

use super::Supervisor;
use super::files::put;
use super::run::{blocking, remove_folder};
use crate::bundle::{Bundle, Machine, mounts};
use crate::disk::{Folder, Launch, Record};
use crate::host::{Host, key, namespace_file};
use crate::image::{Reference, Root, User, make_targets};
use crate::network::Network;

/// What a run is made from.
struct Preparation {
    host: Arc<Host>,
    record: Record,
    folder: Folder,
    network: Network,
    /// The path of its control group.
    group: String,
    /// The set of files that it starts with.
    files: String,
}

impl Supervisor {
    /// Makes everything that a run needs; what is there is kept.
    pub(super) async fn prepare(&self) -> Result<(), Error> {
        let preparation = Preparation {
            host: self.host.clone(),
            record: self.record.clone(),
            folder: self.folder.clone(),
            network: self.network.clone(),
            group: self.group.path().to_owned(),
            files: self.files_to_run().to_owned(),
        };
        blocking(move || preparation.make()).await
    }
}

impl Preparation {
    fn make(&self) -> Result<(), Error> {
        let digest = &self.record.image_digest;
        let root = self.host.store.ensure(digest, || {
            let reference = self.reference()?;
            self.host.layouts.find(&reference)
        })?;
        self.network.ensure().map_err(|error| {
            let what = "cannot make the container's network";
            Error::caused(ErrorKind::Unavailable, what, error)
        })?;
        let files = self.folder.set(&self.files).map_err(disk)?;
        // Nothing runs: what is there afterwards is what this run mounts.
        remove_folder(&self.folder.path("files")).map_err(disk)?;
        put(&self.folder, &files).map_err(disk)?;
        let spec = ContainerSpec {
            files,
            ..self.record.spec.clone()
        };
        self.write_bundle(&spec, root)
    }

    /// The reference of exactly the image that was found at first.
    fn reference(&self) -> Result<Reference, Error> {
        let image = &self.record.spec.image;
        let name = image
            .split_once('@')
            .map_or(image.as_str(), |(name, _)| name);
        format!("{name}@{}", self.record.image_digest).parse()
    }

    fn write_bundle(&self, spec: &ContainerSpec, root: PathBuf) -> Result<(), Error> {
        let image = &self.record.image;
        let inside = Root::open(&root).map_err(disk)?;
        let user = User::resolve(image.user().as_deref().unwrap_or(""), &inside)?;
        let volumes = image.volumes().clone().unwrap_or_default();
        let bundle = Bundle {
            spec,
            image,
            mounts: mounts::all(spec, &volumes, &user, &self.folder.path("files")),
            user,
            root,
            host_name: &self.record.id.name,
            network: namespace_file(&self.network.name),
            group: format!("/{}/c", self.group),
            machine: machine(&self.host.hierarchies),
        };
        let targets = bundle.mounts.iter().map(|mount| mount.target.as_ref());
        make_targets(&inside, targets)?;
        self.write(&bundle).map_err(disk)
    }

    fn write(&self, bundle: &Bundle<'_>) -> io::Result<()> {
        let launch = Launch {
            name: key(&self.record.id),
            group: self.group.clone(),
            runtime: self.host.config.runtime_program.clone(),
            rights: bundle.rights(),
        };
        fs::create_dir_all(self.folder.path("bundle"))?;
        self.folder.write("bundle/config.json", &bundle.config())?;
        self.folder.write("launch.json", &launch)
    }
}

fn disk(error: io::Error) -> Error {
    let what = "cannot write the container's files";
    Error::caused(ErrorKind::Unavailable, what, error)
}

/// What this machine permits.
fn machine(hierarchies: &Hierarchies) -> Machine {
    let swap = hierarchies.file("memory", "", "memory.memsw.limit_in_bytes");
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    Machine {
        limits_swap: hierarchies.version() == Version::V2 || swap.exists(),
        own_oom_score: score.trim().parse().unwrap_or(0),
        open_files_max: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
    }
}
