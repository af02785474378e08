//! Containers that exist only in memory: they take time to start and to stop, can crash, and refuse configurations.
//!
//! What an image does is in its name: `layout:crash…` ends again and again, `layout:absent…` cannot be found; any other
//! runs. A file whose content begins with `invalid` is refused. Interfaces that containers have in the host's router
//! are shared with the simulated router.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use adapter::faults::{Effect, Faults, Tripped, World};
use adapter::{
    ContainerId, ContainerPhase, ContainerRuntime, ContainerSpec, ContainerState, ExecOutput,
    ExecRequest, FilesState, LogOptions, RefusedFiles,
};
use api::{Error, ErrorKind};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, iter, unfold};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// How long a container takes to start and to become ready.
const START: Duration = Duration::from_millis(800);
/// How long it takes to stop.
const STOP: Duration = Duration::from_millis(300);

/// The interfaces that containers have in the router of their host; who subscribes hears when they come and go.
pub type Interfaces = watch::Sender<BTreeSet<String>>;

/// The container runtime of one simulated host; a clone is the same one.
#[derive(Clone)]
pub struct SimContainers(Arc<Inner>);

struct Inner {
    faults: Arc<Faults>,
    interfaces: Interfaces,
    epoch: Instant,
    state: Mutex<State>,
    /// Wakes the stream of hints when there is a new one.
    hinted: Notify,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<ContainerId, Container>,
    /// When something becomes visible, and of which container.
    hints: BTreeSet<(Instant, ContainerId)>,
}

struct Container {
    spec: ContainerSpec,
    files: FilesState,
    /// When it is ready, or gone if it is stopping.
    done: Instant,
    stopping: bool,
    restarts: u32,
}

impl SimContainers {
    /// An empty host whose calls go through this switch.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self(Arc::new(Inner {
            faults,
            interfaces: Interfaces::default(),
            epoch: Instant::now(),
            state: Mutex::default(),
            hinted: Notify::new(),
        }))
    }

    /// The interfaces in the host's router; shared with the simulated router.
    pub fn interfaces(&self) -> Interfaces {
        self.0.interfaces.clone()
    }

    /// Ends every container at once, as a power cut does; no container hints at it.
    pub fn power_cut(&self) {
        self.lock().containers.clear();
        self.0.interfaces.send_modify(BTreeSet::clear);
    }

    /// The containers that exist.
    pub fn ids(&self) -> Vec<ContainerId> {
        let mut state = self.lock();
        self.tidy(&mut state);
        state.containers.keys().cloned().collect()
    }

    async fn call<T>(
        &self,
        what: String,
        effect: Effect,
        act: impl FnOnce(&mut State) -> T,
    ) -> Result<T, Error> {
        let act = async {
            let mut state = self.lock();
            self.tidy(&mut state);
            act(&mut state)
        };
        let done = self.0.faults.call(&what, effect, act).await;
        done.map_err(|Tripped| Error::new(ErrorKind::Unavailable, format!("cannot {what}")))
    }

    /// Forgets containers that have stopped by now, and their interfaces.
    fn tidy(&self, state: &mut State) {
        let now = Instant::now();
        let is_gone = |_: &ContainerId, container: &mut Container| {
            container.stopping && container.done <= now
        };
        for (_, container) in state.containers.extract_if(.., is_gone) {
            let gone = container.spec.interfaces.iter();
            self.0.interfaces.send_if_modified(|interfaces| {
                let before = interfaces.len();
                for one in gone {
                    interfaces.remove(&one.router_interface);
                }
                interfaces.len() != before
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nothing panics under this lock")
    }

    fn hint(&self, state: &mut State, at: Instant, id: &ContainerId) {
        state.hints.insert((at, id.clone()));
        self.0.hinted.notify_one();
    }

    fn start(
        &self,
        state: &mut State,
        id: &ContainerId,
        spec: &ContainerSpec,
    ) -> Result<(), Error> {
        check(spec)?;
        let done = Instant::now() + START;
        let names = spec
            .interfaces
            .iter()
            .map(|interface| interface.router_interface.clone());
        self.0.interfaces.send_if_modified(|interfaces| {
            let before = interfaces.len();
            interfaces.extend(names);
            interfaces.len() != before
        });
        let files = accepted(spec, &FilesState::default());
        let container = Container {
            spec: spec.clone(),
            files,
            done,
            stopping: false,
            restarts: 0,
        };
        state.containers.insert(id.clone(), container);
        self.hint(state, done, id);
        Ok(())
    }

    fn change(container: &mut Container, spec: &ContainerSpec) -> Result<(), Error> {
        if container.stopping || container.spec.digest() != spec.digest() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the container must be removed first",
            ));
        }
        container.files = accepted(spec, &container.files);
        container.spec = spec.clone();
        Ok(())
    }
}

