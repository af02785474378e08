//! Server-side apply: who owns what, as clients see it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::definitions::{DEFINITIONS, GADGETS, definition};
use crate::{Answer, Api, MAPS, WIDGETS, map, widget};

async fn apply(api: &Api, path: &str, query: &str, config: &str) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{path}?{query}");
    api.ask("PATCH", &path, &headers, config.to_owned()).await
}

/// Who owns what by the answer: manager, operation, subresource, fields.
fn owners(answer: &Answer) -> Vec<Value> {
    let entries = answer.body["metadata"]["managedFields"].as_array();
    let shown = entries.into_iter().flatten().map(|entry| {
        assert_eq!(entry["fieldsType"], "FieldsV1");
        assert!(entry["time"].is_string(), "{entry}");
        let fields = ["manager", "operation", "subresource", "fieldsV1"];
        Value::Array(fields.map(|field| entry[field].clone()).to_vec())
    });
    shown.collect()
}

/// Lets the clock go on, so that a write would show its time.
async fn later() {
    tokio::time::advance(Duration::from_secs(2)).await;
}

const CONFIG: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {l: x}\ndata:\n  k: one\n";

#[tokio::test]
async fn what_is_applied_is_made_owned_and_left_alone_when_it_is_the_same() {
    let api = Api::new();
    let path = format!("{MAPS}/a");
    let made = apply(&api, &path, "fieldManager=ops", CONFIG).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["data"], json!({"k": "one"}));
    let fields = json!({"f:data": {"f:k": {}}, "f:metadata": {"f:labels": {"f:l": {}}}});
    assert_eq!(owners(&made), [json!(["ops", "Apply", null, fields])]);
    let again = apply(&api, &path, "fieldManager=ops", CONFIG).await;
    assert_eq!(
        (again.code, &again.body),
        (200, &made.body),
        "nothing is written"
    );
    let less = apply(
        &api,
        &path,
        "fieldManager=ops",
        &CONFIG.replace("  k: one", "  j: two"),
    )
    .await;
    assert_eq!(
        less.body["data"],
        json!({"j": "two"}),
        "what is not said any more goes"
    );
}

#[tokio::test(start_paused = true)]
async fn who_applies_empty_labels_owns_them_and_writes_once() {
    let api = Api::new();
    let path = format!("{MAPS}/a");
    apply(
        &api,
        &path,
        "fieldManager=ops",
        &CONFIG.replace("labels: {l: x}", ""),
    )
    .await;
    let empty = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {}}\n";
    let first = apply(&api, &path, "fieldManager=other", empty).await;
    let fields = json!({"f:metadata": {"f:labels": {}}});
    assert!(
        owners(&first).contains(&json!(["other", "Apply", null, fields])),
        "{}",
        first.body
    );
    assert!(first.body["metadata"]["labels"].is_null());
    later().await;
    let again = apply(&api, &path, "fieldManager=other", empty).await;
    assert_eq!(again.body, first.body, "nothing is written");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_completes_is_written_once() {
    let api = Api::new();
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/a";
    let config = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\n\
        roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects: [{kind: User, name: u}]\n";
    apply(&api, path, "fieldManager=ops", config).await;
    let second = apply(&api, path, "fieldManager=ops", config).await;
    assert_eq!(second.code, 200, "{}", second.body);
    later().await;
    let third = apply(&api, path, "fieldManager=ops", config).await;
    assert_eq!(third.body, second.body, "nothing is written");
}

