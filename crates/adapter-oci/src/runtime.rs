//! [`OciRuntime`]: the trait's side, which writes down what is wanted and reads what supervisors show.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use adapter::{
    ContainerId, ContainerRuntime, ContainerSpec, ContainerState, ExecOutput, ExecRequest,
    LogOptions,
};
use api::{Error, ErrorKind};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use linux::cgroup::{Group, Hierarchies};
use rustix::process::{Pid, set_child_subreaper};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::disk::{Folder, History, Journal, Record};
use crate::host::{Host, OciConfig, key};
use crate::image::{Image, Layouts, Reference, Root, Store};
use crate::supervisor::{Supervisor, Wanted, blocking, remove_folder};
use crate::{bundle, exec, logs};

/// How many hints wait for a slow listener; more are lost, as the trait says they may be.
const HINTS_MAX: usize = 256;

/// How often orphans are reaped.
const REAP: Duration = Duration::from_secs(2);

/// The most containers of a host.
const CONTAINERS_MAX: usize = 512;

/// Runs containers by an OCI runtime program. Dropping it leaves them running; the next one on the same folder goes on.
#[derive(Debug)]
pub struct OciRuntime {
    host: Arc<Host>,
    containers: Mutex<BTreeMap<ContainerId, Container>>,
    reaper: JoinHandle<()>,
}

impl Drop for OciRuntime {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

/// A container and the task that supervises it.
#[derive(Debug)]
struct Container {
    folder: Folder,
    record: Record,
    wanted: watch::Sender<Wanted>,
    seen: watch::Receiver<Option<ContainerState>>,
    task: JoinHandle<()>,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OciRuntime {
    /// Opens the runtime of a host and goes on with all that an earlier one left: running containers are adopted, those
    /// that were being removed are removed. Must be called inside a tokio runtime.
    pub async fn open(config: OciConfig) -> Result<Self, Error> {
        blocking(move || open_host(config))
            .await
            .and_then(|(host, records)| {
                let runtime = Self {
                    reaper: tokio::spawn(reap(host.group_of_all())),
                    host: Arc::new(host),
                    containers: Mutex::default(),
                };
                for record in records {
                    runtime.resume(record).map_err(unusable)?;
                }
                Ok(runtime)
            })
    }

    /// Ends the supervision and waits for that; the containers go on.
    pub async fn close(self) {
        let containers = std::mem::take(&mut *self.lock());
        for mut container in containers.into_values() {
            container.task.abort();
            // An error says that it was aborted, which is what was asked for.
            let _ = (&mut container.task).await;
        }
    }

    fn resume(&self, record: Record) -> io::Result<()> {
        let folder = self.host.folder(&key(&record.id));
        let wanted = Wanted {
            files: record.files.clone(),
            removing: folder.path("removing").exists(),
        };
        let journal = folder.read("journal.json")?.unwrap_or_else(|| Journal {
            applied: record.files.clone(),
            ..Journal::default()
        });
        let history: History = folder.read("history.json")?.unwrap_or_default();
        let (sender, receiver) = watch::channel(wanted);
        let (mut supervisor, seen) = Supervisor::new(
            self.host.clone(),
            record.clone(),
            receiver,
            (journal, history),
        );
        let run = supervisor.adopt();
        let container = Container {
            folder,
            wanted: sender,
            seen,
            task: tokio::spawn(supervisor.supervise(run)),
            record: record.clone(),
        };
        self.lock().insert(record.id, container);
        Ok(())
    }

    /// The containers that are left; those that are gone are forgotten here.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Container>> {
        let mut containers = self
            .containers
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        containers.retain(|_, container| container.seen.borrow().is_some());
        containers
    }

    /// The folder of a container that is there.
    fn folder(&self, id: &ContainerId) -> Result<Folder, Error> {
        let containers = self.lock();
        let container = containers.get(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no container {id}"))
        })?;
        Ok(container.folder.clone())
    }

