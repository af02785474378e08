//! What writes are refused or changed for, beyond their schema.

use apiserver::BODY_BYTES_MAX;
use serde_json::{Value, json};

use crate::{Api, MAPS, map, names};

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
