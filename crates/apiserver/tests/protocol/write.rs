//! What writes are refused or changed for, beyond their schema.

use apiserver::BODY_BYTES_MAX;
use serde_json::{Value, json};

use crate::{Api, MAPS, WIDGETS, map, names, widget};

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
        spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 0, \
        <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the \
        existing errors to complete validation]";
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
