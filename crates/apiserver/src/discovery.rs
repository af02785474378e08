//! Discovery: which groups, versions and resources are served, in the legacy and in the aggregated form.
//!
//! kubectl maps kinds and short names to paths by it. It is made from the registry at each request: it is asked for
//! rarely and is small.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::{self, Body};
use crate::failure::Failure;
use crate::priority::Priority;
use crate::registry::Registry;
use crate::request::{Subresource, Verb};
use crate::resource::{Offered, Resource, Version};
use crate::tag;

/// The type of the aggregated form.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Changes when objects are stored in another version, by which clients of migrations wait for it.
fn storage_hash(resource: &Resource) -> Value {
    const HASH_BYTES: usize = 8;
    let (group, version) = resource
        .stored_as
        .split_once('/')
        .unwrap_or(("", &resource.stored_as));
    let kind = &resource.kind;
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    json!(ByteString(hash[..HASH_BYTES].to_vec()))
}

/// Answers a discovery request; `None` if the path is about something else.
pub(crate) fn answer(
    registry: &Registry,
    path: &str,
    pretty: bool,
    headers: &HeaderMap,
) -> Option<Result<Response<Body>, Failure>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["api"] if wants_aggregated(headers) => Some(aggregated(registry, true)),
        ["apis"] if wants_aggregated(headers) => Some(aggregated(registry, false)),
        ["api"] => Some(core_versions()),
        ["apis"] => Some(groups(registry)),
        ["apis", group] => {
            versions_of(registry, group).map(|_| group_document(registry, group, true))
        }
        ["api", version] => resources(registry, "", version),
        ["apis", group, version] if !group.is_empty() => resources(registry, group, version),
        _ => return None,
    };
    let aggregated = parts.len() == 1 && wants_aggregated(headers);
    Some(document.ok_or_else(Failure::no_such_path).map(|document| {
        let text = body::text(&document, pretty);
        match aggregated {
            true => tagged(headers, text.into()),
            false => varying(body::json(200, text)),
        }
    }))
}

/// Clients that keep the aggregated form ask for it again and again.
fn tagged(headers: &HeaderMap, text: Bytes) -> Response<Body> {
    tag::answer(headers, &tag::hash(&text), (AGGREGATED, &text))
}

fn varying(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// Whether the aggregated form is the first that the client names and that is offered.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    for choice in accept.split(',') {
        let parameters: Vec<&str> = choice.split(';').map(str::trim).collect();
        let has = |parameter: &str| parameters.contains(&parameter);
        if has("as=APIGroupDiscoveryList") && has("v=v2") && has("g=apidiscovery.k8s.io") {
            return true;
        }
        if parameters == ["application/json"] {
            return false;
        }
    }
    false
}

fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    })
}

fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = names(registry)
        .iter()
        .map(|group| group_document(registry, group, false))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The groups besides core, in their order.
fn names(registry: &Registry) -> Vec<&str> {
    let mut names: Vec<&str> = registry
        .all()
        .map(|resource| resource.group.as_str())
        .collect();
    names.dedup();
    names.retain(|group| !group.is_empty());
    names
}

/// The versions of a group, best first; `None` if there is no such group.
fn versions_of<'a>(registry: &'a Registry, group: &str) -> Option<Vec<&'a str>> {
    let mut versions: Vec<&str> = Vec::new();
    for resource in registry.all().filter(|resource| resource.group == group) {
        for version in &resource.versions {
            if !versions.contains(&version.name.as_str()) {
                versions.push(&version.name);
            }
        }
    }
    versions.sort_by(|one, other| Priority::of(one).cmp(&Priority::of(other)));
    (!versions.is_empty()).then_some(versions)
}

fn group_document(registry: &Registry, group: &str, alone: bool) -> Value {
    let versions = versions_of(registry, group).unwrap_or_default();
    let entry =
        |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let entries: Vec<Value> = versions.iter().map(entry).collect();
    let mut document =
        json!({"name": group, "versions": entries, "preferredVersion": entries.first()});
    if alone {
        document["kind"] = "APIGroup".into();
        document["apiVersion"] = "v1".into();
    }
    document
}

/// The resources of one group and version; `None` if there are none.
fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut entries = Vec::new();
    for (resource, version) in served(registry, group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": words(resource.verbs()), "shortNames": resource.short_names,
            "categories": resource.categories,
        });
        if resource.traits.offered != Offered::Asking {
            entry["storageVersionHash"] = storage_hash(resource);
        }
        entries.push(entry);
        for part in Subresource::of(resource, version) {
            let (form, form_version) = part.form(resource, version);
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, part.name()), "singularName": "",
                "namespaced": resource.namespaced, "kind": form.kind, "verbs": words(part.verbs()),
            });
            if form.kind != resource.kind {
                entry["group"] = form.group.as_str().into();
                entry["version"] = form_version.name.as_str().into();
            }
            entries.push(entry);
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!entries.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries})
    })
}

