//! Watches: where they start, what they tell, and when they end.

use apiserver::WATCH_BUFFER_EVENTS;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{Api, MAPS, map};

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
