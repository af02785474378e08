//! The protocol as it goes over the wire: requests by method and path, answers by code and document.

use apiserver::store::redb::Redb;
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
        let response = self
            .send(method, path, &[("content-type", content_type)], text)
            .await;
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
    assert_eq!(
        api.call(
            "DELETE",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &Value::Null
        )
        .await
        .code,
        405
    );
    let apply = [("content-type", "application/apply-patch+yaml")];
    assert_eq!(
        api.send("PATCH", &format!("{MAPS}/a"), &apply, "a: 1".to_owned())
            .await
            .status(),
        415
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

#[tokio::test]
async fn a_restart_on_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let storage = Redb::open(&folder.path().join("objects")).expect("a store");
        Api(Server::builder()
            .crds(crds())
            .storage(storage)
            .build()
            .expect("a server"))
    };
    let api = open();
    let writes = (0..200).map(|n| {
        let api = &api;
        async move {
            api.call("POST", WIDGETS, &widget(&format!("w{n}"), "h"))
                .await
                .code
        }
    });
    let codes = futures::future::join_all(writes).await;
    assert!(codes.iter().all(|code| *code == 201));
    api.call("DELETE", &format!("{WIDGETS}/w7"), &Value::Null)
        .await;
    let (before, revision) = (api.0.objects(), api.0.revision());
    drop(api);
    let api = open();
    assert_eq!(api.0.objects(), before);
    assert_eq!(api.0.revision(), revision);
    let old = api
        .watch(&format!("{WIDGETS}?watch=true&resourceVersion=1"))
        .await;
    assert_eq!(
        old[0]["object"]["code"], 410,
        "what was before the restart cannot be watched"
    );
}

#[tokio::test]
async fn an_object_grows_no_larger_than_a_body() {
    let api = Api::new();
    let made = api.call("POST", MAPS, &map("large")).await;
    let path = format!("{MAPS}/large");
    let room = BODY_BYTES_MAX - made.body.to_string().len();
    let grown = |by: usize| json!({"data": {"a": "1".repeat(1 + by)}});
    let refused = api.call("PATCH", &path, &grown(room + 1)).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (413, &json!("RequestEntityTooLarge"))
    );
    let largest = api.call("PATCH", &path, &grown(room)).await;
    assert_eq!(largest.code, 200, "{}", largest.body["message"]);
    let more = json!([{"op": "add", "path": "/data/b", "value": "1"}]);
    assert_eq!(api.call("PATCH", &path, &more).await.code, 413);
    assert_eq!(api.call("DELETE", &path, &Value::Null).await.code, 200);
}

#[tokio::test]
async fn a_collection_is_deleted_page_by_page() {
    let api = Api::new();
    for name in ["a", "b", "c"] {
        api.call("POST", MAPS, &map(name)).await;
    }
    let page = api
        .call("DELETE", &format!("{MAPS}?limit=2"), &Value::Null)
        .await;
    assert_eq!(names(&page.body), ["a", "b"]);
    assert_eq!(names(&api.get(MAPS).await.body), ["c"]);
    let next = page.body["metadata"]["continue"]
        .as_str()
        .expect("there is more");
    let path = format!("{MAPS}?limit=2&continue={next}");
    let page = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(names(&page.body), ["c"]);
    assert_eq!(page.body["metadata"].get("continue"), None);
}

#[tokio::test]
async fn strict_writes_see_metadata_and_patches_too() {
    let api = Api::new();
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1", "controler": true});
    let mut owned = map("a");
    owned["metadata"]["ownerReferences"] = json!([owner]);
    let refused = api.call("POST", &strict, &owned).await;
    let message = refused.body["message"].as_str().expect("a message");
    let unknown = r#"unknown field "metadata.ownerReferences[0].controler""#;
    assert!(message.contains(unknown), "{message}");
    api.call("POST", &strict, &map("a")).await;
    let twice = r#"{"data": {"a": "1", "a": "2"}}"#.to_owned();
    let merge = [("content-type", "application/merge-patch+json")];
    let path = format!("{MAPS}/a?fieldValidation=Strict");
    let refused = api.send("PATCH", &path, &merge, twice.clone()).await;
    assert_eq!(refused.status(), 400);
    let warned = api.send("PATCH", &format!("{MAPS}/a"), &merge, twice).await;
    assert_eq!(warned.status(), 200);
    let warning = r#"299 - "duplicate field \"data.a\"""#;
    assert_eq!(warned.headers()["warning"], warning);
}