fn served<'a>(
    registry: &'a Registry,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = (&'a Arc<Resource>, &'a Version)> {
    let of_group = registry
        .all()
        .filter(move |resource| resource.group == group);
    of_group.filter_map(move |resource| Some((resource, resource.version(version)?)))
}

fn aggregated(registry: &Registry, core: bool) -> Value {
    let groups = if core { vec![""] } else { names(registry) };
    let items: Vec<Value> = groups
        .iter()
        .map(|group| aggregated_group(registry, group))
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_group(registry: &Registry, group: &str) -> Value {
    let version = |version: &&str| {
        let resources: Vec<Value> = served(registry, group, version)
            .map(aggregated_resource)
            .collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = versions_of(registry, group)
        .unwrap_or_default()
        .iter()
        .map(version)
        .collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({"name": group})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource((resource, version): (&Arc<Resource>, &Version)) -> Value {
    let kind = |resource: &Resource, version: &Version| json!({"group": resource.group, "version": version.name, "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural, "singularResource": resource.singular, "responseKind": kind(resource, version),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": words(resource.verbs()), "shortNames": resource.short_names, "categories": resource.categories,
    });
    let parts = Subresource::of(resource, version).map(|part| {
        let (form, version) = part.form(resource, version);
        json!({"subresource": part.name(), "responseKind": kind(form, version), "verbs": words(part.verbs())})
    });
    let parts: Vec<Value> = parts.collect();
    if !parts.is_empty() {
        entry["subresources"] = parts.into();
    }
    entry
}

fn words(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.name()).collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(path: &str, accept: &'static str) -> (u16, String, Value) {
        let registry = Registry::new(&api::crds()).expect("all kinds can be served");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let answered = answer(&registry, path, false, &headers).expect("a discovery path");
        let response = answered.unwrap_or_else(|failure| crate::serve::refusal(&failure));
        let (code, typed) = (
            response.status().as_u16(),
            response.headers()[header::CONTENT_TYPE].clone(),
        );
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let body = serde_json::from_slice(&body).expect("JSON");
        (code, typed.to_str().expect("text").to_owned(), body)
    }

    #[tokio::test]
    async fn the_legacy_form_leads_from_groups_to_resources() {
        let (_, typed, groups) = ask("/apis", "application/json").await;
        assert_eq!(
            (typed.as_str(), &groups["kind"]),
            ("application/json", &json!("APIGroupList"))
        );
        let names: Vec<&str> = groups["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .map(|group| group["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(
            names,
            [
                "admissionregistration.k8s.io",
                "apiextensions.k8s.io",
                "apiregistration.k8s.io",
                "authentication.k8s.io",
                "authorization.k8s.io",
                "certificates.k8s.io",
                "coordination.k8s.io",
                "events.k8s.io",
                "groma.dev",
                "networking.k8s.io",
                "rbac.authorization.k8s.io"
            ]
        );
        let (_, _, group) = ask("/apis/groma.dev", "").await;
        assert_eq!(
            group["preferredVersion"]["groupVersion"],
            "groma.dev/v1alpha1"
        );
        let (_, _, list) = ask("/apis/groma.dev/v1alpha1", "").await;
        let entries = list["resources"].as_array().expect("resources");
        let service = entries
            .iter()
            .find(|entry| entry["name"] == "services")
            .expect("services");
        assert_eq!(
            (&service["kind"], &service["shortNames"]),
            (&json!("Service"), &json!(["tsvc"]))
        );
        assert!(
            entries
                .iter()
                .any(|entry| entry["name"] == "services/status")
        );
        let (_, _, core) = ask("/api/v1/", "").await;
        assert_eq!(core["groupVersion"], "v1");
    }

    #[tokio::test]
    async fn the_aggregated_form_says_all_at_once() {
        let accept =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let (_, typed, all) = ask("/apis", accept).await;
        assert_eq!(typed, AGGREGATED);
        let groma = all["items"]
            .as_array()
            .expect("items")
            .iter()
            .find(|item| item["metadata"]["name"] == "groma.dev");
        let resources = groma.expect("the group")["versions"][0]["resources"]
            .as_array()
            .expect("resources");
        let host = resources
            .iter()
            .find(|entry| entry["resource"] == "hosts")
            .expect("hosts");
        assert_eq!(
            (&host["scope"], &host["responseKind"]["kind"]),
            (&json!("Cluster"), &json!("Host"))
        );
        assert_eq!(host["subresources"][0]["subresource"], "status");
        let (_, _, core) = ask("/api", accept).await;
        assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
    }

    #[tokio::test]
    async fn what_is_not_served_is_not_found() {
        for path in ["/apis/nope", "/apis/groma.dev/v9", "/api/v2"] {
            assert_eq!(ask(path, "").await.0, 404, "{path}");
        }
    }
}
