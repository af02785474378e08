//! Kinds of Kubernetes that nothing here runs, on a server that serves them.

use apiserver::Server;
use serde_json::{Value, json};

use super::{Api, names};

const APPLY: &[(&str, &str)] = &[("content-type", "application/apply-patch+yaml")];
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn api() -> Api {
    let server = Server::builder().kubernetes_kinds("CERTIFICATE").build();
    Api(server.expect("a server"))
}

fn pod(name: &str) -> Value {
    let container = json!({"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}})
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": "a"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template}})
}

#[tokio::test]
async fn they_are_not_served_unless_asked_for() {
    let api = Api::new();
    for path in [PODS, DEPLOYMENTS, "/api/v1/nodes"] {
        assert_eq!(api.get(path).await.code, 404, "{path}");
    }
    let accounts = api.get("/api/v1/serviceaccounts").await;
    assert!(names(&accounts.body).is_empty());
}

#[tokio::test]
async fn namespaces_are_furnished_and_go_with_it() {
    let api = api();
    let namespace = json!({"metadata": {"name": "n"}});
    let made = api.call("POST", "/api/v1/namespaces", &namespace).await;
    assert_eq!(made.code, 201);
    for namespace in ["n", "default", "kube-system"] {
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        assert_eq!(api.get(&account).await.code, 200, "{namespace}");
        let map = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        let map = api.get(&map).await.body;
        assert_eq!(map["data"]["ca.crt"], "CERTIFICATE");
    }
    let service = api
        .get("/api/v1/namespaces/default/services/kubernetes")
        .await;
    assert_eq!(service.body["spec"]["clusterIP"], "10.0.0.1");
    api.call("DELETE", "/api/v1/namespaces/n", &Value::Null)
        .await;
    assert_eq!(api.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn what_is_left_out_is_filled_in_and_status_is_kept_apart() {
    let api = api();
    let mut given = deployment("d");
    given["status"] = json!({"replicas": 9});
    let made = api.call("POST", DEPLOYMENTS, &given).await.body;
    assert_eq!(made["spec"]["replicas"], 1);
    let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
    assert_eq!(made["spec"]["strategy"]["rollingUpdate"], rolling);
    assert_eq!(
        (&made["metadata"]["generation"], &made["status"]),
        (&json!(1), &json!({}))
    );
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    let scale = api.get(&format!("{DEPLOYMENTS}/d/scale")).await.body;
    assert_eq!(scale["spec"]["replicas"], 1);
    let mut node = json!({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let made = api.call("POST", "/api/v1/nodes", &node).await.body;
    assert_eq!(made["status"]["conditions"][0]["status"], "True");
    node["metadata"]["name"] = "m".into();
    node["spec"]["unschedulable"] = true.into();
    api.call("POST", "/api/v1/nodes", &node).await;
    let free = api
        .get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse")
        .await;
    assert_eq!(names(&free.body), ["n"]);
}

#[tokio::test]
async fn items_are_owned_and_merged_by_their_keys() {
    let api = api();
    let path = &format!("{PODS}/p?fieldManager=a");
    // YAML, as a comma may stand at its end.
    let text = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i",}],},}"#;
    let made = api.ask("PATCH", path, APPLY, text.to_owned()).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let owned = &made.body["metadata"]["managedFields"][0]["fieldsV1"];
    let expected = json!({"f:spec": {"f:containers": {r#"k:{"name":"c"}"#: {".": {}, "f:image": {}, "f:name": {}}}}});
    assert_eq!(owned, &expected);
    assert_eq!(made.body["status"]["phase"], "Pending");
    let strategic = &[("content-type", "application/strategic-merge-patch+json")];
    let more = json!({"spec": {"containers": [{"name": "d", "image": "j"}, {"name": "c", "ports": [{"containerPort": 80}]}]}});
    let merged = api
        .ask("PATCH", path, strategic, more.to_string())
        .await
        .body;
    let containers = merged["spec"]["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 2);
    let first = containers
        .iter()
        .find(|it| it["name"] == "c")
        .expect("it stays");
    assert_eq!(
        (&first["image"], &first["ports"][0]["protocol"]),
        (&json!("i"), &json!("TCP"))
    );
    let observed = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let status = &format!("{PODS}/p/status?fieldManager=b");
    let observed = api
        .ask("PATCH", status, APPLY, observed.to_string())
        .await
        .body;
    assert_eq!(observed["status"]["conditions"][0]["type"], "Mine");
}

#[tokio::test]
async fn kubectl_sees_its_columns_and_their_schemas() {
    let api = api();
    api.call("POST", PODS, &pod("p")).await;
    let table = &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = api.ask("GET", PODS, table, String::new()).await.body;
    let cells = &table["rows"][0]["cells"].as_array().expect("cells")[..4];
    assert_eq!(
        cells,
        [json!("p"), json!("0/1"), json!("Pending"), json!("0")]
    );
    let described = api.get("/openapi/v3/api/v1").await.body;
    let spec = &described["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    let containers = &spec["containers"];
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let list = api.get("/api/v1").await.body;
    let resources = list["resources"].as_array().expect("resources");
    let pods = resources
        .iter()
        .find(|it| it["name"] == "pods")
        .expect("pods");
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["categories"], json!(["all"]));
}
