//! The protocol as it goes over the wire: requests by method and path, answers by code and document.

mod apply;
mod definitions;
mod restart;
mod write;

use apiserver::{BODY_BYTES_MAX, Identity, Server, WATCH_BUFFER_EVENTS};
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
        self.0
            .serve(&Identity::Admin("test".to_owned()), request)
            .await
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

fn shown(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let show = |event: &Value| {
        format!(
            "{} {}",
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"])
        )
    };
    events.iter().map(show).collect()
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
async fn a_watch_can_start_with_what_is_there() {
    let api = Api::new();
    api.call("POST", MAPS, &map("a")).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true\
         &timeoutSeconds=5"
    );
    let events = api.watch(&path).await;
    assert_eq!(shown(&events), ["ADDED a", "BOOKMARK ", "BOOKMARK "]);
    let annotations = |event: &Value| {
        event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].clone()
    };
    assert_eq!(annotations(&events[1]), "true");
    assert_eq!(annotations(&events[2]), Value::Null);
    assert_eq!(events[1]["object"]["kind"], "ConfigMap");
    assert_eq!(
        events[1]["object"]["metadata"]["resourceVersion"],
        api.0.revision().to_string()
    );
    assert_eq!(api.0.watchers(), 0, "a watch that ended is closed");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_a_version() {
    let api = Api::new();
    let made = api.call("POST", MAPS, &map("a")).await.body;
    let version = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    api.call("POST", MAPS, &map("b")).await;
    api.call(
        "PATCH",
        &format!("{MAPS}/a"),
        &json!({"metadata": {"labels": {"x": "1"}}}),
    )
    .await;
    api.call(
        "PATCH",
        &format!("{MAPS}/a"),
        &json!({"metadata": {"labels": {"x": "1"}}}),
    )
    .await;
    api.call("DELETE", &format!("{MAPS}/b"), &Value::Null).await;
    let from = |selector: &str| {
        format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={version}{selector}")
    };
    assert_eq!(
        shown(&api.watch(&from("")).await),
        ["ADDED b", "MODIFIED a", "DELETED b"],
        "the no-op is no event"
    );
    assert_eq!(
        shown(&api.watch(&from("&labelSelector=x")).await),
        ["ADDED a"]
    );
    assert_eq!(
        shown(&api.watch(&from("&fieldSelector=metadata.name%3Db")).await),
        ["ADDED b", "DELETED b"]
    );
    let versions: Vec<u64> = api
        .watch(&from(""))
        .await
        .iter()
        .map(|event| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(
        versions.is_sorted_by(|a, b| a < b),
        "each event has a version of its own"
    );
    api.0.compact();
    let gone = api.watch(&from("")).await;
    assert_eq!(
        (&gone[0]["type"], &gone[0]["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert!(
        gone[0]["object"]["message"]
            .as_str()
            .unwrap()
            .starts_with("too old resource version")
    );
    assert_eq!(
        api.get(&format!("{MAPS}?watch=true&resourceVersion=99999"))
            .await
            .code,
        504
    );
    let anew = api
        .watch(&format!("{MAPS}?watch=true&timeoutSeconds=1"))
        .await;
    assert_eq!(shown(&anew), ["ADDED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_gets_bookmarks() {
    let api = Api::new();
    let path =
        format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion=1");
    let events = api.watch(&path).await;
    assert!(
        shown(&events)
            .iter()
            .filter(|event| *event == "BOOKMARK ")
            .count()
            == 3,
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read_is_closed() {
    let api = Api::new();
    let path = format!(
        "{MAPS}?watch=true&resourceVersion={}&timeoutSeconds=9",
        api.0.revision()
    );
    let response = api.send("GET", &path, &[], String::new()).await;
    api.call("POST", MAPS, &map("a")).await;
    for n in 0..WATCH_BUFFER_EVENTS {
        assert_eq!(api.0.watchers(), 1, "{n}");
        api.call(
            "PATCH",
            &format!("{MAPS}/a"),
            &json!({"data": {"n": n.to_string()}}),
        )
        .await;
    }
    assert_eq!(api.0.watchers(), 0);
    let text = response
        .into_body()
        .collect()
        .await
        .expect("it ends without an error")
        .to_bytes();
    assert_eq!(
        text.split(|byte| *byte == b'\n').count() - 1,
        WATCH_BUFFER_EVENTS,
        "what was buffered still comes"
    );
}

#[tokio::test(start_paused = true)]
async fn writes_are_checked() {
    let api = Api::new();
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let mut unknown = widget("a", "h");
    unknown["spec"]["foo"] = 1.into();
    let refused = api.call("POST", &strict, &unknown).await;
    assert_eq!(refused.code, 400);
    let message = r#"Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.foo""#;
    assert_eq!(refused.body["message"], message);
    let warned = api.call("POST", WIDGETS, &unknown).await;
    assert_eq!(
        (warned.code, &warned.body["spec"]),
        (201, &json!({"host": "h", "size": 1}))
    );
    assert_eq!(warned.warnings, [r#"299 - "unknown field \"spec.foo\"""#]);
    let mut wrong = widget("b", "too-long-for-it");
    wrong["spec"]["size"] = (-1).into();
    let invalid = api.call("POST", WIDGETS, &wrong).await;
    assert_eq!(
        (invalid.code, &invalid.body["reason"]),
        (422, &json!("Invalid"))
    );
    let message = "Widget.example.com \"b\" is invalid: [spec.host: Too long: may not be more than 8 bytes, \
        spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 0]";
    assert_eq!(invalid.body["message"], message);
    assert_eq!(invalid.body["details"]["causes"][1]["field"], "spec.size");
    let moved = api
        .call(
            "PATCH",
            &format!("{WIDGETS}/a"),
            &json!({"spec": {"host": "i"}}),
        )
        .await;
    assert_eq!(
        (
            moved.code,
            moved.body["message"]
                .as_str()
                .unwrap()
                .contains("the host stays")
        ),
        (422, true)
    );
    let missing = api
        .call(
            "POST",
            "/apis/example.com/v1/namespaces/nope/widgets",
            &widget("a", "h"),
        )
        .await;
    assert_eq!(
        (missing.code, &missing.body["message"]),
        (404, &json!("namespaces \"nope\" not found"))
    );
    let wrong_kind = api.call("POST", WIDGETS, &map("a")).await;
    assert_eq!(wrong_kind.code, 400);
    let mut map = map("typed");
    map["data"] = json!({"a": 1});
    assert_eq!(
        api.call("POST", MAPS, &map).await.code,
        400,
        "a built-in is read by its type"
    );
    assert_eq!(
        api.send("POST", MAPS, &[], "x".repeat(BODY_BYTES_MAX + 1))
            .await
            .status(),
        413
    );
}

#[tokio::test(start_paused = true)]
async fn writes_race_by_version_and_uid() {
    let api = Api::new();
    let made = api.call("POST", WIDGETS, &widget("a", "h")).await.body;
    let path = format!("{WIDGETS}/a");
    assert_eq!(
        api.call("PUT", &path, &widget("a", "h")).await.code,
        422,
        "a PUT needs a version"
    );
    let mut stale = made.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    let conflict = api.call("PUT", &path, &stale).await;
    let message = "Operation cannot be fulfilled on widgets.example.com \"a\": the object has been modified; \
        please apply your changes to the latest version and try again";
    assert_eq!(
        (conflict.code, &conflict.body["message"]),
        (409, &json!(message))
    );
    let stale_patch = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]);
    assert_eq!(api.call("PATCH", &path, &stale_patch).await.code, 409);
    let mut other = made.clone();
    other["metadata"]["uid"] = "other".into();
    assert_eq!(api.call("PUT", &path, &other).await.code, 409);
    assert_eq!(
        api.call("PATCH", &path, &json!({"metadata": {"uid": "other"}}))
            .await
            .code,
        422
    );
    let unchanged = api.call("PUT", &path, &made).await;
    assert_eq!(
        unchanged.body["metadata"], made["metadata"],
        "a no-op keeps the version"
    );
    assert_eq!(
        api.call("POST", WIDGETS, &widget("a", "h")).await.body["reason"],
        "AlreadyExists"
    );
    let preconditions = json!({"preconditions": {"uid": "other"}});
    assert_eq!(api.call("DELETE", &path, &preconditions).await.code, 409);
    let preconditions = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    let gone = api.call("DELETE", &path, &preconditions).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_apart() {
    let api = Api::new();
    let mut with_status = widget("a", "h");
    with_status["status"] = json!({"ready": true});
    let made = api.call("POST", WIDGETS, &with_status).await.body;
    assert!(made.get("status").is_none());
    let path = format!("{WIDGETS}/a");
    let both =
        json!({"spec": {"size": 5}, "status": {"ready": true}, "metadata": {"labels": {"x": "1"}}});
    let by_status = api
        .call("PATCH", &format!("{path}/status"), &both)
        .await
        .body;
    assert_eq!(
        (&by_status["spec"]["size"], &by_status["status"]["ready"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(by_status["metadata"]["generation"], 1);
    assert!(by_status["metadata"].get("labels").is_none());
    let both = json!({"spec": {"size": 5}, "status": {"ready": false}});
    let by_spec = api.call("PATCH", &path, &both).await.body;
    assert_eq!(
        (&by_spec["spec"]["size"], &by_spec["status"]["ready"]),
        (&json!(5), &json!(true))
    );
    assert_eq!(by_spec["metadata"]["generation"], 2);
    assert_eq!(
        api.call("DELETE", &format!("{path}/status"), &Value::Null)
            .await
            .code,
        405
    );
    assert_eq!(api.get(&format!("{path}/scale")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let api = Api::new();
    let before = api.0.revision();
    let dry = format!("{WIDGETS}?dryRun=All");
    let made = api.call("POST", &dry, &widget("a", "h")).await;
    assert_eq!((made.code, &made.body["spec"]["size"]), (201, &json!(1)));
    assert_eq!(
        api.call("POST", &dry, &widget("a", "far-too-long"))
            .await
            .code,
        422
    );
    assert_eq!(api.0.revision(), before);
    api.call("POST", WIDGETS, &widget("a", "h")).await;
    assert_eq!(api.call("POST", &dry, &widget("a", "h")).await.code, 409);
    let path = format!("{WIDGETS}/a?dryRun=All");
    assert_eq!(
        api.call("PATCH", &path, &json!({"spec": {"size": 7}}))
            .await
            .body["spec"]["size"],
        7
    );
    assert_eq!(api.call("DELETE", &path, &Value::Null).await.code, 200);
    assert_eq!(
        api.get(&format!("{WIDGETS}/a")).await.body["spec"]["size"],
        1
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
async fn many_are_deleted_at_once() {
    let api = Api::new();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut map = map(name);
        map["metadata"]["labels"] = json!({"app": app});
        api.call("POST", MAPS, &map).await;
    }
    let deleted = api
        .call(
            "DELETE",
            &format!("{MAPS}?labelSelector=app%3Dweb"),
            &Value::Null,
        )
        .await;
    assert_eq!(
        (
            deleted.code,
            deleted.body["items"].as_array().unwrap().len()
        ),
        (200, 2)
    );
    let left = api.get(MAPS).await.body;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
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