#[tokio::test]
async fn stored_objects_follow_their_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |crds| {
        let storage = Redb::open(&folder.path().join("objects")).expect("a store");
        let server = Server::builder().crds(crds).storage(storage).build();
        Api(server.expect("a server"))
    };
    let api = open(crds());
    assert_eq!(api.call("POST", WIDGETS, &widget("a", "h")).await.code, 201);
    drop(api);
    let mut newer = serde_json::to_value(crds()).expect("definitions");
    let fields = "/0/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = newer.pointer_mut(fields).expect("a schema");
    fields["colour"] = json!({"type": "string", "default": "red"});
    fields.as_object_mut().expect("fields").remove("size");
    let api = open(serde_json::from_value(newer).expect("definitions"));
    let path = format!("{WIDGETS}/a");
    let read = api.get(&path).await.body;
    assert_eq!(read["spec"], json!({"host": "h", "colour": "red"}));
    let held = json!({"metadata": {"finalizers": ["a.b/c"]}});
    let held = api.call("PATCH", &path, &held).await.body;
    assert_eq!(
        held["metadata"]["generation"], 1,
        "nobody wants anything else"
    );
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_not_served_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |crds| {
        let storage = Redb::open(&folder.path().join("objects")).expect("a store");
        let server = Server::builder().crds(crds).storage(storage).build();
        Api(server.expect("a server"))
    };
    let api = open(crds());
    let shop = json!({"metadata": {"name": "shop"}});
    api.call("POST", "/api/v1/namespaces", &shop).await;
    let mut held = widget("a", "h");
    held["metadata"]["finalizers"] = json!(["a.b/c"]);
    let widgets = WIDGETS.replace("default", "shop");
    assert_eq!(api.call("POST", &widgets, &held).await.code, 201);
    drop(api);
    let api = open(Vec::new());
    let path = "/api/v1/namespaces/shop";
    assert_eq!(api.call("DELETE", path, &Value::Null).await.code, 200);
    // What an answered write made garbage goes right after it, on the thread of the store.
    for _ in 0..64 {
        if api.get(path).await.code == 404 {
            return;
        }
        let later = json!({"metadata": {"generateName": "m-"}});
        assert_eq!(api.call("POST", MAPS, &later).await.code, 201);
    }
    panic!("the namespace is still there");
}

#[tokio::test]
async fn what_is_immutable_stays_as_it_is() {
    let api = Api::new();
    let secrets = MAPS.replace("configmaps", "secrets");
    let secret = json!({"metadata": {"name": "s"}, "type": "a.b/c", "stringData": {"a": "1"}});
    api.call("POST", &secrets, &secret).await;
    let path = format!("{secrets}/s");
    let other = json!({"type": "a.b/d"});
    assert_eq!(api.call("PATCH", &path, &other).await.code, 422);
    let untyped = json!({"metadata": {"name": "s"}, "stringData": {"a": "2"}});
    let kept = api.call("PUT", &path, &untyped).await;
    assert_eq!((kept.code, &kept.body["type"]), (200, &json!("a.b/c")));
    let fixed = json!({"immutable": true});
    assert_eq!(api.call("PATCH", &path, &fixed).await.code, 200);
    for change in [
        json!({"immutable": false}),
        json!({"immutable": null}),
        json!({"stringData": {"a": "3"}}),
        json!({"data": null}),
    ] {
        let refused = api.call("PATCH", &path, &change).await;
        assert_eq!(refused.code, 422, "{change}: {}", refused.body);
    }
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(api.call("PATCH", &path, &labelled).await.code, 200);
    let mut fixed = map("m");
    fixed["immutable"] = true.into();
    api.call("POST", MAPS, &fixed).await;
    let change = json!({"binaryData": {"b": "MQ=="}});
    let refused = api.call("PATCH", &format!("{MAPS}/m"), &change).await;
    let why = "ConfigMap \"m\" is invalid: binaryData: Forbidden: field is immutable when `immutable` is set";
    assert_eq!(refused.body["message"], why);
}
