//! `Instance`: one running copy on this host becomes a container.
//!
//! Reads: ConfigMap and Secret, live and only those that the Instance names. Writes: nothing.
//! Acts on: the host's container runtime, which restarts and probes by itself.
//!
//! Runs with the agent. A container whose Instance is gone is removed by [`sweep()`], after one complete list.

mod configuration;
mod references;
mod sweep;

use std::sync::Arc;

use adapter::{ContainerId, ContainerPhase, ContainerRuntime, ContainerSpec, ContainerState};
use api::condition::condition;
use api::wdm::{InstanceConfiguration, RefusedConfiguration};
use api::{AVAILABLE, AvailableReason, Error, Instance, Result, Truth};
use futures::StreamExt;
use futures::stream::{BoxStream, select};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use runtime::{Ctx, ObjectRef, Plan, Reconciler, Report, Wait, deleting};
use serde::Serialize;
use std::fmt;

use crate::instance::configuration::container;
use crate::instance::references::References;

pub use crate::instance::sweep::{clear, sweep};

/// Whether the wanted configuration is in force.
const CONFIGURED: &str = "Configured";

/// The reasons of `Configured`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfiguredReason {
    /// The wanted configuration is in force. Nothing to do.
    Applied,
    /// It is on its way into the container. If it stays so, look at `Ready`.
    Applying,
    /// The program did not take it, or cannot run with it, and runs on with the one before; the message says why. Correct
    /// what the message names.
    Refused,
    /// A ConfigMap, a Secret or a key that it names is not there. Make it, or name another.
    Missing,
    /// The instance is being deleted. Nothing to do.
    Deleting,
}

impl From<ConfiguredReason> for String {
    fn from(reason: ConfiguredReason) -> Self {
        format!("{reason:?}")
    }
}

/// Makes each Instance of this host a container.
#[derive(Debug)]
pub struct InstanceReconciler<C> {
    containers: Arc<C>,
    references: References,
}

impl<C> InstanceReconciler<C> {
    /// Runs Instances on this runtime.
    pub fn new(containers: Arc<C>) -> Self {
        Self {
            containers,
            references: References::default(),
        }
    }
}

/// What is seen of an Instance's container, and what it should be.
#[derive(Debug)]
pub struct Observed {
    state: Option<ContainerState>,
    /// What should run, or what is missing to say so; not looked for while the Instance is being deleted.
    wanted: Option<Result<ContainerSpec, String>>,
    /// Why what should run instead of the container cannot, as far as can be known before.
    refused: Option<Error>,
}

/// One act on the container runtime.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Makes it run, or gives it new files.
    Ensure(Box<ContainerSpec>),
    /// Takes it away.
    Remove,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ensure(spec) => write!(
                f,
                "~ container of {}, files {}",
                spec.image,
                spec.files_digest()
            ),
            Self::Remove => f.write_str("- container"),
        }
    }
}

/// The fields of the status that the agent owns.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    started: Option<Time>,
    restarts: u32,
    image_digest: Option<String>,
    last_exit: Option<String>,
    configuration: InstanceConfiguration,
}

impl<C: ContainerRuntime> Reconciler for InstanceReconciler<C> {
    type Object = Instance;
    type Observed = Observed;
    type Step = Step;
    type Status = Status;

    async fn observe(&self, ctx: &Ctx, instance: &Instance) -> Result<Observed> {
        let state = self.containers.find(&id(instance)).await?;
        if deleting(instance) {
            self.references.forget(instance);
            return Ok(Observed {
                state,
                wanted: None,
                refused: None,
            });
        }
        let read = self.references.read(&ctx.client(), instance).await?;
        let wanted = container(instance, &read);
        let refused = match (&wanted, &state) {
            (Ok(wanted), Some(state)) if state.digest != wanted.digest() => {
                self.containers.check(wanted).await.err()
            }
            _ => None,
        };
        Ok(Observed {
            state,
            wanted: Some(wanted),
            refused,
        })
    }

    fn plan(&self, _: &Instance, observed: &Observed) -> Plan<Step> {
        if let Some(refused) = &observed.refused {
            return Plan {
                refused: Some(refused.clone()),
                ..Plan::default()
            };
        }
        match (&observed.wanted, &observed.state) {
            (None, None) => Plan::default(),
            (None, Some(state)) => removal(state),
            (Some(Err(missing)), _) => wait(missing.clone()),
            (Some(Ok(wanted)), None) => ensure(wanted),
            (Some(Ok(wanted)), Some(state)) => change(wanted, state),
        }
    }

