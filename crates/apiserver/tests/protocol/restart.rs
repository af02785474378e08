//! What is there again after a restart, and in which form.

use std::time::Duration;

use apiserver::Server;
use apiserver::store::redb::Redb;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::definitions::{DEFINITIONS, GADGETS, definition, gadget};
use crate::{Api, MAPS, WIDGETS, crds, names, widget};

/// How long the server may take for what it does on its own.
const LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// A server over the store in that folder.
fn open(folder: &TempDir, crds: Vec<CustomResourceDefinition>) -> Api {
    let storage = Redb::open(&folder.path().join("objects")).expect("a store");
    let server = Server::builder().crds(crds).storage(storage).build();
    Api(server.expect("a server"))
}

/// Waits for what the server does on its own, after it has answered.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let look = async {
        while !holds().await {
            sleep(LOOK).await;
        }
    };
    timeout(LIMIT, look).await.expect("it becomes so in time");
}

#[tokio::test]
async fn a_restart_on_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = open(&folder, crds());
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
    let before = (api.0.objects(), api.0.revision(), past(&api, 0));
    drop(api);
    let api = open(&folder, crds());
    assert_eq!((api.0.objects(), api.0.revision(), past(&api, 0)), before);
}

/// Every kept change after a revision, as who watches is told.
fn past(api: &Api, after: u64) -> Vec<String> {
    let events = api.0.events_since(after).expect("it is kept");
    let told = events.iter().map(|event| {
        let old = event.old.as_ref().map(|old| &*old.value);
        format!(
            "{} {:?} {old:?} {}",
            event.revision, event.change, *event.new.value
        )
    });
    told.collect()
}

#[tokio::test]
async fn who_watched_before_a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = open(&folder, crds());
    let made = api.call("POST", WIDGETS, &widget("a", "h")).await.body;
    let seen = &made["metadata"]["resourceVersion"];
    let moved = json!({"metadata": {"labels": {"at": "i"}}});
    let moved = api.call("PATCH", &format!("{WIDGETS}/a"), &moved).await;
    assert_eq!(moved.code, 200, "{}", moved.body);
    api.call("POST", WIDGETS, &widget("b", "i")).await;
    api.call("DELETE", &format!("{WIDGETS}/b"), &Value::Null)
        .await;
    drop(api);
    let api = open(&folder, crds());
    let seen = seen.as_str().expect("a version");
    let told = async |selector: &str| {
        let path =
            format!("{WIDGETS}?watch=true&resourceVersion={seen}&timeoutSeconds=1{selector}");
        let events = api.watch(&path).await;
        let told = events.iter().map(|event| {
            let name = event["object"]["metadata"]["name"].as_str();
            format!(
                "{} {}",
                event["type"].as_str().unwrap_or_default(),
                name.unwrap_or_default()
            )
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told("").await, ["MODIFIED a", "ADDED b", "DELETED b"]);
    assert_eq!(told("&labelSelector=at%3Di").await, ["ADDED a"]);
    let others = told("&labelSelector=!at").await;
    assert_eq!(others, ["DELETED a", "ADDED b", "DELETED b"]);
    let theirs = told("&fieldSelector=spec.host=i").await;
    assert_eq!(theirs, ["ADDED b", "DELETED b"]);
    // What is forgotten stays forgotten.
    api.0.compact();
    let last = api.call("POST", WIDGETS, &widget("c", "h")).await.body;
    drop(api);
    let api = open(&folder, crds());
    let gone = api
        .watch(&format!("{WIDGETS}?watch=true&resourceVersion={seen}"))
        .await;
    assert_eq!(gone[0]["object"]["code"], 410);
    let last: u64 = last["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .parse()
        .expect("a number");
    assert_eq!(past(&api, last - 1).len(), 1);
}

#[tokio::test]
async fn stored_objects_follow_their_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = open(&folder, crds());
    assert_eq!(api.call("POST", WIDGETS, &widget("a", "h")).await.code, 201);
    drop(api);
    let mut newer = serde_json::to_value(crds()).expect("definitions");
    let fields = "/0/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = newer.pointer_mut(fields).expect("a schema");
    fields["colour"] = json!({"type": "string", "default": "red"});
    fields.as_object_mut().expect("fields").remove("size");
    let api = open(&folder, serde_json::from_value(newer).expect("definitions"));
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
    let api = open(&folder, crds());
    let shop = json!({"metadata": {"name": "shop"}});
    api.call("POST", "/api/v1/namespaces", &shop).await;
    let mut held = widget("a", "h");
    held["metadata"]["finalizers"] = json!(["a.b/c"]);
    let widgets = WIDGETS.replace("default", "shop");
    assert_eq!(api.call("POST", &widgets, &held).await.code, 201);
    drop(api);
    let api = open(&folder, Vec::new());
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
async fn what_a_user_defined_is_served_again_and_a_former_definition_of_the_program_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = open(&folder, crds());
    let made = api.call("POST", DEFINITIONS, &definition(3)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(api.call("POST", GADGETS, &gadget("a", 1)).await.code, 201);
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let mut held = gadget("held", 1);
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    api.call("POST", GADGETS, &held).await;
    drop(api);
    let api = open(&folder, Vec::new());
    assert_eq!(names(&api.get(GADGETS).await.body), ["a", "held"]);
    assert_eq!(api.call("POST", GADGETS, &gadget("b", 9)).await.code, 422);
    assert_eq!(api.get(WIDGETS).await.code, 404);
    let former = format!("{DEFINITIONS}/widgets.example.com");
    assert_eq!(api.get(&former).await.code, 404);
    api.call("DELETE", &path, &Value::Null).await;
    drop(api);
    let api = open(&folder, crds());
    // What was on its way out goes on, and only what is held stays.
    until(async || names(&api.get(GADGETS).await.body) == ["held"]).await;
    let free = json!({"metadata": {"finalizers": null}});
    api.call("PATCH", &format!("{GADGETS}/held"), &free).await;
    until(async || api.get(&path).await.code == 404).await;
}
