//! Server-side apply and field ownership.
//!
//! On purpose otherwise: a list with the same key twice is refused with 422 and the field instead of 500, and `force` must
//! be true or false.

use serde_json::{Value, json};

use crate::pair::{Pair, Step};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn widgets() -> Value {
    let text = json!({"type": "string"});
    let port = json!({"type": "object", "required": ["name"], "properties": {
        "name": text, "protocol": {"type": "string", "default": "TCP"}, "number": {"type": "integer"},
    }});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "colour": {"type": "string", "default": "grey"},
        "words": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "protocol"]},
        "order": {"type": "array", "items": text},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "labels": {"type": "object", "additionalProperties": text},
        "inner": {"type": "object", "properties": {"deep": {"type": "object", "properties": {"a": text, "b": text}}}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "either": {"x-kubernetes-int-or-string": true},
    }});
    let status = json!({"type": "object", "properties": {"ready": {"type": "boolean"}, "seen": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

/// Both servers through the writes of one object.
struct Life {
    pair: Pair,
    api_version: &'static str,
    kind: &'static str,
    collection: &'static str,
}

impl Life {
    async fn of_widgets() -> Option<Self> {
        Some(Self {
            pair: Pair::new(&[widgets()]).await?,
            api_version: "example.com/v1",
            kind: "Widget",
            collection: WIDGETS,
        })
    }

    async fn of_maps() -> Option<Self> {
        Some(Self {
            pair: Pair::new(&[]).await?,
            api_version: "v1",
            kind: "ConfigMap",
            collection: MAPS,
        })
    }

    fn object(&self, fields: &Value) -> String {
        let mut object =
            json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": "a"}});
        for (name, field) in fields.as_object().into_iter().flatten() {
            match (name.as_str(), field) {
                ("metadata", Value::Object(more)) => {
                    for (name, field) in more {
                        object["metadata"][name] = field.clone();
                    }
                }
                _ => object[name] = field.clone(),
            }
        }
        object.to_string()
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: String) {
        let path = format!("{}{path}", self.collection);
        let step = Step {
            method,
            path: &path,
            content_type,
            body: body.into_bytes(),
        };
        self.pair.compare(&step).await;
    }

    async fn posts(&self, who: &str, fields: Value) {
        let path = format!("?fieldManager={who}");
        let body = self.object(&fields);
        self.send("POST", &path, "application/json", body).await;
    }

    async fn puts(&self, who: &str, fields: Value) {
        let path = format!("/a?fieldManager={who}");
        let body = self.object(&fields);
        self.send("PUT", &path, "application/json", body).await;
    }

    async fn merges(&self, who: &str, part: &str, patch: Value) {
        let path = format!("/a{part}?fieldManager={who}");
        self.send(
            "PATCH",
            &path,
            "application/merge-patch+json",
            patch.to_string(),
        )
        .await;
    }

    async fn applies(&self, query: &str, part: &str, fields: Value) {
        let path = format!("/a{part}?fieldManager={query}");
        let body = self.object(&fields);
        self.send("PATCH", &path, "application/apply-patch+yaml", body)
            .await;
    }
}

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_owned_alike() {
    let Some(life) = Life::of_widgets().await else {
        return;
    };
    let port = |name: &str, number: u32| json!({"name": name, "number": number});
    life.applies(
        "one",
        "",
        spec(json!({"size": 1, "ports": [port("a", 1), port("b", 2)], "words": ["x", "y"]})),
    )
    .await;
    life.applies(
        "two",
        "",
        spec(json!({"ports": [port("c", 3)], "words": ["z", "x"], "labels": {"k": "v"}})),
    )
    .await;
    life.applies("two", "", spec(json!({"size": 2}))).await;
    life.applies(
        "two&force=true",
        "",
        spec(json!({"size": 2, "whole": {"a": "1"}, "order": ["p", "q"]})),
    )
    .await;
    life.applies(
        "one",
        "",
        spec(json!({"ports": [port("b", 4), port("d", 5)], "words": ["y"]})),
    )
    .await;
    life.merges(
        "three",
        "",
        spec(json!({"any": {"deep": {"x": 1, "y": [1, 2]}}, "either": "5%", "colour": "red"})),
    )
    .await;
    life.applies(
        "one",
        "",
        spec(json!({"whole": {"b": "2"}, "order": ["r"], "any": {"deep": {"x": 2}}})),
    )
    .await;
    life.applies(
        "one&force=true",
        "",
        spec(json!({"inner": {"deep": {"a": "1"}}, "labels": {"k": "w", "l": "x"}})),
    )
    .await;
    life.applies(
        "four",
        "",
        spec(json!({"inner": {"deep": {"b": "2"}}, "any": {}})),
    )
    .await;
    life.applies("one", "", spec(json!({"labels": {"l": "x"}})))
        .await;
    life.applies("one", "", spec(json!({"labels": {"l": "x"}})))
        .await;
    life.merges("nine", "", json!({"spec": null})).await;
    life.pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metadata_are_owned_alike() {
    let Some(life) = Life::of_widgets().await else {
        return;
    };
    life.applies("one", "", spec(json!({"size": 1}))).await;
    life.merges("five", "/status", json!({"status": {"ready": true}}))
        .await;
    life.applies(
        "six",
        "/status",
        json!({"status": {"ready": true, "seen": 1}, "spec": {"size": 9}}),
    )
    .await;
    life.applies(
        "six",
        "/status",
        json!({"status": {"ready": false, "seen": 1}}),
    )
    .await;
    life.applies(
        "six",
        "",
        json!({"status": {"ready": false}, "metadata": {"labels": {"by": "six"}}}),
    )
    .await;
    life.merges(
        "seven",
        "",
        json!({"metadata": {"labels": {"by": null, "x": "y"}, "finalizers": ["example.com/f"]}}),
    )
    .await;
    life.applies(
        "eight",
        "",
        json!({"metadata": {"finalizers": ["example.com/g"], "annotations": {"n": "1"}}}),
    )
    .await;
    life.applies("eight", "", json!({"metadata": {}})).await;
    let empty = json!({"metadata": {"labels": {}, "annotations": {}}});
    life.applies("ten", "", empty.clone()).await;
    life.applies("ten", "", empty).await;
    life.merges("nine", "", json!({"spec": null})).await;
    life.pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn built_ins_are_owned_alike() {
    let Some(life) = Life::of_maps().await else {
        return;
    };
    life.posts(
        "one",
        json!({"data": {"a": "1", "b": "2"}, "metadata": {"labels": {"l": "x"}}}),
    )
    .await;
    life.applies("two", "", json!({"data": {"a": "1"}})).await;
    life.applies(
        "two",
        "",
        json!({"data": {"a": "2", "b": "3"}, "metadata": {"labels": {"l": "y"}}}),
    )
    .await;
    life.applies(
        "two&force=true",
        "",
        json!({"data": {"a": "2"}, "immutable": false}),
    )
    .await;
    life.puts("three", json!({"data": {"c": "3"}})).await;
    life.merges(
        "one",
        "",
        json!({"data": {"c": "4"}, "metadata": {"annotations": {"k": "v"}}}),
    )
    .await;
    life.applies("two", "", json!({"metadata": {"annotations": {"k": "v"}}}))
        .await;
    life.merges("four", "", json!({"metadata": {"managedFields": [{}]}}))
        .await;
    life.merges("four", "", json!({"data": {"d": "1"}})).await;
    life.applies("two", "", json!({"data": {"c": "5"}})).await;
    life.applies("two&dryRun=All&force=true", "", json!({"data": {"c": "5"}}))
        .await;
    life.applies("two&force=true", "", json!({"data": {"c": "5"}}))
        .await;
    life.pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_applied_itself_is_taken_over_alike() {
    let Some(life) = Life::of_maps().await else {
        return;
    };
    let last = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {}, "name": "a", "namespace": "default"},
        "data": {"a": "1", "b": "2", "c": "3"},
    });
    let noted = json!({"annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": format!("{last}\n"),
    }});
    let first = json!({"data": {"a": "1", "b": "2", "c": "3"}, "metadata": noted});
    life.posts("kubectl-client-side-apply", first).await;
    life.merges("other", "", json!({"data": {"b": "changed"}}))
        .await;
    life.applies("kubectl", "", json!({"data": {"a": "2", "b": "3"}}))
        .await;
    life.applies("kubectl", "", json!({"data": {"a": "2", "c": "4"}}))
        .await;
    life.applies("kubectl", "", json!({"data": {"c": "4"}}))
        .await;
    life.pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_refused_alike() {
    let Some(life) = Life::of_widgets().await else {
        return;
    };
    life.posts("one", spec(json!({"size": 1}))).await;
    life.applies("two", "", spec(json!({"size": 2, "colour": "red"})))
        .await;
    life.applies("", "", spec(json!({}))).await;
    life.applies(
        "two",
        "",
        json!({"metadata": {"managedFields": [{"manager": "x"}]}}),
    )
    .await;
    life.applies("two", "", json!({"metadata": {"resourceVersion": "1"}}))
        .await;
    life.merges("two&force=true", "", json!({})).await;
    life.applies("two", "", json!({"kind": "Gadget"})).await;
    life.pair.finish();
}
