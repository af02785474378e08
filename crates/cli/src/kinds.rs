//! What kinds the server has, by any name a user may give them.

use anyhow::bail;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::Value;

/// A kind and whether its objects are in namespaces.
#[derive(Clone, Debug)]
pub struct Kind {
    /// How the server names it.
    pub resource: ApiResource,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// Its objects, in a namespace if it has any.
    pub fn api(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    /// The path of its objects.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let ApiResource {
            group,
            api_version,
            plural,
            ..
        } = &self.resource;
        let root = if group.is_empty() {
            format!("/api/{api_version}")
        } else {
            format!("/apis/{api_version}")
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// All kinds of the server.
pub struct Kinds(Vec<(Kind, Vec<String>)>);

impl Kinds {
    /// Asks the server; Groma's own kinds come first, so that `service` means Groma's.
    pub async fn discover(client: &Client) -> anyhow::Result<Self> {
        let mut lists = vec![client.list_core_api_resources("v1").await?];
        for group in client.list_api_groups().await?.groups {
            let versions = group
                .preferred_version
                .or_else(|| group.versions.into_iter().next());
            if let Some(version) = versions {
                lists.push(
                    client
                        .list_api_group_resources(&version.group_version)
                        .await?,
                );
            }
        }
        lists.sort_by_key(|list| !list.group_version.starts_with(api::GROUP));
        Ok(Self(lists.iter().flat_map(kinds).collect()))
    }

    /// The kind of any of its names.
    pub fn named(&self, name: &str) -> anyhow::Result<&Kind> {
        let wanted = name.to_lowercase();
        let found = self.0.iter().find(|(_, names)| names.contains(&wanted));
        match found {
            Some((kind, _)) => Ok(kind),
            None => {
                let known: Vec<_> = self
                    .0
                    .iter()
                    .filter_map(|(_, names)| names.first())
                    .map(String::as_str)
                    .collect();
                bail!(
                    "the server has no kind `{name}`; it has {}",
                    known.join(", ")
                )
            }
        }
    }

    /// The kind of a document.
    pub fn of(&self, document: &Value) -> anyhow::Result<&Kind> {
        let (version, kind) = (document["apiVersion"].as_str(), document["kind"].as_str());
        let same = |known: &Kind| {
            Some(known.resource.api_version.as_str()) == version
                && Some(known.resource.kind.as_str()) == kind
        };
        match self.0.iter().find(|(known, _)| same(known)) {
            Some((known, _)) => Ok(known),
            None => bail!(
                "the server has no kind {} of apiVersion {}",
                kind.unwrap_or("?"),
                version.unwrap_or("?")
            ),
        }
    }
}

fn kinds(list: &APIResourceList) -> Vec<(Kind, Vec<String>)> {
    let (group, version) = list
        .group_version
        .rsplit_once('/')
        .unwrap_or(("", &list.group_version));
    let kind = |found: &APIResource| {
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: list.group_version.clone(),
            kind: found.kind.clone(),
            plural: found.name.clone(),
        };
        let mut names = vec![
            found.name.clone(),
            found.singular_name.clone(),
            found.kind.to_lowercase(),
        ];
        names.extend(found.short_names.clone().unwrap_or_default());
        if !group.is_empty() {
            let qualified = names.iter().map(|name| format!("{name}.{group}"));
            names.extend(qualified.collect::<Vec<_>>());
        }
        (
            Kind {
                resource,
                namespaced: found.namespaced,
            },
            names,
        )
    };
    list.resources
        .iter()
        .filter(|found| !found.name.contains('/'))
        .map(kind)
        .collect()
}