#[tokio::test]
async fn empty_labels_leave_those_that_nobody_owns() {
    let api = Api::new();
    let path = format!("{MAPS}/a");
    apply(&api, &path, "fieldManager=ops", CONFIG).await;
    let owner = json!({"manager": "ops", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:k": {}}}});
    let disowned = json!({"metadata": {"managedFields": [owner]}}).to_string();
    let headers = [("content-type", "application/merge-patch+json")];
    api.ask("PATCH", &path, &headers, disowned).await;
    let empty = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {}}\n";
    for _ in 0..2 {
        let other = apply(&api, &path, "fieldManager=other", empty).await;
        let labels = &other.body["metadata"]["labels"];
        assert_eq!(*labels, json!({"l": "x"}), "{}", other.body);
    }
}

#[tokio::test]
async fn what_another_owns_is_a_conflict_that_names_him() {
    let api = Api::new();
    let path = format!("{MAPS}/a");
    let made = api
        .call("POST", &format!("{MAPS}?fieldManager=hand"), &map("a"))
        .await;
    let fields = json!({"f:data": {".": {}, "f:a": {}}});
    assert_eq!(owners(&made), [json!(["hand", "Update", null, fields])]);
    let other = "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": {\"a\": \"2\"}}";
    let refused = apply(&api, &path, "fieldManager=ops", other).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (409, &json!("Conflict"))
    );
    let message = "Apply failed with 1 conflict: conflict with \"hand\" using v1: .data.a";
    assert_eq!(refused.body["message"], message);
    let cause = json!({
        "reason": "FieldManagerConflict", "field": ".data.a", "message": "conflict with \"hand\" using v1",
    });
    assert_eq!(refused.body["details"]["causes"], json!([cause]));
    let forced = apply(&api, &path, "fieldManager=ops&force=true", other).await;
    assert_eq!(forced.body["data"]["a"], "2");
    let expected = [
        json!(["ops", "Apply", null, {"f:data": {"f:a": {}}}]),
        json!(["hand", "Update", null, {"f:data": {}}]),
    ];
    assert_eq!(owners(&forced), expected);
}

#[tokio::test]
async fn who_applies_what_the_server_completes_writes_it_once() {
    let api = Api::new();
    let config = "apiVersion: example.com/v1\nkind: Widget\nspec: {host: a, size: 2.0}\n";
    let path = format!("{WIDGETS}/w");
    let first = apply(&api, &path, "fieldManager=ops", config).await;
    assert_eq!(first.body["spec"]["size"], 2, "{}", first.body);
    let again = apply(&api, &path, "fieldManager=ops", config).await;
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn ownership_follows_the_form_of_a_kind() {
    let api = Api::new();
    let definition = |map_type: &str| {
        let mut definition = definition(3);
        let labels = json!({"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": map_type});
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"]["properties"]["labels"] = labels;
        definition
    };
    api.call("POST", DEFINITIONS, &definition("granular")).await;
    let path = format!("{GADGETS}/g");
    let config = |label: &str| {
        format!(
            "apiVersion: tools.example.org/v1\nkind: Gadget\nspec: {{labels: {{{label}: x}}}}\n"
        )
    };
    for (who, label) in [("one", "a"), ("two", "b")] {
        let query = format!("fieldManager={who}");
        let applied = apply(&api, &path, &query, &config(label)).await;
        assert!(applied.code < 300, "{}", applied.body);
    }
    let at = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let versions = &definition("atomic")["spec"]["versions"];
    let changed = json!({"spec": {"versions": versions}});
    assert_eq!(api.call("PATCH", &at, &changed).await.code, 200);
    let refused = apply(&api, &path, "fieldManager=one", &config("a")).await;
    assert_eq!(refused.code, 409, "the map belongs to both as a whole");
    let size = json!({"spec": {"size": 1}});
    let patched = api.call("PATCH", &path, &size).await;
    let whole = json!({"f:spec": {"f:labels": {}}});
    assert_eq!(owners(&patched)[0][3], whole, "{}", patched.body);
}

#[tokio::test]
async fn status_is_applied_and_owned_by_itself() {
    let api = Api::new();
    api.call(
        "POST",
        &format!("{WIDGETS}?fieldManager=user"),
        &widget("w", "a"),
    )
    .await;
    let status =
        "apiVersion: example.com/v1\nkind: Widget\nspec: {host: other}\nstatus: {ready: true}\n";
    let path = format!("{WIDGETS}/w/status");
    let applied = apply(&api, &path, "fieldManager=robot", status).await;
    assert_eq!(applied.code, 200, "{}", applied.body);
    assert_eq!(applied.body["status"], json!({"ready": true}));
    assert_eq!(
        applied.body["spec"]["host"], "a",
        "only the status is meant"
    );
    let spec = json!({"f:spec": {".": {}, "f:host": {}, "f:size": {}}});
    let expected = [
        json!(["robot", "Apply", "status", {"f:status": {"f:ready": {}}}]),
        json!(["user", "Update", null, spec]),
    ];
    assert_eq!(owners(&applied), expected);
    let absent = format!("{WIDGETS}/none/status");
    assert_eq!(
        apply(&api, &absent, "fieldManager=robot", status)
            .await
            .code,
        404
    );
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_and_nothing_is_made() {
    let api = Api::new();
    let path = format!("{MAPS}/a");
    let owned = "apiVersion: v1\nkind: ConfigMap\nmetadata: {managedFields: []}\n";
    let cases = [
        ("", CONFIG, 422),
        ("fieldManager=ops", owned, 400),
        ("fieldManager=ops", "kind: [", 400),
        ("fieldManager=ops", "- a\n", 400),
        ("fieldManager=ops", "apiVersion: v1\nkind: Secret\n", 400),
        (
            "fieldManager=ops&fieldValidation=Strict",
            "nonsense: 1\n",
            400,
        ),
        ("fieldManager=ops&force=maybe", CONFIG, 400),
    ];
    let deep = format!("a: {}{}", "[".repeat(1000), "]".repeat(1000));
    let aliases: String = (0..40)
        .map(|n| format!("a{}: &a{0} [*a{n}, *a{n}]\n", n + 1))
        .collect();
    let bomb = format!("a0: &a0 x\n{aliases}");
    for config in [&deep, &bomb] {
        let answer = apply(&api, &path, "fieldManager=ops", config).await;
        assert_eq!(answer.code, 400, "{}", answer.body);
    }
    for (query, config, code) in cases {
        let answer = apply(&api, &path, query, config).await;
        assert_eq!(answer.code, code, "{query} {config}: {}", answer.body);
    }
    let tried = apply(&api, &path, "fieldManager=ops&dryRun=All", CONFIG).await;
    assert_eq!(tried.code, 201);
    assert_eq!(api.get(&path).await.code, 404);
    let forced = api
        .call("PATCH", &format!("{path}?force=true"), &json!({}))
        .await;
    assert_eq!(forced.code, 422, "only who applies may force");
}

#[tokio::test]
async fn a_client_may_give_up_ownership_and_one_without_a_name_has_that_of_its_program() {
    let api = Api::new();
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "robot/1.2 (linux)"),
    ];
    let made = api.ask("POST", MAPS, &headers, map("a").to_string()).await;
    assert_eq!(owners(&made)[0][0], "robot");
    let path = format!("{MAPS}/a");
    let changed = api.call("PATCH", &path, &json!({"data": {"b": "2"}})).await;
    let names: Vec<Value> = owners(&changed)
        .iter()
        .map(|owner| owner[0].clone())
        .collect();
    assert_eq!(names, ["robot", "test"]);
    let nobody = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let freed = api.call("PATCH", &path, &nobody).await;
    assert_eq!(owners(&freed), [Value::Null; 0]);
}
