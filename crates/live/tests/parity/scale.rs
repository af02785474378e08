//! The scale subresource: read, written in every way, and who owns the replicas then.
//!
//! On purpose otherwise: a scale of another uid is refused without the words of etcd, one with unknown fields is told
//! which ones, and who applies a scale with force, or one that nobody owns, gets it instead of an internal error.

use serde_json::{Value, json};

use crate::pair::Pair;

const GEARS: &str = "/apis/example.com/v1/namespaces/default/gears";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn gears() -> Value {
    let count = json!({"type": "integer"});
    let spec = json!({"type": "object", "properties": {
        "replicas": count, "size": count, "deep": {"type": "object", "properties": {"n": count}},
    }});
    let status = json!({"type": "object", "properties": {"replicas": count, "selector": {"type": "string"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gears.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gears", "singular": "gear", "kind": "Gear", "listKind": "GearList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

fn gear(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Gear", "metadata": {"name": "a"}, "spec": spec})
}

fn scale(fields: &Value) -> Value {
    let mut scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}});
    for (name, field) in fields.as_object().into_iter().flatten() {
        match (name.as_str(), field) {
            ("metadata", Value::Object(more)) => {
                for (name, field) in more {
                    scale["metadata"][name] = field.clone();
                }
            }
            _ => scale[name] = field.clone(),
        }
    }
    scale
}

async fn send(pair: &Pair, how: (&str, &str), path: &str, body: &Value) {
    let path = match path.starts_with('/') && !path.starts_with("/apis") {
        true => format!("{GEARS}{path}"),
        false => path.to_owned(),
    };
    pair.send(how, &path, body).await;
}

/// What the object and its scale look like now.
async fn look(pair: &Pair) {
    for path in ["/a", "/a/scale"] {
        send(pair, ("GET", ""), path, &Value::Null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scales_are_written_and_owned_alike() {
    let Some(pair) = Pair::new(&[gears()]).await else {
        return;
    };
    let wanted = |n: i64| json!({"spec": {"replicas": n}});
    let at = |who: &str| format!("/a/scale?fieldManager={who}");
    let collection = format!("{GEARS}?fieldManager=one");
    let made = gear(&json!({"size": 1, "replicas": 2}));
    send(&pair, ("POST", JSON), &collection, &made).await;
    look(&pair).await;
    send(&pair, ("PATCH", MERGE), &at("two"), &wanted(3)).await;
    look(&pair).await;
    send(&pair, ("PUT", JSON), &at("three"), &scale(&wanted(4))).await;
    look(&pair).await;
    send(&pair, ("PUT", JSON), &at("three"), &scale(&wanted(4))).await;
    send(&pair, ("PATCH", APPLY), &at("four"), &scale(&wanted(5))).await;
    let status = json!({"status": {"replicas": 2, "selector": "a=b"}});
    let path = "/a/status?fieldManager=five";
    send(&pair, ("PATCH", MERGE), path, &status).await;
    look(&pair).await;
    let operations = json!([{"op": "replace", "path": "/spec/replicas", "value": 7}]);
    send(&pair, ("PATCH", PATCH), &at("six"), &operations).await;
    look(&pair).await;
    let applied = gear(&json!({"replicas": 8}));
    let whole = "/a?fieldManager=seven&force=true";
    send(&pair, ("PATCH", APPLY), whole, &applied).await;
    look(&pair).await;
    send(&pair, ("PATCH", MERGE), &at("one"), &wanted(9)).await;
    look(&pair).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn scales_that_cannot_be_are_refused_alike() {
    let Some(pair) = Pair::new(&[gears()]).await else {
        return;
    };
    let wanted = |n: i64| json!({"spec": {"replicas": n}});
    send(&pair, ("GET", ""), "/a/scale", &Value::Null).await;
    send(&pair, ("PUT", JSON), "/a/scale", &scale(&wanted(1))).await;
    send(&pair, ("POST", JSON), GEARS, &gear(&json!({"size": 1}))).await;
    send(&pair, ("GET", ""), "/a/scale", &Value::Null).await;
    let nothing = json!({"metadata": {"labels": {"a": "b"}}});
    send(&pair, ("PATCH", MERGE), "/a/scale", &nothing).await;
    send(&pair, ("PUT", JSON), "/a/scale", &scale(&json!({}))).await;
    look(&pair).await;
    send(&pair, ("PUT", JSON), "/a/scale", &scale(&wanted(-1))).await;
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}});
    send(&pair, ("PUT", JSON), "/a/scale", &scale(&stale)).await;
    send(&pair, ("PATCH", MERGE), "/a/scale", &stale).await;
    let named = json!({"metadata": {"name": "b"}, "spec": {"replicas": 3}});
    send(&pair, ("PUT", JSON), "/a/scale", &scale(&named)).await;
    let dry = "/a/scale?dryRun=All";
    send(&pair, ("PUT", JSON), dry, &scale(&wanted(5))).await;
    let negative = gear(&json!({"replicas": -1}));
    let strange = json!({"spec": {"replicas": 3_000_000_000_i64}});
    send(&pair, ("PATCH", MERGE), "/a", &negative).await;
    send(&pair, ("PATCH", MERGE), "/a", &strange).await;
    send(&pair, ("DELETE", JSON), "/a/scale", &Value::Null).await;
    look(&pair).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_scales_are_refused_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let good = ".spec.replicas";
    for paths in [
        json!({"specReplicasPath": "", "statusReplicasPath": ".status.replicas"}),
        json!({"specReplicasPath": "spec.replicas", "statusReplicasPath": ".spec.replicas"}),
        json!({"specReplicasPath": ".status.replicas", "statusReplicasPath": ".status.replicas"}),
        json!({"specReplicasPath": good, "statusReplicasPath": ".status.n", "labelSelectorPath": ".metadata.x"}),
    ] {
        let mut definition = gears();
        definition["spec"]["versions"][0]["subresources"]["scale"] = paths;
        send(&pair, ("POST", JSON), DEFINITIONS, &definition).await;
    }
    pair.finish();
}