    /// Gives an existing container other files; refuses another spec.
    fn change(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<Existing, Error> {
        let mut containers = self.lock();
        if let Some(other) = containers.keys().find(|other| shares_interfaces(other, id)) {
            return Err(conflict(format!(
                "an earlier container {other} is not removed yet"
            )));
        }
        let Some(container) = containers.get_mut(id) else {
            return match containers.len() < CONTAINERS_MAX {
                true => Ok(Existing::No),
                false => Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("the host has {CONTAINERS_MAX} containers, the most it takes"),
                )),
            };
        };
        if container.wanted.borrow().removing || container.record.spec.digest() != spec.digest() {
            return Err(conflict(format!("container {id} must be removed first")));
        }
        bundle::check(spec, &container.record.image)?;
        let files = spec.files_digest();
        if container.record.files != files {
            container.give(&files, spec).map_err(unusable)?;
        }
        Ok(Existing::Yes)
    }

    /// The image of a container that can be made, as far as can be known.
    fn image(&self, spec: &ContainerSpec) -> Result<Image, Error> {
        let reference: Reference = spec.image.parse()?;
        let image = self.host.layouts.find(&reference)?;
        bundle::check(spec, &image.config)?;
        Ok(image)
    }

    /// Writes a new container down; whatever happens from here on, it is made.
    fn create(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        let image = self.image(spec)?;
        let files = spec.files_digest();
        let record = Record {
            id: id.clone(),
            spec: ContainerSpec {
                files: BTreeMap::new(),
                ..spec.clone()
            },
            image_digest: image.digest,
            image: image.config,
            files,
        };
        let folder = self.host.folder(&key(id));
        write_down(&folder, &record, spec).map_err(unusable)?;
        self.forget_images();
        self.resume(record).map_err(unusable)
    }

    /// Makes room for the next image; an image that could not be removed is tried again next time.
    fn forget_images(&self) {
        let containers = self.lock();
        let used = containers
            .values()
            .map(|container| container.record.image_digest.clone());
        let used: Vec<String> = used.collect();
        if let Err(error) = self.host.store.forget_unused(&used) {
            tracing::warn!(error = api::chain(&error), "cannot remove old images");
        }
    }
}

/// Takes the zombies of all containers, which count among the processes that these may have.
async fn reap(group: Group) {
    loop {
        sleep(REAP).await;
        let group = group.clone();
        let _ = tokio::task::spawn_blocking(move || group.reap_orphans()).await;
    }
}

enum Existing {
    Yes,
    No,
}

/// An instance of the same name has the same interfaces in the router.
fn shares_interfaces(other: &ContainerId, id: &ContainerId) -> bool {
    other != id && (&other.namespace, &other.name) == (&id.namespace, &id.name)
}

impl Container {
    /// What is seen of it. What it was given is known here first.
    fn state(&self) -> Option<ContainerState> {
        let mut state = self.seen.borrow().clone()?;
        state.files.given.clone_from(&self.record.files);
        Some(state)
    }

    fn give(&mut self, files: &str, spec: &ContainerSpec) -> io::Result<()> {
        self.folder.keep_set(files, &spec.files)?;
        let record = Record {
            files: files.to_owned(),
            ..self.record.clone()
        };
        self.folder.write("record.json", &record)?;
        // The supervisor may still be about to use any of the sets before.
        let journal: Journal = self.folder.read("journal.json")?.unwrap_or_default();
        let mut kept = vec![files, &self.record.files, &journal.applied];
        kept.extend(journal.trying.as_deref());
        kept.extend(journal.previous.as_deref());
        self.folder.forget_sets(&kept)?;
        self.record = record;
        self.wanted
            .send_modify(|wanted| wanted.files = files.to_owned());
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        self.folder.write("removing", &true)?;
        self.wanted
            .send_if_modified(|wanted| !std::mem::replace(&mut wanted.removing, true));
        Ok(())
    }
}

/// The record comes last: a folder without one is nothing yet.
fn write_down(folder: &Folder, record: &Record, spec: &ContainerSpec) -> io::Result<()> {
    remove_folder(&folder.0)?;
    fs::create_dir_all(&folder.0)?;
    folder.keep_set(&record.files, &spec.files)?;
    let journal = Journal {
        applied: record.files.clone(),
        ..Journal::default()
    };
    folder.write("journal.json", &journal)?;
    folder.write("record.json", record)
}

