//! The parts that others play: a deployment manager and agents, each as small as can be.
//!
//! A deployment has an Instance for each replica; an Instance is available as soon as its agent sees it, and goes only
//! with its agent. An agent that is cut off does neither.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use api::condition::{AVAILABLE, Truth, condition};
use api::wdm::{InstanceSpec, instance_name, is_available};
use api::{Host, Instance, Result, WorkloadDeployment};
use kube::ResourceExt;
use runtime::deleting;
use runtime::laws::{Faults, World};
use runtime::{Child, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Runtime, Wait};
use serde_json::{Value, json};

/// The agents of all hosts; a clone is the same ones.
#[derive(Clone, Default)]
pub struct Agents {
    faults: Arc<Faults>,
    cut_off: Arc<Mutex<BTreeSet<String>>>,
}

impl Agents {
    pub fn cut_off(&self, host: &str) {
        self.cut_off.lock().unwrap().insert(host.to_owned());
    }

    pub fn reconnect(&self, host: &str) {
        self.cut_off.lock().unwrap().remove(host);
    }

    pub fn is_cut_off(&self, host: &str) -> bool {
        self.cut_off.lock().unwrap().contains(host)
    }

    /// Adds the players.
    pub fn play(&self, runtime: Runtime) -> Runtime {
        runtime
            .add(DeploymentPlayer)
            .add(InstancePlayer(self.clone()))
    }
}

impl World for Agents {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn left(&self) -> Vec<String> {
        Vec::new()
    }
}

struct DeploymentPlayer;

impl Reconciler for DeploymentPlayer {
    type Object = WorkloadDeployment;
    /// Its instances, each with whether it is available, and whether its host is gone for ever.
    type Observed = Vec<(Arc<Instance>, bool, bool)>;
    type Step = Never;
    type Status = Value;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Instance>();
        kinds.wakes_all::<Host>();
    }

    async fn observe(&self, ctx: &Ctx, it: &WorkloadDeployment) -> Result<Self::Observed> {
        let mut observed = Vec::new();
        for instance in ctx.children::<Instance>(it)? {
            let host = ctx.get::<Host>(None, instance.spec.host.name())?;
            let available = is_available(&instance, host.as_deref());
            observed.push((instance, available, host.is_none()));
        }
        Ok(observed)
    }

    fn plan(&self, it: &WorkloadDeployment, observed: &Self::Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        for replica in &it.spec.replicas {
            let workload = it.spec.workload.name();
            let name = instance_name(workload, replica.replica, replica.host.name());
            let spec = InstanceSpec {
                host: replica.host.clone(),
                workload: it.spec.workload.clone(),
                artefact: replica.artefact.clone(),
                execution: it.spec.execution.clone(),
                resources: replica.resources.clone(),
                configuration: it.spec.configuration.clone(),
                interfaces: Vec::new(),
                serving: replica.serving,
            };
            let child = Child::named(it, Instance::new(&name, spec));
            let available = |(instance, available, _): &(Arc<Instance>, bool, bool)| {
                instance.name_any() == name && *available
            };
            if !observed.iter().any(available) {
                plan.waits
                    .push(Wait::Object(child.reference(), "is not available".into()));
            }
            plan.children.push(child);
        }
        for (instance, _, lost) in observed {
            if *lost && deleting(&**instance) {
                plan.forgotten.push(ObjectRef::of(&**instance));
            }
        }
        plan
    }

    async fn act(&self, _: &Ctx, _: &WorkloadDeployment, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &WorkloadDeployment, observed: &Self::Observed) -> Report<Value> {
        let n_available = observed
            .iter()
            .filter(|(_, available, _)| *available)
            .count();
        let serves = Truth::from(n_available > 0);
        Report {
            status: json!({"replicas": n_available}),
            conditions: vec![condition(AVAILABLE, serves, "Counted", "")],
        }
    }
}

struct InstancePlayer(Agents);

impl Reconciler for InstancePlayer {
    type Object = Instance;
    /// Whether its agent is cut off.
    type Observed = bool;
    type Step = Never;
    type Status = Value;

    async fn observe(&self, _: &Ctx, instance: &Instance) -> Result<bool> {
        let host = instance.spec.host.name();
        match self.0.is_cut_off(host) {
            true => Err(api::Error::new(api::ErrorKind::Conflict, "nobody is there")),
            false => Ok(false),
        }
    }

    fn plan(&self, _: &Instance, _: &bool) -> Plan<Never> {
        Plan::default()
    }

    async fn act(&self, _: &Ctx, _: &Instance, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Instance, cut_off: &bool) -> Report<Value> {
        let serves = Truth::from(!cut_off);
        Report {
            status: json!({}),
            conditions: vec![condition(AVAILABLE, serves, "Runs", "")],
        }
    }
}
