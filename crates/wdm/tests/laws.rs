//! Deployments and instances keep the four laws, on simulated containers.

use std::sync::Arc;

use adapter_sim::SimContainers;
use api::wdm::WorkloadDeploymentSpec;
use api::{Host, Network, Site, WorkloadDeployment, crds};
use runtime::laws::{Case, Process, applied, laws};
use serde_json::{Value, json};

fn world() -> SimContainers {
    SimContainers::new(Arc::default())
}

fn fixtures() -> Vec<Value> {
    let site: Site = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Site", "metadata": {"name": "mad"},
        "spec": {"provider": "iberia", "region": "centre", "country": "ES", "tier": "edge"}
    }))
    .expect("a site");
    let network: Network = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Network", "metadata": {"name": "net", "namespace": "default"},
        "spec": {"prefix": "fd00:aa::/64", "domain": "core"}
    }))
    .expect("a network");
    vec![
        applied(&site),
        applied(&network),
        host("mad-1"),
        host("mad-2"),
    ]
}

fn host(name: &str) -> Value {
    let host: Host = serde_json::from_value(json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Host", "metadata": {"name": name},
        "spec": {"site": "mad", "domain": "core", "locator": "fd00:1::/48"},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "Settled", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"
        }]}
    }))
    .expect("a host");
    applied(&host)
}

fn deployment(hosts: &[&str], limit: &str) -> Value {
    let artefact = json!({"form": "container", "image": "layout:web"});
    let replicas: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(n, host)| json!({"replica": n, "host": host, "artefact": artefact, "resources": {"cpu": "1"}}))
        .collect();
    let spec: WorkloadDeploymentSpec = serde_json::from_value(json!({
        "workload": "web",
        "target": {"pool": {"namespace": "default", "name": "edge"}},
        "replicas": replicas,
        "configuration": {"files": [{"path": "/etc/web/limit", "content": {"literal": {"value": limit}}}],
            "environment": [{"name": "SITE", "value": {"fact": {"fact": "site"}}}],
            "onChange": {"signal": {"signal": "SIGHUP"}}},
        "ports": [{"name": "http", "port": 80}],
        "network": "net"
    }))
    .expect("a deployment");
    let mut deployment = WorkloadDeployment::new("web-edge", spec);
    deployment.metadata.namespace = Some("default".into());
    applied(&deployment)
}

fn case(objects: Vec<Value>, edits: Vec<Value>) -> Case<SimContainers> {
    let agent = |runtime: runtime::Runtime, world: &SimContainers| {
        runtime.add(wdm::instance::InstanceReconciler::new(Arc::new(
            world.clone(),
        )))
    };
    let mut case = Case::new(crds(), world, |runtime, _| wdm::control_plane(runtime));
    case.processes.push(Process {
        name: "agent",
        build: agent,
    });
    Case {
        fixtures: fixtures(),
        objects,
        edits,
        ..case
    }
}

#[tokio::test(start_paused = true)]
async fn deployments_keep_the_laws_while_files_change() {
    let proof = laws(&case(
        vec![deployment(&["mad-1", "mad-2"], "10")],
        vec![deployment(&["mad-1", "mad-2"], "20")],
    ))
    .await;
    println!("{proof:?}");
}

#[tokio::test(start_paused = true)]
async fn deployments_keep_the_laws_while_a_replica_moves() {
    let proof = laws(&case(
        vec![deployment(&["mad-1"], "10")],
        vec![deployment(&["mad-2"], "10")],
    ))
    .await;
    println!("{proof:?}");
}
