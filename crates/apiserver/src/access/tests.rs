//! What an agent may do, through requests as it makes them; and what roles permit (`roles`).

mod roles;

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::access::{HOSTS_NAMESPACE, Identity};
use crate::server::Server;

const GROUP: &str = "/apis/groma.dev/v1alpha1";

/// Kinds by their names alone: the rules look at nothing else.
fn kind(kind: &str, plural: &str, scope: &str, selectable: &Value) -> CustomResourceDefinition {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"host": {"type": "string"}}});
    let crd = json!({
        "metadata": {"name": format!("{plural}.groma.dev")},
        "spec": {
            "group": "groma.dev", "scope": scope, "names": {"plural": plural, "kind": kind},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": selectable,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": anything}}},
            }],
        },
    });
    serde_json::from_value(crd).expect("a definition")
}

fn server() -> Server {
    let crds = vec![
        kind("Host", "hosts", "Cluster", &json!([])),
        kind("HostDatapath", "hostdatapaths", "Cluster", &json!([])),
        kind("Service", "services", "Namespaced", &json!([])),
        kind(
            "Instance",
            "instances",
            "Namespaced",
            &json!([{"jsonPath": ".spec.host"}]),
        ),
    ];
    let server = Server::builder()
        .crds(crds)
        .seed(1)
        .build()
        .expect("all kinds can be served");
    for (name, host, map) in [("a", "mad", "settings"), ("b", "par", "others")] {
        let instance = json!({
            "apiVersion": "groma.dev/v1alpha1", "kind": "Instance", "metadata": {"name": name, "namespace": "default"},
            "spec": {"host": host, "configuration": {
                "files": [{"content": {"configMap": {"name": map, "key": "k"}}}],
                "environment": [{"value": {"secret": {"name": format!("{map}-secret"), "key": "k"}}}],
            }},
        });
        server.apply(&instance).expect("an instance");
    }
    for (kind, name) in [
        ("ConfigMap", "settings"),
        ("ConfigMap", "others"),
        ("Secret", "settings-secret"),
    ] {
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}});
        server.apply(&object).expect("a map");
    }
    server
}

async fn ask(
    server: &Server,
    identity: &Identity,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let content_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type);
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let response = server.serve(identity, request).await;
    let code = response.status().as_u16();
    if path.contains("watch=true") && code == 200 {
        return (code, Value::Null);
    }
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// Patches with a body that comes only once the instance of that name has been made for another host.
async fn patch_meanwhile(server: &Server, name: &str, patch: &Value) -> u16 {
    let instance = json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Instance", "metadata": {"name": name, "namespace": "default"},
        "spec": {"host": "par"},
    });
    let body = stream::once(async {
        server.apply(&instance).expect("an instance");
        Ok::<_, Infallible>(Frame::data(Bytes::from(patch.to_string())))
    });
    let request = http::Request::builder()
        .method("PATCH")
        .uri(format!(
            "{GROUP}/namespaces/default/instances/{name}/status"
        ))
        .header("content-type", "application/merge-patch+json");
    let request = request
        .body(StreamBody::new(Box::pin(body)))
        .expect("a request");
    let host = Identity::host("mad");
    server.serve(&host, request).await.status().as_u16()
}

