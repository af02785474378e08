//! The protocol as it goes over the wire: requests by method and path, answers by code and document.

mod admission;
mod answer;
mod apply;
mod backup;
mod bounds;
mod clock;
mod conversion;
mod definitions;
mod hook;
mod kubernetes;
mod policy;
mod recorded;
mod replay;
mod restart;
mod reviews;
mod scale;
mod watch;
mod write;

use apiserver::{Identity, Server};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn crds() -> Vec<CustomResourceDefinition> {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["host"], "properties": {
            "host": {"type": "string", "maxLength": 8}, "size": {"type": "integer", "default": 1, "minimum": 0},
        }, "x-kubernetes-validations": [{"rule": "self.host == oldSelf.host", "message": "the host stays"}]},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    }});
    let crd = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.host"}], "schema": {"openAPIV3Schema": schema},
            }],
        },
    });
    vec![serde_json::from_value(crd).expect("a definition")]
}

fn widget(name: &str, host: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"host": host}})
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// The names of a list.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}

/// A server with what a test asks of it.
struct Api(Server);

/// An answer: its code, its document and its warnings.
struct Answer {
    code: u16,
    body: Value,
    warnings: Vec<String>,
}

impl Api {
    fn new() -> Self {
        Self(Server::in_memory(crds()))
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> http::Response<apiserver::Body> {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        self.0.serve(&Identity::admin("test"), request).await
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let content_type = match (method, body) {
            ("PATCH", Value::Array(_)) => "application/json-patch+json",
            ("PATCH", _) => "application/merge-patch+json",
            _ => "application/json",
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask(method, path, &[("content-type", content_type)], text)
            .await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        text: String,
    ) -> Answer {
        let response = self.send(method, path, headers, text).await;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|warning| warning.to_str().expect("text").to_owned())
            .collect();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        Answer {
            code,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            warnings,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null).await
    }

    /// The lines of a watch until it ends.
    async fn watch(&self, path: &str) -> Vec<Value> {
        let response = self.send("GET", path, &[], String::new()).await;
        assert_eq!(response.status(), 200, "{path}");
        let text = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("one event"))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn pages_come_from_one_snapshot() {
    let api = Api::new();
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(api.call("POST", MAPS, &map(name)).await.code, 201);
    }
    let first = api.get(&format!("{MAPS}?limit=2")).await.body;
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    api.call("DELETE", &format!("{MAPS}/d"), &Value::Null).await;
    api.call(
        "PATCH",
        &format!("{MAPS}/c"),
        &json!({"data": {"a": "changed"}}),
    )
    .await;
    api.call("POST", MAPS, &map("bb")).await;
    let token = first["metadata"]["continue"]
        .as_str()
        .expect("there is more");
    let second = api
        .get(&format!("{MAPS}?limit=9&continue={token}"))
        .await
        .body;
    let names: Vec<&Value> = second["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| &i["metadata"]["name"])
        .collect();
    assert_eq!(names, ["c", "d", "e"]);
    assert_eq!(second["items"][0]["data"]["a"], "1");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = api
        .get(&format!(
            "{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact"
        ))
        .await
        .body;
    assert_eq!(exact["items"].as_array().unwrap().len(), 5);
    api.0.compact();
    let late = api.get(&format!("{MAPS}?continue={token}")).await;
    assert_eq!((late.code, &late.body["reason"]), (410, &json!("Expired")));
    assert_eq!(
        api.get(&format!("{MAPS}?continue=nonsense")).await.code,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_honoured_is_refused() {
    let api = Api::new();
    for (method, path) in [
        ("GET", format!("{MAPS}?nope=1")),
        ("GET", format!("{MAPS}?fieldSelector=data.a%3D1")),
        ("GET", format!("{MAPS}?labelSelector=a%20b")),
        ("POST", format!("{MAPS}?force=true")),
        ("GET", format!("{MAPS}/a?includeObject=Object")),
    ] {
        assert_eq!(api.call(method, &path, &map("a")).await.code, 400, "{path}");
    }
    assert_eq!(
        api.call("POST", &format!("{MAPS}/a"), &map("a")).await.code,
        405
    );
    assert_eq!(
        api.call("POST", "/api/v1/configmaps", &map("a")).await.code,
        405
    );
    let yaml = [("accept", "application/yaml")];
    assert_eq!(
        api.send("GET", MAPS, &yaml, String::new()).await.status(),
        406
    );
    for path in [
        "/apis/example.com/v1/gadgets",
        "/api/v1/namespaces/default/widgets",
        "/apis/example.com/v2/widgets",
        "/x",
    ] {
        assert_eq!(api.get(path).await.code, 404, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_enough_for_some() {
    let api = Api::new();
    api.call("POST", MAPS, &map("a")).await;
    let accept = [(
        "accept",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    )];
    let response = api.send("GET", MAPS, &accept, String::new()).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_event_has_two_names() {
    let api = Api::new();
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Host", "name": "mad"}, "note": "it went away",
        "eventTime": "2026-11-21T10:00:00.000000Z", "action": "x", "reason": "Gone", "type": "Warning",
        "reportingController": "c", "reportingInstance": "i",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = api.call("POST", path, &event).await;
    assert_eq!(
        (made.code, &made.body["apiVersion"]),
        (201, &json!("events.k8s.io/v1"))
    );
    let core = api.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dmad,type%3DWarning").await.body;
    assert_eq!(core["items"][0]["message"], "it went away");
    assert_eq!(core["items"][0]["apiVersion"], "v1");
    let none = api
        .get("/api/v1/events?fieldSelector=involvedObject.name%3Dpar")
        .await
        .body;
    assert_eq!(none["items"], json!([]));
    let patched = api
        .call(
            "PATCH",
            &format!("{path}/e"),
            &json!({"note": "it came back"}),
        )
        .await
        .body;
    assert_eq!(patched["note"], "it came back");
    assert_eq!(
        api.get("/api/v1/namespaces/default/events/e").await.body["message"],
        "it came back"
    );
    assert_eq!(
        api.get(&format!("{path}?fieldSelector=regarding.name%3Dmad"))
            .await
            .code,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_is_that_of_the_whole_answer() {
    let api = Api::new();
    for path in ["/version", "/api/v1/namespaces/default", MAPS, "/nothing"] {
        let length = |response: &http::Response<apiserver::Body>| {
            let length = response.headers().get("content-length");
            length.map(|it| it.to_str().expect("a text").to_owned())
        };
        let whole = api.send("GET", path, &[], String::new()).await;
        let head = api.send("HEAD", path, &[], String::new()).await;
        assert_eq!(head.status(), whole.status(), "{path}");
        let told = length(&head);
        let body = |response: http::Response<apiserver::Body>| response.into_body().collect();
        let bytes = body(whole).await.expect("a body").to_bytes();
        assert_eq!(told, Some(bytes.len().to_string()), "{path}");
        let nothing = body(head).await.expect("a body").to_bytes();
        assert!(nothing.is_empty(), "{path}");
    }
}
