//! Services keep the four laws; networks, workloads and chains are played by reconcilers that only say "ready".

use std::marker::PhantomData;

use adapter::faults::{Faults, World};
use api::condition::condition;
use api::tcso::ServiceSpec;
use api::{
    AVAILABLE, Network, NetworkDomain, Result, Service, ServiceFunctionChain, Truth, Workload, crds,
};
use kube::core::object::HasSpec;
use runtime::laws::{Case, applied, laws};
use runtime::{Ctx, Kind, Never, Plan, Reconciler, Report, Runtime};
use serde_json::{Value, json};
use std::sync::Arc;

/// A world in which nothing is ever left.
#[derive(Clone, Default)]
struct Empty(Arc<Faults>);

impl World for Empty {
    fn faults(&self) -> &Faults {
        &self.0
    }

    fn left(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Says of every object that it is available.
struct Played<K>(PhantomData<fn() -> K>);

impl<K: Kind + HasSpec> Reconciler for Played<K> {
    type Object = K;
    type Observed = ();
    type Step = Never;
    type Status = Value;

    async fn observe(&self, _: &Ctx, _: &K) -> Result<()> {
        Ok(())
    }

    fn plan(&self, _: &K, (): &()) -> Plan<Never> {
        Plan::default()
    }

    async fn act(&self, _: &Ctx, _: &K, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &K, (): &()) -> Report<Value> {
        Report {
            status: json!({}),
            conditions: vec![condition(AVAILABLE, Truth::True, "Played", "")],
        }
    }
}

fn build(runtime: Runtime, _: &Empty) -> Runtime {
    tcso::control_plane(runtime)
        .add(Played::<Network>(PhantomData))
        .add(Played::<Workload>(PhantomData))
        .add(Played::<ServiceFunctionChain>(PhantomData))
}

fn domain() -> Value {
    let domain: NetworkDomain = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "NetworkDomain", "metadata": {"name": "core"},
        "spec": {"kind": "wan", "controller": "hosts", "mtu": 1500, "locators": "fd00::/16", "tenantPrefixes": ["fd01::/32"]}
    }))
    .expect("a domain");
    applied(&domain)
}

fn service(functions: &[&str], replicas: u32) -> Value {
    let artefact = json!({"form": "container", "image": "layout:web"});
    let component = |name: &str, function: bool, depends_on: &[&str]| {
        let mut component = json!({"name": name, "artefacts": [artefact], "resources": {"cpu": "1"},
            "replicas": replicas, "dependsOn": depends_on});
        if function {
            component["function"] = json!("router");
        }
        component
    };
    let mut components = vec![component("app", false, functions)];
    components.extend(functions.iter().map(|name| component(name, true, &[])));
    let spec: ServiceSpec = serde_json::from_value(json!({
        "components": components,
        "connections": [{"name": "users", "from": {"users": {"sites": ["mad"]}}, "to": "app", "through": functions}],
        "domain": "core"
    }))
    .expect("a service");
    let mut service = Service::new("shop", spec);
    service.metadata.namespace = Some("default".into());
    applied(&service)
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_domain_goes_first_keeps_the_laws() {
    let case = Case {
        objects: vec![domain(), service(&["firewall"], 1)],
        edits: vec![service(&["firewall"], 2)],
        ..Case::new(crds(), Empty::default, build)
    };
    println!("{:?}", laws(&case).await);
}

#[tokio::test(start_paused = true)]
async fn services_keep_the_laws_while_components_come_and_go() {
    let case = Case {
        fixtures: vec![domain()],
        objects: vec![service(&["firewall", "limiter"], 1)],
        edits: vec![service(&["firewall"], 2)],
        ..Case::new(crds(), Empty::default, build)
    };
    println!("{:?}", laws(&case).await);
}
