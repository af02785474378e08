//! Kinds of Kubernetes that nothing here runs: applied as on a real server, and described alike.
//!
//! Not compared: who owns the parts of what is posted (Go's types have parts before anybody wrote them), and what admission plugins and controllers of Kubernetes add (tolerations of Pods, addresses of Services,
//! selectors of Jobs), and its rules beyond the form of objects.

use std::collections::BTreeMap;

use apiserver::Server;
use serde_json::{Value, json};

use crate::pair::{Pair, Step};

/// What tells items of lists apart, and merges them.
const MARKS: [&str; 4] = [
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
];

async fn pair() -> Option<Pair> {
    let ours = Server::builder().kubernetes_kinds("").build();
    Pair::with(ours.expect("a server").client(), &[]).await
}

/// The collection of a kind, and an object of it.
fn kinds() -> Vec<(&'static str, Value)> {
    let labels = json!({"a": "b"});
    let container = json!({"name": "c", "image": "r/i:1", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "1"}],
        "readinessProbe": {"httpGet": {"port": 80}}});
    let pod = json!({"containers": [container], "volumes": [{"name": "v", "secret": {"secretName": "s"}}, {"name": "e"}]});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let spec = json!({"selector": {"matchLabels": labels}, "template": template});
    let limits = json!([{"type": "Pod", "max": {"cpu": "1"}}]);
    vec![
        (
            "/api/v1/namespaces/default/limitranges",
            json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": limits}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}),
        ),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": spec}),
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.org/p"}),
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "h"}),
        ),
        (
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}}),
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_kubernetes_kinds_answer_alike() {
    let Some(pair) = pair().await else { return };
    for (path, mut object) in kinds() {
        object["metadata"] = json!({"name": "applied"});
        let path = &format!("{path}/applied?fieldManager=m");
        for _ in 0..2 {
            let step = Step {
                method: "PATCH",
                path,
                content_type: "application/apply-patch+yaml",
                body: object.to_string().into_bytes(),
            };
            pair.compare(&step).await;
        }
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_kubernetes_kinds_are_described_alike() {
    let Some(pair) = pair().await else { return };
    let mut n = 0;
    for group in [
        "api/v1",
        "apis/apps/v1",
        "apis/autoscaling/v2",
        "apis/batch/v1",
        "apis/discovery.k8s.io/v1",
        "apis/networking.k8s.io/v1",
        "apis/policy/v1",
        "apis/scheduling.k8s.io/v1",
        "apis/storage.k8s.io/v1",
    ] {
        let path = &format!("/openapi/v3/{group}");
        let [(_, real), (_, ours)] = pair
            .answers(&Step {
                method: "GET",
                path,
                content_type: "",
                body: Vec::new(),
            })
            .await;
        for (name, schema) in ours["components"]["schemas"].as_object().expect("schemas") {
            let of_real = &real["components"]["schemas"][name];
            if !of_real.is_object() {
                continue;
            }
            assert_eq!(marks(of_real), marks(schema), "{group} {name}");
            n += marks(schema).len();
        }
    }
    assert!(n > 0);
}

/// The lists of a schema that are more than a row of values, and what is said of them.
fn marks(schema: &Value) -> BTreeMap<&str, Vec<Value>> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let lists = properties.filter(|(_, it)| it["type"] == "array");
    let marked = lists.filter(|(_, it)| {
        let set = ["set", "map"].map(|kind| it["x-kubernetes-list-type"] == kind);
        set.contains(&true) || !it["x-kubernetes-patch-strategy"].is_null()
    });
    let said = |list: &Value| {
        let said = MARKS.iter().map(|mark| match list[mark].as_str() {
            // That keys are kept is for the patch to say.
            Some("merge,retainKeys") => "merge".into(),
            _ => list[mark].clone(),
        });
        said.collect()
    };
    marked
        .map(|(name, list)| (name.as_str(), said(list)))
        .collect()
}
