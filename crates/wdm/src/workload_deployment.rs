//! `WorkloadDeployment`: one workload on one target becomes Instances.
//!
//! Reads: Host, Site, Network, Instance. Writes: Instance, one per replica and host. Acts on: nothing.
//!
//! A replica is available only if its instance says so and its host can be seen. An instance whose host does not exist
//! any more is forgotten: nobody waits for its agent.

mod instances;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::condition::{self, condition};
use api::mco::{Endpoint, Endpoints};
use api::wdm::{DeploymentReplica, InstanceSpec, instance_name, is_available};
use api::{
    AVAILABLE, AvailableReason, Host, Instance, Network, Result, Site, Truth, WorkloadDeployment,
    service_address,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use runtime::{Child, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};
use serde::Serialize;

use crate::workload_deployment::instances::{Place, instance};

/// Makes the Instances of each deployment.
#[derive(Debug)]
pub struct WorkloadDeploymentReconciler;

/// What a deployment depends on.
#[derive(Debug)]
pub struct Observed {
    instances: Vec<Arc<Instance>>,
    /// Hosts by name, those of the replicas and those of instances that exist; a missing one is absent.
    hosts: BTreeMap<String, Arc<Host>>,
    /// Sites of these hosts by name.
    sites: BTreeMap<String, Arc<Site>>,
    network: Option<Arc<Network>>,
}

/// The fields of the status that this reconciler owns.
#[derive(Debug, Serialize)]
pub struct Status {
    replicas: u32,
    endpoints: Endpoints,
}

impl Reconciler for WorkloadDeploymentReconciler {
    type Object = WorkloadDeployment;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Instance>();
        kinds.wakes_all::<Host>();
        kinds.wakes_all::<Site>();
        kinds.reads::<Network>();
    }

    async fn observe(&self, ctx: &Ctx, deployment: &WorkloadDeployment) -> Result<Observed> {
        let instances = ctx.children::<Instance>(deployment)?;
        let replicas = deployment
            .spec
            .replicas
            .iter()
            .map(|replica| replica.host.name());
        let existing = instances.iter().map(|instance| instance.spec.host.name());
        let mut hosts = BTreeMap::new();
        let mut sites = BTreeMap::new();
        for name in replicas.chain(existing) {
            let Some(host) = ctx.get::<Host>(None, name)? else {
                continue;
            };
            if let Some(site) = ctx.get::<Site>(None, host.spec.site.name())? {
                sites.insert(site.name_any(), site);
            }
            hosts.insert(name.to_owned(), host);
        }
        let namespace = deployment.namespace();
        let network = match &deployment.spec.network {
            Some(network) => ctx.get::<Network>(namespace.as_deref(), network.name())?,
            None => None,
        };
        Ok(Observed {
            instances,
            hosts,
            sites,
            network,
        })
    }

    fn plan(&self, deployment: &WorkloadDeployment, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan {
            forgotten: forgotten(observed),
            ..Plan::default()
        };
        if deleting(deployment) {
            // What it stood on may be gone before it: nothing is waited for but its instances.
            return plan;
        }
        for replica in &deployment.spec.replicas {
            match place(deployment, observed, replica.host.name()) {
                Ok(place) => {
                    let child = instance(deployment, replica, &place);
                    plan.waits.extend(unsettled(observed, &child.reference()));
                    plan.children.push(child);
                }
                Err(wait) => {
                    plan.waits.push(wait);
                    plan.children.extend(kept(deployment, observed, replica));
                }
            }
        }
        plan
    }

    async fn act(&self, _: &Ctx, _: &WorkloadDeployment, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, deployment: &WorkloadDeployment, observed: &Observed) -> Report<Status> {
        let available =
            |instance: &&Arc<Instance>| is_available(instance, observed.host_of(instance));
        let n_available = observed.instances.iter().filter(available).count();
        let replicas = u32::try_from(n_available).unwrap_or(u32::MAX);
        let status = Status {
            replicas,
            endpoints: endpoints(deployment, observed),
        };
        Report {
            status,
            conditions: vec![availability(deployment, replicas)],
        }
    }
}

impl Observed {
    fn host_of(&self, instance: &Instance) -> Option<&Host> {
        self.hosts
            .get(instance.spec.host.name())
            .map(|host| &**host)
    }
}

/// Instances that are being deleted and whose host was declared dead.
fn forgotten(observed: &Observed) -> Vec<ObjectRef> {
    let gone = |instance: &&Arc<Instance>| {
        runtime::deleting(&***instance) && observed.host_of(instance).is_none()
    };
    observed
        .instances
        .iter()
        .filter(gone)
        .map(|instance| ObjectRef::of(&**instance))
        .collect()
}

/// Everything about the place of a replica that its instance needs to know, or what is missing.
fn place<'a>(
    deployment: &WorkloadDeployment,
    observed: &'a Observed,
    host: &str,
) -> Result<Place<'a>, Wait> {
    let absent = |object: ObjectRef| Wait::Object(object, "does not exist".into());
    let Some(host) = observed.hosts.get(host) else {
        return Err(absent(ObjectRef::new::<Host>(None, host)));
    };
    let site = host.spec.site.name();
    let Some(site) = observed.sites.get(site) else {
        return Err(absent(ObjectRef::new::<Site>(None, site)));
    };
    let address = match (&deployment.spec.network, &observed.network) {
        (None, _) => None,
        (Some(_), Some(network)) => {
            let namespace = deployment.namespace().unwrap_or_default();
            Some(service_address(
                network.spec.prefix,
                &namespace,
                deployment.spec.workload.name(),
            ))
        }
        (Some(name), None) => {
            return Err(absent(ObjectRef::new::<Network>(
                deployment.namespace().as_deref(),
                name.name(),
            )));
        }
    };
    Ok(Place {
        host,
        site,
        address,
    })
}

