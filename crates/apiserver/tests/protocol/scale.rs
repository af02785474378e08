//! The scale subresource: what it shows, and what is written through it.

use serde_json::{Value, json};

use crate::definitions::DEFINITIONS;
use crate::{Answer, Api};

const GEARS: &str = "/apis/tools.example.org/v1/namespaces/default/gears";
const SCALE: &str = "/apis/tools.example.org/v1/namespaces/default/gears/a/scale";

fn definition() -> Value {
    let count = json!({"type": "integer"});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"copies": count, "size": count}},
        "status": {"type": "object", "properties": {"copies": count, "selector": {"type": "string"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gears.tools.example.org"},
        "spec": {
            "group": "tools.example.org", "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.copies", "statusReplicasPath": ".status.copies",
                    "labelSelectorPath": ".status.selector",
                }},
            }],
        },
    })
}

async fn api() -> Api {
    let api = Api::new();
    let made = api.call("POST", DEFINITIONS, &definition()).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let gear = json!({"metadata": {"name": "a"}, "spec": {"copies": 2, "size": 1}});
    let made = api
        .call("POST", &format!("{GEARS}?fieldManager=user"), &gear)
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    api
}

fn scale(copies: u32) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": copies}})
}

async fn apply(api: &Api, query: &str, copies: u32) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{SCALE}?{query}");
    api.ask("PATCH", &path, &headers, scale(copies).to_string())
        .await
}

#[tokio::test]
async fn a_scale_shows_what_the_definition_points_at() {
    let api = api().await;
    let status = json!({"status": {"copies": 1, "selector": "app=gear"}});
    api.call("PATCH", &format!("{GEARS}/a/status"), &status)
        .await;
    let shown = api.get(SCALE).await.body;
    assert_eq!(
        (&shown["apiVersion"], &shown["kind"]),
        (&json!("autoscaling/v1"), &json!("Scale"))
    );
    assert_eq!(shown["spec"], json!({"replicas": 2}));
    assert_eq!(
        shown["status"],
        json!({"replicas": 1, "selector": "app=gear"})
    );
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = api.ask("GET", SCALE, &table, String::new()).await.body;
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[2]), (&json!(2), &json!(1)));
    let found = api.get("/apis/tools.example.org/v1").await.body;
    let entry = &found["resources"][2];
    assert_eq!(
        (&entry["name"], &entry["group"], &entry["kind"]),
        (
            &json!("gears/scale"),
            &json!("autoscaling"),
            &json!("Scale")
        )
    );
    let document = api.get("/openapi/v3/apis/tools.example.org/v1").await.body;
    let path =
        &document["paths"]["/apis/tools.example.org/v1/namespaces/{namespace}/gears/{name}/scale"];
    assert_eq!(
        path["put"]["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"
    );
    assert!(document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"].is_object());
}

#[tokio::test]
async fn what_is_written_to_a_scale_goes_into_its_object_and_nowhere_else() {
    let api = api().await;
    let mut sent = scale(5);
    sent["metadata"]["labels"] = json!({"not": "kept"});
    sent["status"] = json!({"replicas": 9});
    let put = api.call("PUT", SCALE, &sent).await;
    assert_eq!((put.code, &put.body["spec"]["replicas"]), (200, &json!(5)));
    let object = api.get(&format!("{GEARS}/a")).await.body;
    assert_eq!(object["spec"], json!({"copies": 5, "size": 1}));
    assert!(object.get("status").is_none() && object["metadata"].get("labels").is_none());
    assert_eq!(object["metadata"]["generation"], 2);
    let patch = json!([{"op": "test", "path": "/spec/replicas", "value": 5},
        {"op": "replace", "path": "/spec/replicas", "value": 6}]);
    assert_eq!(api.call("PATCH", SCALE, &patch).await.code, 200);
    let tried = api
        .call("PUT", &format!("{SCALE}?dryRun=All"), &scale(7))
        .await;
    assert_eq!(tried.body["spec"]["replicas"], 7);
    assert_eq!(api.get(SCALE).await.body["spec"]["replicas"], 6);
    let mut stale = scale(8);
    stale["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(api.call("PUT", SCALE, &stale).await.code, 409);
    let mut other = scale(8);
    other["metadata"]["uid"] = "other".into();
    assert_eq!(api.call("PUT", SCALE, &other).await.code, 409);
    assert_eq!(api.call("DELETE", SCALE, &Value::Null).await.code, 405);
}

#[tokio::test]
async fn who_applies_a_scale_owns_the_replicas_of_the_object() {
    let api = api().await;
    assert_eq!(apply(&api, "fieldManager=robot", 3).await.code, 409);
    let forced = apply(&api, "fieldManager=robot&force=true", 3).await;
    assert_eq!(forced.code, 200, "{}", forced.body);
    let object = api.get(&format!("{GEARS}/a")).await.body;
    let owners = object["metadata"]["managedFields"].as_array();
    let owners: Vec<Value> = owners
        .into_iter()
        .flatten()
        .map(|it| {
            json!([
                it["manager"],
                it["operation"],
                it["apiVersion"],
                it["subresource"],
                it["fieldsV1"]
            ])
        })
        .collect();
    let own = "tools.example.org/v1";
    let expected = [
        json!(["robot", "Apply", own, "scale", {"f:spec": {"f:copies": {}}}]),
        json!(["user", "Update", own, null, {"f:spec": {".": {}, "f:size": {}}}]),
    ];
    assert_eq!(owners, expected);
}
