//! Packets while things move: a request is followed through the simulated routers after every moment.

use std::time::Duration;

use api::wdm::Protocol;
use api::{AVAILABLE, HostDatapath, Instance, ServiceFunctionChain, interface_name};
use apiserver::Server;
use chain::{Packet, Trace, trace};
use futures::future::pending;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use runtime::{Clock, Runtime, Task, spawn};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::objects::{
    TENANT, address, chain as web, domain, host, instance, network, with_interfaces,
};
use super::*;

/// The time between two looks.
const MOMENT: Duration = Duration::from_millis(1);
/// What takes longer never comes; a lost hint may cost a poll.
const MOMENTS_MAX: usize = 600_000;

/// A control plane and the agents of three hosts.
struct Stage {
    client: Client,
    routers: SimNetwork,
    _running: Vec<Task<()>>,
}

impl Stage {
    async fn set(objects: &[Value]) -> Self {
        let server = Server::in_memory(api::crds());
        let routers = with_interfaces(SimNetwork::new(Arc::default()));
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time"));
        let new = || Runtime::new(server.client(), clock);
        let mut running = vec![spawn(crate::control_plane(new()).run(pending()))];
        for host in ["w1", "m1", "m2"] {
            running.push(spawn(agent(new(), host, &routers).run(pending())));
        }
        let stage = Self {
            client: server.client(),
            routers,
            _running: running,
        };
        for object in objects {
            stage.apply(object).await;
        }
        stage
    }

    /// Creates an object, its status included.
    async fn apply(&self, object: &Value) {
        let api = self.api(object);
        let name = object["metadata"]["name"].as_str().expect("a name");
        let body: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        api.create(&PostParams::default(), &body)
            .await
            .expect("it is created");
        if !object["status"].is_null() {
            let status = Patch::Merge(json!({"status": object["status"]}));
            api.patch_status(name, &PatchParams::default(), &status)
                .await
                .expect("it has a status");
        }
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let kind = object["kind"].as_str().expect("a kind");
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind));
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// The way of a user's request now.
    fn request(&self) -> Trace {
        self.send("w1", "users0", address("app"))
    }

    /// The way of the answer now.
    fn answer(&self) -> Trace {
        let app = interface_name(TENANT, "app-0", "eth0");
        self.send("m1", &app, "2001:db8:1::7".parse().expect("an address"))
    }

    fn send(&self, host: &str, interface: &str, destination: std::net::Ipv6Addr) -> Trace {
        let packet = Packet {
            host: host.into(),
            interface: interface.into(),
            destination,
            protocol: Protocol::Tcp,
            port: 80,
        };
        trace(&self.routers.applied(), &packet)
    }

    async fn is_available(&self) -> bool {
        let chains: Api<ServiceFunctionChain> = Api::namespaced(self.client.clone(), TENANT);
        let chain = chains.get("web").await.expect("the chain exists");
        chain
            .status
            .is_some_and(|status| status.conditions.is_true(AVAILABLE))
    }

    /// Looks again and again until all is as expected; `each` is asked at every moment.
    async fn until(&self, what: &str, expected: impl AsyncFn() -> bool, each: impl Fn()) {
        for _ in 0..MOMENTS_MAX {
            each();
            if expected().await {
                return;
            }
            sleep(MOMENT).await;
        }
        panic!("never: {what}");
    }
}

