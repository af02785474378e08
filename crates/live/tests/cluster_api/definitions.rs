//! The kinds and webhooks that the managers come with, taken from their sources as their own installation takes them:
//! with the labels by which they find each other's versions, and with addresses of webhooks that listen here.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::document::{self, text};
use crate::managers::{Door, Managers};
use crate::server::Server;

/// The labels say which version of a kind keeps to which version of the rules between managers.
const VERSIONS: [&str; 2] = ["v1beta1", "v1beta2"];
/// The kinds of the infrastructure, which is not of Cluster API.
const INFRASTRUCTURE: &str = include_str!("infrastructure.yaml");

/// Applies the kinds and waits until they are served; the managers want to find them.
pub async fn apply_kinds(server: &Server, managers: &Managers) {
    let mut kinds = document::read(INFRASTRUCTURE);
    for door in managers.doors() {
        kinds.extend(kinds_of(managers, door));
    }
    for kind in &kinds {
        server.apply(&document::path(kind, None), kind).await;
    }
    for kind in &kinds {
        let path = document::path(kind, None);
        let served = async || {
            server
                .get(&path)
                .await
                .is_some_and(|it| is_established(&it))
        };
        server.until(&path, served).await;
    }
}

/// Applies the configurations of webhooks: once they listen, or every write would wait for them.
pub async fn apply_webhooks(server: &Server, managers: &Managers) {
    for door in managers.doors() {
        let file = door.manager.config.join("webhook/manifests.yaml");
        for mut configuration in documents(&file) {
            // The three have the same names.
            let name = format!("{}-{}", door.manager.name, document::name(&configuration));
            configuration["metadata"]["name"] = name.into();
            for webhook in configuration["webhooks"]
                .as_array_mut()
                .into_iter()
                .flatten()
            {
                let service = &webhook["clientConfig"]["service"];
                webhook["clientConfig"] = managers.client_config(door, text(&service["path"]));
            }
            let path = document::path(&configuration, None);
            server.apply(&path, &configuration).await;
        }
    }
}

fn kinds_of(managers: &Managers, door: &Door) -> Vec<Value> {
    let folder = door.manager.config.join("crd/bases");
    let entries = fs::read_dir(&folder).expect("the folder can be read");
    let files = entries.map(|entry| entry.expect("it can be read").path());
    let mut kinds: Vec<Value> = files.flat_map(|file| documents(&file)).collect();
    for kind in &mut kinds {
        for version in VERSIONS {
            kind["metadata"]["labels"][format!("cluster.x-k8s.io/{version}")] = version.into();
        }
        kind["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": managers.client_config(door, "/convert"),
        }});
    }
    kinds
}

fn documents(file: &Path) -> Vec<Value> {
    let content = fs::read_to_string(file);
    document::read(&content.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

fn is_established(kind: &Value) -> bool {
    let conditions = kind["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|it| it["type"] == "Established" && it["status"] == "True")
}