/// Finds out what the machine has and what an earlier agent left.
fn open_host(config: OciConfig) -> Result<(Host, Vec<Record>), Error> {
    let hierarchies = Hierarchies::detect().map_err(|error| {
        Error::caused(ErrorKind::Unavailable, "cannot run containers here", error)
    })?;
    // Zombies of containers whose shim was killed come here; they hold their namespaces until they are reaped.
    set_child_subreaper(Pid::from_raw(1)).map_err(|errno| unusable(errno.into()))?;
    let store = Store::open(config.state.join("roots")).map_err(unusable)?;
    let (hints, _) = broadcast::channel(HINTS_MAX);
    let host = Host {
        layouts: Layouts::new(config.images.clone()),
        config,
        hierarchies,
        store,
        hints,
    };
    close(&host).map_err(unusable)?;
    let records = records(&host).map_err(unusable)?;
    let known: Vec<String> = records.iter().map(|record| key(&record.id)).collect();
    host.remove_strangers(&known).map_err(|error| {
        Error::caused(
            ErrorKind::Unavailable,
            "cannot remove what an earlier agent left",
            error,
        )
    })?;
    Ok((host, records))
}

/// Configuration files may hold secrets: only root passes the folder of state.
fn close(host: &Host) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(host.containers())?;
    fs::set_permissions(&host.config.state, fs::Permissions::from_mode(0o700))?;
    remove_folder(&host.removed())
}

/// What is wanted of each container. One of which that cannot be read is a stranger: what runs of it is removed as such,
/// and its folder too, as that of one that never became a container.
fn records(host: &Host) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(host.containers())? {
        let folder = Folder(entry?.path());
        match folder.read("record.json") {
            Ok(Some(record)) => records.push(record),
            Ok(None) => remove_folder(&folder.0)?,
            Err(error) => {
                tracing::warn!(
                    error = api::chain(&error),
                    "removed a container whose record cannot be read"
                );
                remove_folder(&folder.0)?;
            }
        }
    }
    Ok(records)
}

impl ContainerRuntime for OciRuntime {
    async fn list(&self) -> Result<Vec<ContainerId>, Error> {
        Ok(self.lock().keys().cloned().collect())
    }

    async fn find(&self, id: &ContainerId) -> Result<Option<ContainerState>, Error> {
        let containers = self.lock();
        Ok(containers.get(id).and_then(Container::state))
    }

    async fn check(&self, spec: &ContainerSpec) -> Result<(), Error> {
        let image = self.image(spec)?;
        let (host, spec) = (self.host.clone(), spec.clone());
        blocking(move || {
            let digest = image.digest.clone();
            let config = image.config.clone();
            let root = host.store.ensure(&digest, || Ok(image))?;
            let root = Root::open(&root).map_err(unusable)?;
            bundle::check_program(&spec, &config, &root)
        })
        .await
    }

    async fn ensure(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        match self.change(id, spec)? {
            Existing::Yes => Ok(()),
            Existing::No => self.create(id, spec),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        match self.lock().get(id) {
            Some(container) => container.remove().map_err(unusable),
            None => Ok(()),
        }
    }

    async fn logs(
        &self,
        id: &ContainerId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        logs::stream(self.folder(id)?.path("logs"), options)
    }

    async fn exec(
        &self,
        id: &ContainerId,
        request: ExecRequest,
    ) -> Result<BoxStream<'static, Result<ExecOutput, Error>>, Error> {
        if request.command.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "there is no program to run"));
        }
        exec::stream(&self.host.config, &self.folder(id)?, request)
    }

    fn changes(&self) -> BoxStream<'static, ContainerId> {
        let next = |mut hints: broadcast::Receiver<ContainerId>| async move {
            loop {
                match hints.recv().await {
                    Ok(id) => return Some((id, hints)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(self.host.hints.subscribe(), next).boxed()
    }
}

fn conflict(what: String) -> Error {
    Error::new(ErrorKind::Conflict, what)
}

fn unusable(error: io::Error) -> Error {
    Error::caused(
        ErrorKind::Unavailable,
        "cannot use the folder of the container runtime",
        error,
    )
}