fn objects() -> Vec<Value> {
    vec![
        domain(),
        host("w1", "west", 1, true),
        host("m1", "mid", 2, false),
        host("m2", "mid", 3, false),
        network(),
        instance("fw-0", "m1"),
        instance("app-0", "m1"),
        web(&["fw"]),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_available_only_when_packets_flow_both_ways() {
    let stage = Stage::set(&objects()).await;
    let available = async || stage.is_available().await;
    stage
        .until("the chain is available", available, || {})
        .await;
    assert_eq!((stage.request().lost, stage.answer().lost), (None, None));
    assert_eq!(stage.request().tunnels[0].to.of, "default/fw-0/left");
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_let_go_only_after_its_packets_go_another_way() {
    let stage = Stage::set(&objects()).await;
    stage
        .until(
            "the chain is available",
            async || stage.is_available().await,
            || {},
        )
        .await;
    stage.apply(&instance("fw-1", "m2")).await;
    let instances: Api<Instance> = Api::namespaced(stage.client.clone(), TENANT);
    instances
        .delete("fw-0", &DeleteParams::default())
        .await
        .expect("it is deleted");
    let gone = async || {
        instances
            .get_opt("fw-0")
            .await
            .expect("the API answers")
            .is_none()
    };
    let no_hole = || assert_eq!((stage.request().lost, stage.answer().lost), (None, None));
    stage
        .until("the old instance is let go", gone, no_hole)
        .await;
    assert_eq!(stage.request().tunnels[0].to.of, "default/fw-1/left");
    assert_eq!(stage.answer().tunnels[0].to.of, "default/fw-1/right");
}

#[tokio::test(start_paused = true)]
async fn drift_is_mended() {
    let stage = Stage::set(&objects()).await;
    stage
        .until(
            "the chain is available",
            async || stage.is_available().await,
            || {},
        )
        .await;
    stage.routers.drift("m1", |applied, leftovers| {
        applied.steering.clear();
        applied.sids.clear();
        leftovers.push("a stray route".into());
    });
    assert_ne!(stage.request().lost, None);
    let mended = async || {
        let stray = stage.routers.router("m1");
        let stray = adapter::Router::read(&stray)
            .await
            .expect("it can be read")
            .leftovers;
        stage.request().lost.is_none() && stage.answer().lost.is_none() && stray.is_empty()
    };
    stage.until("the drift is mended", mended, || {}).await;
}

#[tokio::test(start_paused = true)]
async fn the_router_of_a_forgotten_host_is_cleared_only_when_the_api_knows_it_no_more() {
    let stage = Stage::set(&objects()).await;
    stage
        .until(
            "the chain is available",
            async || stage.is_available().await,
            || {},
        )
        .await;
    let router = stage.routers.router("m1");
    let swept = crate::sweep(&stage.client, "m1", &router)
        .await
        .expect("the API answers");
    assert!(!swept && stage.request().lost.is_none());
    let hosts: Api<api::Host> = Api::all(stage.client.clone());
    hosts
        .delete("m1", &DeleteParams::default())
        .await
        .expect("it is deleted");
    let datapaths: Api<HostDatapath> = Api::all(stage.client.clone());
    let gone = async || {
        datapaths
            .get_opt("m1")
            .await
            .expect("the API answers")
            .is_none()
    };
    stage
        .until("nobody waits for a dead agent", gone, || {})
        .await;
    crate::sweep(&stage.client, "m1", &router)
        .await
        .expect("the API answers");
    assert_eq!(
        stage.routers.applied()["m1"],
        api::tcm::AppliedDatapath::default()
    );
}

/// A router that gets its HostDatapath while it is being read.
struct Late(Client, adapter_sim::SimRouter);

impl adapter::Router for Late {
    async fn capabilities(&self) -> api::Result<Vec<api::tcrr::DatapathCapability>> {
        self.1.capabilities().await
    }

    async fn underlay_address(&self) -> api::Result<Option<std::net::Ipv6Addr>> {
        self.1.underlay_address().await
    }

    async fn read(&self) -> api::Result<adapter::RouterState> {
        let datapath: HostDatapath =
            serde_json::from_value(datapath("m1", "fd00:a:9::1")).expect("a datapath");
        let datapaths: Api<HostDatapath> = Api::all(self.0.clone());
        let created = datapaths.create(&PostParams::default(), &datapath).await;
        created.expect("it is created");
        for step in adapter::difference(&datapath.spec, &self.1.read().await?) {
            self.1.apply(&datapath.spec, &step).await?;
        }
        self.1.read().await
    }

    async fn apply(
        &self,
        spec: &api::tcm::HostDatapathSpec,
        step: &adapter::RouterStep,
    ) -> api::Result<()> {
        self.1.apply(spec, step).await
    }

    async fn counters(&self) -> api::Result<Vec<adapter::SidCounters>> {
        self.1.counters().await
    }

    fn changes(&self) -> futures::stream::BoxStream<'static, ()> {
        self.1.changes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_gets_a_datapath_meanwhile_is_not_cleared() {
    let client = Server::in_memory(api::crds()).client();
    let routers = routers();
    let late = Late(client.clone(), routers.router("m1"));
    let swept = crate::sweep(&client, "m1", &late).await;
    assert!(!swept.expect("the API answers"));
    let applied = routers.applied()["m1"].clone();
    assert_ne!(applied, api::tcm::AppliedDatapath::default());
}