/// Refuses what can never run.
fn check(spec: &ContainerSpec) -> Result<(), Error> {
    if spec.image.starts_with("layout:absent") {
        let what = format!("cannot find image {}", spec.image);
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    Ok(())
}

/// Which files are in force after these were given.
fn accepted(spec: &ContainerSpec, before: &FilesState) -> FilesState {
    let digest = spec.files_digest();
    match spec
        .files
        .iter()
        .find(|(_, content)| content.starts_with(b"invalid"))
    {
        Some((path, _)) if before.applied.is_some() => {
            let refused = RefusedFiles {
                digest,
                why: format!("{path} is invalid"),
            };
            FilesState {
                given: refused.digest.clone(),
                refused: Some(refused),
                ..before.clone()
            }
        }
        _ => FilesState {
            given: digest.clone(),
            applied: Some(digest),
            refused: None,
        },
    }
}

impl Container {
    fn state(&self, epoch: Instant) -> ContainerState {
        let crashes = self.spec.image.starts_with("layout:crash");
        let ready = self.done <= Instant::now() && !crashes;
        let phase = match (self.stopping, ready) {
            (true, _) => ContainerPhase::Stopping,
            (false, true) => ContainerPhase::Running {
                since: since(self.done, epoch),
            },
            (false, false) if crashes && self.done <= Instant::now() => ContainerPhase::BackOff,
            (false, false) => ContainerPhase::Starting,
        };
        ContainerState {
            phase,
            digest: self.spec.digest(),
            image_digest: Some(format!(
                "sha256:{:064x}",
                api::short_hash(&[&self.spec.image])
            )),
            ready: ready && !self.stopping,
            restarts: self.restarts,
            last_exit: crashes.then(|| "exit status 1".to_owned()),
            files: self.files.clone(),
        }
    }
}

fn absent(id: &ContainerId) -> Error {
    let what = format!("container {id} does not exist");
    Error::new(ErrorKind::NotFound, what)
}

fn since(at: Instant, epoch: Instant) -> Timestamp {
    let elapsed = SignedDuration::try_from(at.duration_since(epoch)).expect("a test is short");
    Timestamp::UNIX_EPOCH + elapsed
}

impl ContainerRuntime for SimContainers {
    async fn list(&self) -> Result<Vec<ContainerId>, Error> {
        self.call("list containers".into(), Effect::Read, |state| {
            state.containers.keys().cloned().collect()
        })
        .await
    }

    async fn find(&self, id: &ContainerId) -> Result<Option<ContainerState>, Error> {
        let epoch = self.0.epoch;
        let find = |state: &mut State| {
            state
                .containers
                .get(id)
                .map(|container| container.state(epoch))
        };
        self.call(format!("find container {id}"), Effect::Read, find)
            .await
    }

    async fn check(&self, spec: &ContainerSpec) -> Result<(), Error> {
        let what = format!("check a container of {}", spec.image);
        self.call(what, Effect::Read, |_| check(spec)).await?
    }

    async fn ensure(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        let ensure = |state: &mut State| match state.containers.get_mut(id) {
            Some(container) => Self::change(container, spec),
            None => self.start(state, id, spec),
        };
        self.call(format!("ensure container {id}"), Effect::Write, ensure)
            .await?
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        let remove = |state: &mut State| {
            let done = Instant::now() + STOP;
            let Some(container) = state
                .containers
                .get_mut(id)
                .filter(|container| !container.stopping)
            else {
                return;
            };
            (container.stopping, container.done) = (true, done);
            self.hint(state, done, id);
        };
        self.call(format!("remove container {id}"), Effect::Write, remove)
            .await
    }

    async fn logs(
        &self,
        id: &ContainerId,
        _: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        self.find(id).await?.ok_or_else(|| absent(id))?;
        let line = Ok(Bytes::from(format!("{id} says hello\n")));
        Ok(iter([line]).boxed())
    }

    async fn exec(
        &self,
        id: &ContainerId,
        request: ExecRequest,
    ) -> Result<BoxStream<'static, Result<ExecOutput, Error>>, Error> {
        self.find(id).await?.ok_or_else(|| absent(id))?;
        let echoed = Bytes::from(request.command.join(" ") + "\n");
        Ok(iter([Ok(ExecOutput::Stdout(echoed)), Ok(ExecOutput::Exit(0))]).boxed())
    }

    fn changes(&self) -> BoxStream<'static, ContainerId> {
        // Who begins to listen hears nothing of what was before.
        let now = Instant::now();
        self.lock().hints.retain(|(at, _)| *at > now);
        unfold(self.clone(), |containers| async move {
            let id = containers.next_hint().await;
            Some((id, containers))
        })
        .boxed()
    }
}

impl SimContainers {
    async fn next_hint(&self) -> ContainerId {
        loop {
            let hinted = self.0.hinted.notified();
            let first = self.lock().hints.first().cloned();
            match first {
                None => hinted.await,
                Some((at, id)) if at <= Instant::now() => {
                    self.lock().hints.remove(&(at, id.clone()));
                    // A hint is a call like others: it may be lost.
                    if self
                        .0
                        .faults
                        .call(format!("hint {id}"), Effect::Read, async {})
                        .await
                        .is_ok()
                    {
                        return id;
                    }
                }
                Some((at, _)) => tokio::select! {
                    biased;
                    () = hinted => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}

impl World for SimContainers {
    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn left(&self) -> Vec<String> {
        self.ids().into_iter().map(|id| id.uid).collect()
    }
}

#[cfg(test)]
mod tests {
    use adapter::container::contract;
    use api::Resources;
    use api::wdm::{Execution, OnChange};

    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            image: "layout:web".into(),
            execution: Execution::default(),
            resources: Resources::default(),
            environment: BTreeMap::new(),
            files: BTreeMap::new(),
            on_change: OnChange::default(),
            interfaces: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_containers_keep_the_contract() {
        contract::check(&SimContainers::new(Arc::default()), &spec()).await;
    }
}
