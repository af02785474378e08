//! The reconcilers on the in-memory API server and on simulated routers: the laws, and packets while things move.

mod objects;
mod packets;

use std::sync::Arc;

use adapter::faults::{Faults, World};
use adapter_sim::SimNetwork;
use runtime::Runtime;
use runtime::laws::{Case, Process, laws};
use serde_json::json;

use self::objects::{chain, datapath, domain, host, instance, network, with_interfaces};

/// Routers of machines that are declared dead when their Host is deleted: what is left in them is nobody's business.
#[derive(Clone)]
struct Mortal(SimNetwork);

impl World for Mortal {
    fn faults(&self) -> &Faults {
        self.0.faults()
    }

    fn left(&self) -> Vec<String> {
        Vec::new()
    }
}

fn routers() -> SimNetwork {
    with_interfaces(SimNetwork::new(Arc::default()))
}

fn agent(runtime: Runtime, host: &str, routers: &SimNetwork) -> Runtime {
    crate::agent(runtime, host, Arc::new(routers.router(host)))
}

#[tokio::test(start_paused = true)]
async fn networks_chains_and_datapaths_keep_the_laws() {
    let case = Case::new(
        api::crds(),
        || Mortal(routers()),
        |runtime, _: &Mortal| crate::control_plane(runtime),
    );
    let mut processes = case.processes;
    processes.push(Process {
        name: "agent-m1",
        build: |runtime, world| agent(runtime, "m1", &world.0),
    });
    processes.push(Process {
        name: "agent-w1",
        build: |runtime, world| agent(runtime, "w1", &world.0),
    });
    let case = Case {
        processes,
        objects: vec![
            domain(),
            host("w1", "west", 1, true),
            host("m1", "mid", 2, false),
            network(),
            instance("fw-0", "m1"),
            instance("app-0", "w1"),
            chain(&["fw"]),
        ],
        edits: vec![chain(&[])],
        ..case
    };
    println!("{:?}", laws(&case).await);
}

#[tokio::test(start_paused = true)]
async fn host_datapaths_keep_the_laws() {
    let case = Case::new(api::crds(), routers, |runtime, world: &SimNetwork| {
        agent(runtime, "m1", world)
    });
    let mut processes = case.processes;
    processes.push(Process {
        name: "other",
        build: |runtime, world| agent(runtime, "w1", world),
    });
    let case = Case {
        processes,
        objects: vec![datapath("m1", "fd00:a:9::1"), datapath("w1", "fd00:a:9::1")],
        edits: vec![
            datapath("m1", "fd00:a:9::2"),
            json!({
                "apiVersion": "groma.dev/v1alpha1", "kind": "HostDatapath", "metadata": {"name": "w1"},
                "spec": {"steering": []},
            }),
        ],
        ..case
    };
    println!("{:?}", laws(&case).await);
}