/// The instance of a replica as it is, if there is one: what runs goes on, though its place cannot be told any more.
/// Only one whose host does not exist any more is given up.
fn kept(
    deployment: &WorkloadDeployment,
    observed: &Observed,
    replica: &DeploymentReplica,
) -> Option<Child> {
    observed.hosts.get(replica.host.name())?;
    let workload = deployment.spec.workload.name();
    let name = instance_name(workload, replica.replica, replica.host.name());
    let mut instances = observed.instances.iter();
    let instance = instances.find(|instance| instance.name_any() == name)?;
    let spec = InstanceSpec {
        serving: replica.serving,
        ..instance.spec.clone()
    };
    Some(Child::named(deployment, Instance::new(&name, spec)))
}

/// Why an instance is not yet what it should be: it may serve with a configuration that is not the wanted one.
fn unsettled(observed: &Observed, name: &ObjectRef) -> Option<Wait> {
    let mut instances = observed.instances.iter();
    let instance = instances.find(|instance| ObjectRef::of(&***instance) == *name);
    let wait = |why: &str| Some(Wait::Object(name.clone(), why.to_owned()));
    let Some(instance) = instance else {
        return wait("does not exist yet");
    };
    let conditions = instance.status.as_ref().map(|status| &status.conditions);
    match condition::unready(conditions, instance.metadata.generation) {
        Some(why) => wait(why),
        None if is_available(instance, observed.host_of(instance)) => None,
        None => wait("its host cannot be seen"),
    }
}

fn endpoints(deployment: &WorkloadDeployment, observed: &Observed) -> Endpoints {
    let Some(network) = &observed.network else {
        return Endpoints::new();
    };
    let namespace = deployment.namespace().unwrap_or_default();
    let workload = &deployment.spec.workload;
    let address = service_address(network.spec.prefix, &namespace, workload.name());
    let endpoint = |port: &api::wdm::Port| Endpoint {
        name: port.name.clone(),
        workload: workload.clone(),
        address,
        port: port.port,
    };
    deployment.spec.ports.iter().map(endpoint).collect()
}

fn availability(deployment: &WorkloadDeployment, n_available: u32) -> Condition {
    let message = format!(
        "{n_available} of {} replicas are available",
        deployment.spec.replicas.len()
    );
    match n_available {
        0 => condition(AVAILABLE, Truth::False, AvailableReason::NoReplica, message),
        _ => condition(AVAILABLE, Truth::True, AvailableReason::Serving, message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> WorkloadDeployment {
        let artefact = json!({"form": "container", "image": "layout:web"});
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "WorkloadDeployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "workload": "web", "target": {"pool": {"namespace": "default", "name": "edge"}},
                "replicas": [{"replica": 0, "host": "mad-1", "artefact": artefact, "resources": {"cpu": "1"}}],
                "network": "net",
            },
        }))
        .expect("a deployment")
    }

    #[test]
    fn waits_for_what_it_stands_on_until_it_is_deleted() {
        let nothing = Observed {
            instances: Vec::new(),
            hosts: BTreeMap::new(),
            sites: BTreeMap::new(),
            network: None,
        };
        let mut deployment = deployment();
        let waits = WorkloadDeploymentReconciler
            .plan(&deployment, &nothing)
            .waits;
        assert_eq!(waits.len(), 1);
        deployment.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        let waits = WorkloadDeploymentReconciler
            .plan(&deployment, &nothing)
            .waits;
        assert!(
            waits.is_empty(),
            "nobody may have to restore a network to delete"
        );
    }

    fn host() -> Host {
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Host", "metadata": {"name": "mad-1"},
            "spec": {"site": "mad", "domain": "core", "locator": "fd00:1::/48"},
        }))
        .expect("a host")
    }

    fn running() -> Instance {
        let artefact = json!({"form": "container", "image": "layout:web"});
        serde_json::from_value(json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Instance",
            "metadata": {"name": "web-0-mad-1", "namespace": "default"},
            "spec": {
                "host": "mad-1", "workload": "web", "artefact": artefact, "resources": {"cpu": "1"},
                "interfaces": [{"name": "eth0", "role": "end", "address": "fd00:aa::7"}],
            },
        }))
        .expect("an instance")
    }

    #[test]
    fn what_runs_goes_on_while_its_site_or_network_is_missing_but_not_without_its_host() {
        let running = Arc::new(running());
        let mut observed = Observed {
            instances: vec![running.clone()],
            hosts: BTreeMap::from([("mad-1".to_owned(), Arc::new(host()))]),
            sites: BTreeMap::new(),
            network: None,
        };
        let plan = |observed: &Observed| WorkloadDeploymentReconciler.plan(&deployment(), observed);
        let kept = plan(&observed);
        let children = kept.children.iter();
        let specs: Vec<_> = children
            .filter_map(|child| child.object::<Instance>())
            .map(|instance| &instance.spec)
            .collect();
        assert_eq!(specs, [&running.spec]);
        let waits: Vec<String> = kept.waits.iter().map(Wait::to_string).collect();
        assert_eq!(waits, ["Site mad: does not exist"]);
        observed.hosts.clear();
        assert!(plan(&observed).children.is_empty());
    }
}
