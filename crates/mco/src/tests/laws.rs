//! All reconcilers of the control plane keep the laws.

use std::sync::Arc;
use std::time::Duration;

use adapter_sim::{SimMachine, SimNetwork, SimRouter};
use runtime::Runtime;
use runtime::laws::{Case, Faults, Sample, World, applied, laws};
use serde_json::{Value, json};

use super::players::Agents;
use super::world::*;
use crate::host::Leases;
use crate::{orchestration, repository};

/// No Lease is renewed in these lives, so the host may be silent for as long as it likes.
const NO_SILENCE: Duration = Duration::from_secs(1_000_000);

fn lease(host: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": host, "namespace": api::SYSTEM_NAMESPACE},
        "spec": {"holderIdentity": host},
    })
}

#[tokio::test(start_paused = true)]
async fn the_resource_repository_keeps_the_laws() {
    let build =
        |runtime: Runtime, _: &Agents| repository(runtime, Arc::new(Leases::new(NO_SILENCE)));
    let mut slower = link("mad", "bcn");
    slower.spec.latency_micros = api::Micros(9_000);
    laws(&Case {
        objects: vec![
            applied(&provider("telco")),
            applied(&site("mad")),
            applied(&site("bcn")),
            applied(&stack(&["mad", "bcn"])),
            applied(&link("mad", "bcn")),
            lease("mad-1"),
            applied(&host("mad-1", "mad", 4)),
            applied(&pool(&["mad-1"])),
            applied(&api::PlacementPolicy::new("default", Default::default())),
        ],
        edits: vec![applied(&slower)],
        lively: &["Provider", "Site", "ResourcePool", "Host"],
        sample: Sample::Seeded(40),
        ..Case::new(api::crds(), Agents::default, build)
    })
    .await;
}

/// What decisions are taken on; nobody looks after it in these lives.
fn fixtures() -> Vec<Value> {
    vec![
        applied(&provider("telco")),
        applied(&site("mad")),
        applied(&site("bcn")),
        applied(&stack(&["mad", "bcn"])),
        applied(&link("mad", "bcn")),
        applied(&host("mad-1", "mad", 3)),
        applied(&host("bcn-1", "bcn", 3)),
        applied(&pool(&["mad-1", "bcn-1"])),
    ]
}

fn orchestrated(objects: Vec<Value>, edits: Vec<Value>) -> Case<Agents> {
    let build = |runtime: Runtime, agents: &Agents| {
        agents.play(orchestration(runtime, Arc::new(Leases::new(NO_SILENCE))))
    };
    Case {
        fixtures: fixtures(),
        objects,
        edits,
        lasting: &["WorkloadRecord"],
        sample: Sample::Seeded(40),
        ..Case::new(api::crds(), Agents::default, build)
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_alone_keeps_the_laws() {
    let mut two = workload("web", 1);
    two.spec.replicas = 2;
    let mut one = workload("web", 2);
    one.spec.replicas = 1;
    let case = orchestrated(vec![applied(&two)], vec![applied(&one)]);
    laws(&case).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_with_a_start_order_keeps_the_laws() {
    let members = ["db", "web"];
    let mut web = grouped("web", "shop", &members);
    web.spec.depends_on = vec![api::Ref::new("db")];
    let mut moved = web.clone();
    moved.spec.eligibility.sites = vec![api::Ref::new("mad")];
    let objects = vec![applied(&grouped("db", "shop", &members)), applied(&web)];
    let case = orchestrated(objects, vec![applied(&moved)]);
    laws(&case).await;
}

/// The machine and the router of one host.
#[derive(Clone)]
struct OneHost {
    faults: Arc<Faults>,
    machine: SimMachine,
    router: SimRouter,
}

impl OneHost {
    fn new() -> Self {
        let faults = Arc::new(Faults::default());
        let network = SimNetwork::new(faults.clone());
        Self {
            machine: SimMachine::new(faults.clone()),
            router: network.router("mad-1"),
            faults,
        }
    }
}

impl World for OneHost {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn left(&self) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn the_facts_of_a_host_keep_the_laws() {
    let build = |runtime: Runtime, world: &OneHost| {
        let (machine, router) = (world.machine.clone(), world.router.clone());
        crate::agent(runtime, "mad-1", Arc::new(machine), Arc::new(router))
    };
    let mut bare = host("mad-1", "mad", 4);
    bare.status = None;
    let mut smaller = bare.clone();
    smaller.spec.allocatable = cpu(1);
    laws(&Case {
        objects: vec![applied(&bare)],
        edits: vec![applied(&smaller)],
        sample: Sample::Seeded(40),
        ..Case::new(api::crds(), OneHost::new, build)
    })
    .await;
}
