//! What the agent of a host may write on a cluster, where roles and an admission policy say so.

use api::{Host, HostDatapath, Instance};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use live::kubernetes::User;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::home::{Home, until};

const AGENT: User<'_> = User {
    name: "system:host:mad-1",
    groups: &["groma:hosts"],
};

fn read<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("it is valid")
}

fn host(name: &str) -> Host {
    read(
        json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Host", "metadata": {"name": name},
        "spec": {"site": "mad", "domain": "core", "locator": "fd00:1::/48"}}),
    )
}

fn datapath(name: &str) -> HostDatapath {
    read(
        json!({"apiVersion": "groma.dev/v1alpha1", "kind": "HostDatapath", "metadata": {"name": name},
        "spec": {"locator": "fd00:1::/48", "mtu": 1500}}),
    )
}

fn instance(name: &str, host: &str) -> Instance {
    read(
        json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Instance", "metadata": {"name": name},
        "spec": {"host": host, "workload": "web", "artefact": {"form": "container", "image": "layout:web"},
            "resources": {"cpu": "1"}, "interfaces": []}}),
    )
}

fn lease(name: &str) -> Lease {
    read(json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}}))
}

/// What a request led to: nothing, or why it was refused.
fn outcome<T>(done: kube::Result<T>) -> String {
    match done {
        Ok(_) => String::new(),
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn refused(done: &str, why: &str) {
    assert!(
        done.starts_with("403 ") && done.contains(why),
        "{why}: {done:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_writes_only_what_is_its_own() {
    let Some(home) = Home::installed().await else {
        return;
    };
    let agent = home.server.client(Some(AGENT)).await;
    let (new, how) = (PostParams::default(), PatchParams::default());
    let [hosts, own_hosts]: [Api<Host>; 2] = [&home.admin, &agent].map(|it| Api::all(it.clone()));
    let [datapaths, own_datapaths]: [Api<HostDatapath>; 2] =
        [&home.admin, &agent].map(|it| Api::all(it.clone()));
    let [instances, own_instances]: [Api<Instance>; 2] =
        [&home.admin, &agent].map(|it| Api::default_namespaced(it.clone()));
    let leases: Api<Lease> = Api::namespaced(agent.clone(), "groma-system");
    for name in ["mad-1", "mad-2"] {
        hosts.create(&new, &host(name)).await.expect("created");
        datapaths
            .create(&new, &datapath(name))
            .await
            .expect("created");
        let instance = instance(&format!("web-{name}"), name);
        instances.create(&new, &instance).await.expect("created");
    }
    let status = Patch::Merge(json!({"status": {"agentVersion": "1"}}));
    // A policy is in force a moment after it was made.
    let foreign = until("is the policy in force", async || {
        match outcome(own_hosts.patch_status("mad-2", &how, &status).await) {
            done if done.is_empty() => Err("another's host can be written".to_owned()),
            done => Ok(done),
        }
    });
    refused(&foreign.await, "host mad-1 may write only what is its own");
    assert_eq!(
        outcome(own_hosts.patch_status("mad-1", &how, &status).await),
        ""
    );
    refused(
        &outcome(own_hosts.patch("mad-1", &how, &status).await),
        "cannot patch",
    );

    let held = Patch::Merge(json!({"metadata": {"finalizers": ["groma.dev/instance"]}}));
    assert_eq!(
        outcome(own_instances.patch("web-mad-1", &how, &held).await),
        ""
    );
    refused(
        &outcome(own_instances.patch("web-mad-2", &how, &held).await),
        "only what is its own",
    );
    for change in [
        json!({"metadata": {"finalizers": ["groma.dev/instance", "mine"]}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"spec": {"workload": "other"}}),
    ] {
        let done = own_instances
            .patch("web-mad-1", &how, &Patch::Merge(change))
            .await;
        refused(&outcome(done), "its own finalizer only");
    }
    let held = Patch::Merge(json!({"metadata": {"finalizers": ["groma.dev/hostdatapath"]}}));
    assert_eq!(outcome(own_datapaths.patch("mad-1", &how, &held).await), "");
    refused(
        &outcome(own_datapaths.patch("mad-2", &how, &held).await),
        "only what is its own",
    );

    assert_eq!(outcome(leases.create(&new, &lease("mad-1")).await), "");
    refused(
        &outcome(leases.create(&new, &lease("mad-2")).await),
        "only what is its own",
    );
    refused(
        &outcome(own_hosts.create(&new, &host("mad-3")).await),
        "cannot create",
    );

    let taken = outcome(hosts.create(&new, &host("groma-controllers")).await);
    assert!(taken.contains("own Lease"), "{taken}");
}