    async fn act(&self, _: &Ctx, instance: &Instance, step: &Step) -> Result<()> {
        match step {
            Step::Ensure(spec) => self.containers.ensure(&id(instance), spec).await,
            Step::Remove => self.containers.remove(&id(instance)).await,
        }
    }

    fn report(&self, _: &Instance, observed: &Observed) -> Report<Status> {
        let state = observed.state.as_ref();
        let started = state.and_then(|state| match state.phase {
            ContainerPhase::Running { since } => Some(Time(since)),
            _ => None,
        });
        let status = Status {
            started,
            restarts: state.map(|state| state.restarts).unwrap_or_default(),
            image_digest: state.and_then(|state| state.image_digest.clone()),
            last_exit: state.and_then(|state| state.last_exit.clone()),
            configuration: state.map(in_force).unwrap_or_default(),
        };
        Report {
            status,
            conditions: vec![availability(state), configured(observed)],
        }
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        let containers = self
            .containers
            .changes()
            .map(|id| ObjectRef::new::<Instance>(Some(&id.namespace), &id.name));
        select(containers, self.references.changes(ctx.client())).boxed()
    }
}

/// The container of an Instance.
fn id(instance: &Instance) -> ContainerId {
    ContainerId {
        namespace: instance.namespace().unwrap_or_default(),
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
    }
}

fn ensure(wanted: &ContainerSpec) -> Plan<Step> {
    Plan {
        steps: vec![Step::Ensure(Box::new(wanted.clone()))],
        ..Plan::default()
    }
}

fn wait(why: impl Into<String>) -> Plan<Step> {
    Plan {
        waits: vec![Wait::World(why.into())],
        ..Plan::default()
    }
}

fn removal(state: &ContainerState) -> Plan<Step> {
    match state.phase {
        ContainerPhase::Stopping => wait("the container is stopping"),
        _ => Plan {
            steps: vec![Step::Remove],
            ..Plan::default()
        },
    }
}

/// From a container that exists to what is wanted of it.
fn change(wanted: &ContainerSpec, state: &ContainerState) -> Plan<Step> {
    if state.digest != wanted.digest() {
        return removal(state);
    }
    let files = wanted.files_digest();
    let refused = state
        .files
        .refused
        .as_ref()
        .filter(|refused| refused.digest == files);
    match state.phase {
        ContainerPhase::Stopping => wait("the container is stopping"),
        // Also when those in force are the wanted ones again, and others were given meanwhile.
        _ if state.files.given != files => ensure(wanted),
        _ if state.files.applied.as_ref() != Some(&files) && refused.is_none() => {
            wait("the files are on their way")
        }
        ContainerPhase::Starting => wait("the container is starting"),
        ContainerPhase::BackOff => wait(format!(
            "the container ended ({}) and is started again",
            state.last_exit.as_deref().unwrap_or("unknown")
        )),
        ContainerPhase::Running { .. } if !state.ready => wait("the container is not ready"),
        ContainerPhase::Running { .. } => match refused {
            Some(refused) => wait(format!("the configuration was refused: {}", refused.why)),
            None => Plan::default(),
        },
    }
}

fn in_force(state: &ContainerState) -> InstanceConfiguration {
    let refused = state.files.refused.as_ref();
    InstanceConfiguration {
        applied: state.files.applied.clone(),
        refused: refused.map(|refused| RefusedConfiguration {
            digest: refused.digest.clone(),
            why: refused.why.clone(),
        }),
    }
}

