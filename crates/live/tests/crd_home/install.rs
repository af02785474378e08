//! What `groma install` does to a cluster, and what it says when it cannot.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use crate::home::{Home, NOBODY, until};

const HOSTS: &str = "hosts.groma.dev";

/// The version of every object that was installed.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    gather::<Namespace>(client, &mut versions).await;
    gather::<CustomResourceDefinition>(client, &mut versions).await;
    gather::<ServiceAccount>(client, &mut versions).await;
    gather::<ClusterRole>(client, &mut versions).await;
    gather::<ClusterRoleBinding>(client, &mut versions).await;
    gather::<Role>(client, &mut versions).await;
    gather::<RoleBinding>(client, &mut versions).await;
    gather::<ValidatingAdmissionPolicy>(client, &mut versions).await;
    gather::<ValidatingAdmissionPolicyBinding>(client, &mut versions).await;
    versions
}

async fn gather<K: Resource<DynamicType = ()>>(
    client: &Client,
    versions: &mut BTreeMap<String, String>,
) {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=groma");
    for object in api.list(&ours).await.expect("a list") {
        let name = format!("{}/{}", resource.kind.to_lowercase(), object.name_any());
        versions.insert(name, object.resource_version().expect("a version"));
    }
}

fn definitions(home: &Home) -> Api<CustomResourceDefinition> {
    Api::all(home.admin.clone())
}

/// The lines of what was said, each without its last word or words.
fn told<'a>(said: &'a str, what: &str) -> Vec<&'a str> {
    let lines = said.lines();
    lines.filter_map(|line| line.strip_suffix(what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_prepared_once_and_the_same_again_changes_nothing() {
    let Some(home) = Home::bare().await else {
        return;
    };
    let refused = home
        .groma(None, &["serve"])
        .expect_err("nothing is there yet");
    assert!(
        refused.contains("does not serve") && refused.contains("groma install"),
        "{refused}"
    );
    let said = home
        .groma(None, &["install", "--dry-run"])
        .expect("it is tried");
    let tried = told(&said, " created (dry run)").len();
    assert_eq!(
        versions(&home.admin).await,
        BTreeMap::new(),
        "it was only tried"
    );

    let said = home.groma(None, &["install"]).expect("it is installed");
    let first = versions(&home.admin).await;
    assert_eq!(told(&said, " created").len(), first.len(), "{said}");
    assert_eq!(tried, first.len());
    // Who comes now finds all: no process of controllers has to be started twice.
    let missing = cli::install::missing(&home.admin).await;
    assert_eq!(missing.expect("it answers"), [""; 0]);
    assert!(first.contains_key(&format!("customresourcedefinition/{HOSTS}")));

    let said = home.groma(None, &["install"]).expect("again");
    assert_eq!(told(&said, " unchanged").len(), first.len(), "{said}");
    assert_eq!(versions(&home.admin).await, first);

    changed_by_others(&home).await;
    kept_from_deletion(&home).await;
    without_rights(&home).await;
}

/// What others changed of ours is mended, what they added stays.
async fn changed_by_others(home: &Home) {
    let roles: Api<ClusterRole> = Api::all(home.admin.clone());
    let change = json!({"metadata": {"labels": {"of": "others"}}, "rules": []});
    let (how, change) = (PatchParams::default(), Patch::Merge(change));
    let done = roles.patch("groma-agents", &how, &change).await;
    done.expect("an administrator may");
    let said = home.groma(None, &["install"]).expect("again");
    assert_eq!(
        told(&said, " changed"),
        ["clusterrole/groma-agents"],
        "{said}"
    );
    let role = roles.get("groma-agents").await.expect("it is there");
    assert!(role.rules.is_some_and(|rules| !rules.is_empty()));
    assert_eq!(role.metadata.labels.expect("labels")["of"], "others");
}

/// All that runs goes with a definition.
async fn kept_from_deletion(home: &Home) {
    // A policy is in force a moment after it was made.
    let dry = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    let refused = until("is it kept", async || {
        match definitions(home).delete(HOSTS, &dry).await {
            Ok(_) => Err("it may be deleted".to_owned()),
            Err(refused) => Ok(refused.to_string()),
        }
    });
    let refused = refused.await;
    assert!(refused.contains("groma-definitions first"), "{refused}");
}

async fn without_rights(home: &Home) {
    let before = versions(&home.admin).await;
    let refused = home
        .groma(Some(NOBODY), &["install"])
        .expect_err("he may not");
    assert!(refused.contains("\"nobody\" cannot get"), "{refused}");
    let refused = home
        .groma(Some(NOBODY), &["serve"])
        .expect_err("he may not");
    for right in [
        "watch hosts.groma.dev",
        "patch services/status.groma.dev",
        "ServiceAccount",
    ] {
        assert!(refused.contains(right), "{refused}");
    }
    assert_eq!(versions(&home.admin).await, before);
}
