//! The scenarios of the demo, played on a real kube-apiserver in real time: they print there what their files say.
//!
//! The controllers act with the rights that `groma install` gives them, agents with those of hosts. How long things take
//! is not compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apiserver::Identity;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use live::kubernetes::User;
use serde_json::json;
use testbed::{Cluster, timeless};

use crate::home::{CONTROLLERS, Home, until};

/// What a service does in its life.
const PLAYED: [&str; 4] = ["deploy", "site-fails", "control-plane-killed", "delete"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cluster as the parties of a scenario see it.
async fn cluster(home: &Home, hosts: &[&str]) -> Cluster {
    let mut agents = BTreeMap::new();
    for host in hosts {
        let name = format!("system:host:{host}");
        let user = User {
            name: &name,
            groups: &["groma:hosts"],
        };
        agents.insert((*host).to_owned(), home.server.client(Some(user)).await);
    }
    let controllers = home.server.client(Some(CONTROLLERS)).await;
    let user = home.admin.clone();
    Cluster::new(move |identity| match identity {
        Identity::Host(host) => agents[host].clone(),
        Identity::Admin(name) if name == testbed::CONTROLLERS => controllers.clone(),
        Identity::Admin(_) => user.clone(),
    })
}

/// Takes away all objects of ours, whoever still holds them.
async fn clear(client: &Client) {
    let mut resources: Vec<ApiResource> = Vec::new();
    for definition in api::crds() {
        let names = definition.spec.names;
        let kind = GroupVersionKind::gvk(api::GROUP, api::VERSION, &names.kind);
        resources.push(ApiResource::from_gvk_with_plural(&kind, &names.plural));
    }
    let lease = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
    resources.push(ApiResource::from_gvk_with_plural(&lease, "leases"));
    for resource in &resources {
        let all: Api<DynamicObject> = Api::all_with(client.clone(), resource);
        for object in all.list(&ListParams::default()).await.expect("a list") {
            let name = object.metadata.name.expect("a name");
            let api: Api<DynamicObject> = match object.metadata.namespace.as_deref() {
                // kube-apiserver's own.
                Some("kube-system") => continue,
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
                None => Api::all_with(client.clone(), resource),
            };
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            // It may go as soon as it is free, or be gone already.
            let _ = api.patch(&name, &PatchParams::default(), &free).await;
            let _ = api.delete(&name, &DeleteParams::background()).await;
            until("is it gone", async || match api.get_opt(&name).await {
                Ok(None) => Ok(()),
                found => Err(format!("{found:?}")),
            })
            .await;
        }
    }
}

/// The text without what depends on the pace: how long things took, and who wrote his condition first.
fn comparable(text: &str) -> String {
    let text = timeless(text);
    let sorted = |part: &str| {
        let mut lines: Vec<&str> = part.lines().collect();
        if part.starts_with("$ conditions") {
            lines.sort_unstable();
        }
        lines.join("\n")
    };
    let parts: Vec<String> = text.split("\n\n").map(sorted).collect();
    parts.join("\n\n")
}

/// The first lines in which two texts differ.
fn difference(written: &str, printed: &str) -> Option<String> {
    let differs = |(_, (one, other)): &(usize, (&str, &str))| one != other;
    let mut pairs = written.lines().zip(printed.lines()).enumerate();
    let (line, (one, other)) = pairs.find(differs)?;
    Some(format!(
        "line {}, the file says\n{one}\nit prints\n{other}\n\n{printed}",
        line + 1
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_of_the_demo_print_the_same_on_a_cluster() {
    let Some(home) = Home::installed().await else {
        return;
    };
    let sites = [
        "barcelona",
        "frankfurt",
        "lyon",
        "madrid",
        "milan",
        "valencia",
    ];
    let hosts = sites.map(|site| format!("{site}-1"));
    let hosts = hosts.each_ref().map(String::as_str);
    let mut wrong = Vec::new();
    for name in PLAYED {
        let file = root().join(format!("crates/testbed/scenarios/{name}.txt"));
        let written = fs::read_to_string(&file).expect("the scenario can be read");
        let printed = testbed::play_on(cluster(&home, &hosts).await, &written, &root()).await;
        let printed = printed.expect("it is a scenario");
        let difference = difference(&comparable(&written), &comparable(&printed));
        wrong.extend(difference.map(|it| format!("{name}: {it}")));
        clear(&home.admin).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