async fn check(server: &Server, cases: &[(&str, String, Value, u16)]) {
    let host = Identity::host("mad");
    for (method, path, body, expected) in cases {
        let (code, answer) = ask(server, &host, method, path, body).await;
        assert_eq!(code, *expected, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_host_reads_what_is_its_own() {
    let none = Value::Null;
    let core = "/api/v1/namespaces/default";
    let get = |path: String, code: u16| ("GET", path, none.clone(), code);
    let cases = [
        get(
            format!("{GROUP}/instances?fieldSelector=spec.host%3Dmad"),
            200,
        ),
        get(
            format!("{GROUP}/instances?fieldSelector=spec.host%3Dmad&watch=true"),
            200,
        ),
        get(
            format!("{GROUP}/instances?fieldSelector=spec.host%3Dpar"),
            403,
        ),
        get(
            format!("{GROUP}/instances?fieldSelector=spec.host!%3Dpar"),
            403,
        ),
        get(format!("{GROUP}/instances"), 403),
        get(
            format!("{GROUP}/namespaces/default/instances?watch=true"),
            403,
        ),
        get(format!("{GROUP}/namespaces/default/instances/a"), 200),
        get(format!("{GROUP}/namespaces/default/instances/b"), 403),
        get(format!("{GROUP}/namespaces/default/instances/gone"), 404),
        get(format!("{GROUP}/hosts/mad"), 404),
        get(format!("{GROUP}/hosts/par"), 403),
        get(format!("{GROUP}/hosts"), 403),
        get(
            format!("{GROUP}/hostdatapaths?fieldSelector=metadata.name%3Dmad&watch=true"),
            200,
        ),
        get(
            format!("{GROUP}/hostdatapaths?fieldSelector=metadata.name%3Dpar"),
            403,
        ),
        get(format!("{core}/configmaps/settings"), 200),
        get(format!("{core}/configmaps/others"), 403),
        get(format!("{core}/configmaps/settings-secret"), 403),
        get(format!("{core}/secrets/settings-secret"), 200),
        get(format!("{core}/secrets"), 403),
        get("/apis//v1/namespaces/default/secrets".to_owned(), 403),
        get("//api/v1/namespaces/default/secrets".to_owned(), 403),
        get(format!("{GROUP}/services"), 403),
        get("/version".to_owned(), 200),
    ];
    check(&server(), &cases).await;
}

#[tokio::test]
async fn a_host_writes_status_its_finalizer_and_its_lease() {
    let instance = |name: &str| format!("{GROUP}/namespaces/default/instances/{name}");
    let status = json!({"status": {"restarts": 1}});
    let finalizer = json!({"metadata": {"finalizers": ["groma.dev/instance"]}});
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{HOSTS_NAMESPACE}/leases");
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let event = json!({"metadata": {"generateName": "e-"}, "involvedObject": {"kind": "Host", "name": "mad"}});
    let cases = [
        (
            "PATCH",
            format!("{}/status", instance("a")),
            status.clone(),
            200,
        ),
        ("PATCH", format!("{}/status", instance("b")), status, 403),
        ("PATCH", instance("a"), finalizer.clone(), 200),
        ("PATCH", instance("b"), finalizer, 403),
        (
            "PATCH",
            instance("a"),
            json!({"spec": {"workload": "other"}}),
            403,
        ),
        (
            "PATCH",
            instance("a"),
            json!({"metadata": {"labels": {"a": "b"}}}),
            403,
        ),
        ("DELETE", instance("a"), Value::Null, 403),
        ("POST", leases.clone(), lease("mad"), 201),
        ("POST", leases.clone(), lease("par"), 403),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases".to_owned(),
            lease("mad"),
            403,
        ),
        (
            "PATCH",
            format!("{leases}/mad"),
            json!({"spec": {"leaseDurationSeconds": 2}}),
            200,
        ),
        (
            "PATCH",
            format!("{leases}/par"),
            json!({"spec": {"leaseDurationSeconds": 2}}),
            403,
        ),
        ("PUT", format!("{leases}/par"), lease("par"), 403),
        (
            "POST",
            "/api/v1/namespaces/default/events".to_owned(),
            event,
            403,
        ),
        (
            "POST",
            "/api/v1/namespaces/default/configmaps".to_owned(),
            lease("x"),
            403,
        ),
    ];
    check(&server(), &cases).await;
}

#[tokio::test]
async fn a_host_leaves_the_finalizers_of_others_alone() {
    let server = server();
    let held = json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Instance",
        "metadata": {"name": "a", "finalizers": ["groma.dev/steering"]}});
    server.apply(&held).expect("an instance");
    let instance = format!("{GROUP}/namespaces/default/instances/a");
    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    let (own, other) = ("groma.dev/instance", "groma.dev/steering");
    let cases = [
        ("PATCH", instance.clone(), finalizers(&[other, own]), 200),
        ("PATCH", instance.clone(), finalizers(&[own]), 403),
        (
            "PATCH",
            instance.clone(),
            finalizers(&[other, own, "a.b/c"]),
            403,
        ),
        ("PATCH", instance.clone(), finalizers(&[]), 403),
        ("PATCH", instance, finalizers(&[other]), 200),
    ];
    check(&server, &cases).await;
}

#[tokio::test]
async fn a_host_changes_only_what_its_lease_says() {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{HOSTS_NAMESPACE}/leases");
    let lease = |metadata: Value| {
        let mut lease = json!({"metadata": {"name": "mad"}, "spec": {"holderIdentity": "mad"}});
        json_patch::merge(&mut lease["metadata"], &metadata);
        lease
    };
    let held = json!({"finalizers": ["groma.dev/host"]});
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1"});
    let owned = json!({"ownerReferences": [owner]});
    let other =
        json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Host", "name": "bcn", "uid": "2"});
    let others = json!({"ownerReferences": [other]});
    let cases = [
        ("POST", leases.clone(), lease(held.clone()), 403),
        ("POST", leases.clone(), lease(owned), 403),
        ("POST", leases.clone(), lease(others), 403),
        ("PUT", format!("{leases}/mad"), lease(held.clone()), 403),
        ("POST", leases.clone(), lease(json!({})), 201),
        (
            "PATCH",
            format!("{leases}/mad"),
            json!({"metadata": held}),
            403,
        ),
        (
            "PATCH",
            format!("{leases}/mad"),
            json!({"metadata": {"labels": {"a": "b"}}}),
            403,
        ),
        (
            "PATCH",
            format!("{leases}/mad"),
            json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
            200,
        ),
    ];
    check(&server(), &cases).await;
}

#[tokio::test]
async fn whose_an_instance_is_is_looked_at_when_it_is_changed() {
    let server = server();
    let status = json!({"status": {"restarts": 1}});
    assert_eq!(patch_meanwhile(&server, "c", &status).await, 403);
}

#[tokio::test]
async fn a_refusal_reads_as_in_kubernetes() {
    let host = Identity::host("mad");
    let path = format!("{GROUP}/namespaces/default/instances/b");
    let (code, status) = ask(&server(), &host, "GET", &path, &Value::Null).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    let message = "instances.groma.dev \"b\" is forbidden: User \"system:host:mad\" cannot get resource \"instances\" \
        in API group \"groma.dev\" in the namespace \"default\"";
    assert_eq!(status["message"], message);
}