fn availability(state: Option<&ContainerState>) -> Condition {
    let (truth, reason, message) = match state {
        Some(ContainerState {
            phase: ContainerPhase::Running { .. },
            ready: true,
            ..
        }) => (Truth::True, AvailableReason::Serving, ""),
        Some(ContainerState {
            phase: ContainerPhase::Running { .. },
            ..
        }) => (
            Truth::False,
            AvailableReason::NotReady,
            "its readiness probe fails",
        ),
        Some(ContainerState {
            phase: ContainerPhase::BackOff,
            ..
        }) => (
            Truth::False,
            AvailableReason::BackOff,
            "it ended and is started again",
        ),
        Some(ContainerState {
            phase: ContainerPhase::Stopping,
            ..
        }) => (
            Truth::False,
            AvailableReason::Stopping,
            "it was asked to end",
        ),
        Some(_) => (Truth::False, AvailableReason::Starting, "it is being made"),
        None => (
            Truth::False,
            AvailableReason::NoContainer,
            "there is no container yet",
        ),
    };
    condition(AVAILABLE, truth, reason, message)
}

fn configured(observed: &Observed) -> Condition {
    let wanted = match &observed.wanted {
        None => {
            return condition(
                CONFIGURED,
                Truth::Unknown,
                ConfiguredReason::Deleting,
                "it is being deleted",
            );
        }
        Some(Err(missing)) => {
            return condition(CONFIGURED, Truth::False, ConfiguredReason::Missing, missing);
        }
        Some(Ok(wanted)) => wanted.files_digest(),
    };
    if let Some(error) = &observed.refused {
        let why = api::chain(error);
        return condition(CONFIGURED, Truth::False, ConfiguredReason::Refused, why);
    }
    let files = observed.state.as_ref().map(|state| &state.files);
    let refused = files
        .and_then(|files| files.refused.as_ref())
        .filter(|refused| refused.digest == wanted);
    match (refused, files.and_then(|files| files.applied.as_ref())) {
        (Some(refused), _) => condition(
            CONFIGURED,
            Truth::False,
            ConfiguredReason::Refused,
            &refused.why,
        ),
        (None, Some(applied)) if *applied == wanted => {
            condition(CONFIGURED, Truth::True, ConfiguredReason::Applied, "")
        }
        _ => condition(
            CONFIGURED,
            Truth::False,
            ConfiguredReason::Applying,
            "the files are on their way",
        ),
    }
}

#[cfg(test)]
mod tests {
    use adapter::FilesState;
    use adapter_sim::SimContainers;
    use api::ErrorKind;
    use api::wdm::{Execution, OnChange};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn spec(image: &str) -> ContainerSpec {
        ContainerSpec {
            image: image.to_owned(),
            execution: Execution::default(),
            resources: api::Resources::default(),
            environment: Default::default(),
            files: Default::default(),
            on_change: OnChange::default(),
            interfaces: Vec::new(),
        }
    }

    #[test]
    fn what_runs_is_not_removed_for_what_cannot_run() {
        let runs = spec("layout:web");
        let instance = serde_json::from_value(serde_json::json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Instance",
            "metadata": {"name": "web-0", "namespace": "default"},
            "spec": {"host": "mad-1", "workload": "web", "resources": {}, "interfaces": [],
                "artefact": {"form": "container", "image": "layout:other"}},
        }));
        let instance: Instance = instance.expect("an instance");
        let state = ContainerState {
            phase: ContainerPhase::Running {
                since: Timestamp::UNIX_EPOCH,
            },
            digest: runs.digest(),
            image_digest: None,
            ready: true,
            restarts: 0,
            last_exit: None,
            files: FilesState {
                given: runs.files_digest(),
                applied: Some(runs.files_digest()),
                refused: None,
            },
        };
        let mut observed = Observed {
            state: Some(state),
            wanted: Some(Ok(spec("layout:other"))),
            refused: None,
        };
        let reconciler = InstanceReconciler::new(Arc::new(SimContainers::new(Arc::default())));
        let plan = reconciler.plan(&instance, &observed);
        assert_eq!(plan.steps, [Step::Remove], "it can be replaced");
        let why = Error::new(ErrorKind::Invalid, "memory is 1 byte");
        observed.refused = Some(why);
        let plan = reconciler.plan(&instance, &observed);
        assert_eq!(plan.steps, []);
        assert_eq!(
            plan.refused.map(|error| error.what).as_deref(),
            Some("memory is 1 byte")
        );
        let said = reconciler.report(&instance, &observed).conditions;
        let said: Vec<_> = said
            .iter()
            .map(|it| (it.reason.as_str(), it.message.as_str()))
            .collect();
        assert_eq!(said, [("Serving", ""), ("Refused", "memory is 1 byte")]);
    }
}
