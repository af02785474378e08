//! Services keep the four laws and go in reverse; networks, workloads and chains are played by reconcilers that only say "ready".

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use adapter::faults::{Faults, World};
use api::condition::condition;
use api::tcso::ServiceSpec;
use api::{
    AVAILABLE, Network, NetworkDomain, READY, Result, Service, ServiceFunctionChain, Site, Truth,
    Workload, crds,
};
use apiserver::{Change, Server};
use jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::object::HasSpec;
use kube::{Api, Client};
use runtime::laws::{Case, applied, laws};
use runtime::{Clock, Ctx, Kind, Never, Plan, Reconciler, Report, Runtime, spawn};
use serde_json::{Value, json};
use tokio::time::sleep;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

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

fn site() -> Value {
    let site: Site = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Site", "metadata": {"name": "mad"},
        "spec": {"provider": "own", "region": "centre", "country": "ES", "tier": "edge"}
    }))
    .expect("a site");
    applied(&site)
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
        fixtures: vec![site()],
        objects: vec![domain(), service(&["firewall"], 1)],
        edits: vec![service(&["firewall"], 2)],
        ..Case::new(crds(), Empty::default, build)
    };
    println!("{:?}", laws(&case).await);
}

#[tokio::test(start_paused = true)]
async fn services_keep_the_laws_while_components_come_and_go() {
    let case = Case {
        fixtures: vec![domain(), site()],
        objects: vec![service(&["firewall", "limiter"], 1)],
        edits: vec![service(&["firewall"], 2)],
        ..Case::new(crds(), Empty::default, build)
    };
    println!("{:?}", laws(&case).await);
}

/// What the server says was deleted since a revision, in that order.
fn deleted(server: &Server, since: u64) -> Vec<String> {
    let events = server.events_since(since).expect("it is kept");
    let gone = events.iter().filter(|it| it.change == Change::Deleted);
    gone.map(|event| {
        let object = &event.new.value;
        let word = |path| object.pointer(path).and_then(Value::as_str);
        let (kind, name) = (word("/kind"), word("/metadata/name"));
        format!("{} {}", kind.unwrap_or_default(), name.unwrap_or_default())
    })
    .collect()
}

async fn post(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    let resource = match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("Service") => ApiResource::erase::<Service>(&()),
        Some("Site") => ApiResource::erase::<Site>(&()),
        _ => ApiResource::erase::<NetworkDomain>(&()),
    };
    let api: Api<DynamicObject> = match object.metadata.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let created = api.create(&PostParams::default(), &object).await;
    created.expect("it is created");
}

#[tokio::test(start_paused = true)]
async fn a_service_goes_in_reverse() {
    let server = Server::in_memory(crds());
    let client = server.client();
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let runtime = build(Runtime::new(client.clone(), clock), &Empty::default());
    let _task = spawn(runtime.run(std::future::pending()));
    post(&client, domain()).await;
    post(&client, site()).await;
    post(&client, service(&["firewall", "limiter"], 1)).await;
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let ready = |service: &Service| {
        let status = service.status.as_ref();
        status.is_some_and(|status| status.conditions.is_true(READY))
    };
    while !ready(&services.get("shop").await.expect("it is there")) {
        sleep(LOOK).await;
    }
    let before = server.revision();
    let asked = services.delete("shop", &DeleteParams::default()).await;
    asked.expect("it is deleted");
    while services.get_opt("shop").await.expect("asked").is_some() {
        sleep(LOOK).await;
    }
    let order = [
        "ServiceFunctionChain shop-users",
        "Workload shop-app",
        "Workload shop-firewall",
        "Workload shop-limiter",
        "Network shop",
        "Service shop",
    ];
    assert_eq!(deleted(&server, before), order);
}
