//! All scenarios, played on a real kube-apiserver in real time: they print there what their files say.
//!
//! The controllers act with the rights that `groma install` gives them, agents with those of hosts. How long things take
//! is not compared.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use apiserver::Identity;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use live::kubernetes::User;
use regex::{Captures, Regex};
use serde_json::json;
use testbed::{Cluster, timeless};

use crate::home::{CONTROLLERS, Home, until};

/// Output that shows a moment in the midst of a start, which depends on the pace: of a scenario, and of a command in it.
const MOMENTS: [(&str, &str); 1] = [("depends-on", "$ containers")];

static UID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("the pattern is fixed")
});
static CAUSES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"is invalid: \[(.*)\]").expect("the pattern is fixed"));

/// The names of all scenarios.
fn scenarios() -> Vec<String> {
    let folder = root().join("crates/testbed/scenarios");
    let files = fs::read_dir(folder).expect("it can be read");
    let path = |file: io::Result<DirEntry>| file.expect("it can be read").path();
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.map(path).filter_map(name).collect();
    names.sort_unstable();
    names
}

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
    Cluster::new(move |identity: &Identity| match identity.host_name() {
        Some(host) => agents[host].clone(),
        None if identity.name == testbed::CONTROLLERS => controllers.clone(),
        None => user.clone(),
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

/// The text of a scenario without what depends on the pace or is the server's to choose: how long things took, who wrote his
/// condition first, uids, and in which order it tells what is wrong.
fn comparable(name: &str, text: &str) -> String {
    let text = timeless(text);
    let text = UID.replace_all(&text, "UID");
    let text = CAUSES.replace_all(&text, |found: &Captures<'_>| {
        let mut causes: Vec<&str> = found[1].split(", spec.").collect();
        let first = causes[0].trim_start_matches("spec.");
        causes[0] = first;
        causes.sort_unstable();
        format!("is invalid: [{}]", causes.join(", "))
    });
    let shown = |part: &str| {
        let mut lines: Vec<&str> = part.lines().collect();
        if part.starts_with("$ conditions") {
            lines.sort_unstable();
        }
        let is_moment = MOMENTS
            .iter()
            .any(|(of, command)| *of == name && part.starts_with(command));
        if is_moment {
            lines.truncate(1);
        }
        lines.join("\n")
    };
    let parts: Vec<String> = text.split("\n\n").map(shown).collect();
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
async fn all_scenarios_print_the_same_on_a_cluster() {
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
    for name in scenarios() {
        let file = root().join(format!("crates/testbed/scenarios/{name}.txt"));
        let written = fs::read_to_string(&file).expect("the scenario can be read");
        let printed = testbed::play_on(cluster(&home, &hosts).await, &written, &root()).await;
        let printed = printed.expect("it is a scenario");
        let [written, printed] = [&written, &printed].map(|text| comparable(&name, text));
        let difference = difference(&written, &printed);
        wrong.extend(difference.map(|it| format!("{name}: {it}")));
        clear(&home.admin).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
