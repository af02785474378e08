//! Who is asked before a write: webhooks that change and refuse, and what happens when they hang, lie or are not there.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::hook::Hook;
use crate::{Api, MAPS, WIDGETS, map, names, widget};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// Answers as its path says.
async fn hook() -> Hook {
    Hook::start(|path, asked| {
        let request = &asked["request"];
        let mut response = json!({"uid": request["uid"], "allowed": true});
        let patch = |operations: Value| json!(ByteString(operations.to_string().into_bytes()));
        match path {
            "/silent" => return Value::Null,
            "/garbled" => return json!("no review"),
            "/denies" => {
                response["allowed"] = false.into();
                response["status"] = json!({"message": "not here", "reason": "Forbidden", "code": 403});
            }
            "/denies-quietly" => response["allowed"] = false.into(),
            "/mistaken" => response["uid"] = "another".into(),
            "/denies-with-nulls" => {
                response["allowed"] = false.into();
                response["status"] = json!({"code": 403, "message": "no", "reason": null, "details": null});
                (response["patch"], response["patchType"]) = (json!("bm8="), "JSONPatch".into());
            }
            "/moves" | "/renames" => {
                let field = path.replace("/moves", "namespace").replace("/renames", "name");
                let path = format!("/metadata/{field}");
                let change = json!([{"op": "add", "path": path, "value": "other"}]);
                (response["patch"], response["patchType"]) = (patch(change), "JSONPatch".into());
            }
            "/replaces" => {
                let change = json!([{"op": "replace", "path": "", "value": "x"}]);
                (response["patch"], response["patchType"]) = (patch(change), "JSONPatch".into());
            }
            "/undecided" => response["patch"] = patch(json!([])),
            "/impossible" => {
                let remove = json!([{"op": "remove", "path": "/spec/nothing"}]);
                (response["patch"], response["patchType"]) = (patch(remove), "JSONPatch".into());
            }
            "/warns" => response["warnings"] = json!(["old ways"]),
            // Adds its letter to a list of letters, unless that ends with it.
            letter => {
                let letter = letter.trim_start_matches('/');
                let labels = &request["object"]["metadata"]["labels"];
                let seen = labels["seen"].as_str().unwrap_or_default();
                if !seen.ends_with(letter) {
                    let labels = json!({"seen": format!("{seen}{letter}")});
                    let change = json!([{"op": "add", "path": "/metadata/labels", "value": labels}]);
                    (response["patch"], response["patchType"]) = (patch(change), "JSONPatch".into());
                }
            }
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await
}

fn rule(group: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["*"]})
}

/// A webhook by its path, about ConfigMaps, with more fields.
fn asking(hook: &Hook, path: &str, fields: &Value) -> Value {
    let mut webhook = json!({
        "name": format!("{}.hooks.example.org", path.trim_start_matches('/')), "clientConfig": hook.config(path),
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule("", "configmaps")],
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        webhook[field] = value.clone();
    }
    webhook
}

/// Configures webhooks under a name: `Mutating` or `Validating`.
async fn ask(api: &Api, kind: &str, name: &str, webhooks: &[Value]) {
    let collection = format!("{GROUP}/{}webhookconfigurations", kind.to_lowercase());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": webhooks,
    });
    let made = api.call("POST", &collection, &configuration).await;
    assert_eq!(made.code, 201, "{}", made.body);
}

#[tokio::test]
async fn webhooks_change_what_is_written_and_see_what_becomes_of_it() {
    let (api, hook) = (Api::new(), hook().await);
    let mut writes = rule("", "configmaps");
    writes["operations"] = json!(["CREATE", "UPDATE"]);
    let changes = asking(&hook, "/a", &json!({"rules": [writes]}));
    ask(&api, "Mutating", "m", &[changes]).await;
    let warns = asking(&hook, "/warns", &Value::Null);
    ask(&api, "Validating", "v", &[warns]).await;
    let made = api.call("POST", MAPS, &map("one")).await;
    assert_eq!(
        (made.code, &made.body["metadata"]["labels"]["seen"]),
        (201, &json!("a"))
    );
    assert_eq!(made.warnings, ["299 - \"old ways\""]);
    let heard = hook.heard();
    let [first, second] = heard.as_slice() else {
        panic!("two are asked: {heard:?}");
    };
    let request = &first["request"];
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(
        (&request["name"], &request["namespace"]),
        (&json!("one"), &json!("default"))
    );
    assert_eq!(request["userInfo"]["username"], "test");
    assert_eq!(
        (&request["oldObject"], &request["dryRun"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(request["object"]["data"]["a"], "1");
    assert_eq!(
        second["request"]["object"]["metadata"]["labels"]["seen"],
        "a"
    );
    assert_eq!(
        second["request"]["object"]["metadata"]["uid"],
        made.body["metadata"]["uid"]
    );
    let one = format!("{MAPS}/one");
    let patched = api.call("PATCH", &one, &json!({"data": {"a": "2"}})).await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    let heard = hook.heard();
    assert_eq!(heard[0]["request"]["operation"], "UPDATE");
    assert_eq!(heard[0]["request"]["oldObject"]["data"]["a"], "1");
    assert_eq!(heard[0]["request"]["options"]["kind"], "UpdateOptions");
    let tried = api
        .call("POST", &format!("{MAPS}?dryRun=All"), &map("two"))
        .await;
    assert_eq!(
        (tried.code, &tried.body["metadata"]["labels"]["seen"]),
        (201, &json!("a"))
    );
    assert_eq!(hook.heard()[0]["request"]["dryRun"], true);
    let deleted = api.call("DELETE", &one, &Value::Null).await;
    assert_eq!((deleted.code, deleted.warnings.len()), (200, 1));
    let heard = hook.heard();
    assert_eq!(heard[0]["request"]["operation"], "DELETE");
    assert_eq!(heard[0]["request"]["object"], Value::Null);
    assert_eq!(heard[0]["request"]["oldObject"]["data"]["a"], "2");
}

#[tokio::test]
async fn an_earlier_webhook_sees_what_a_later_one_changed_if_it_wants() {
    let (api, hook) = (Api::new(), hook().await);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let webhooks = [
        asking(&hook, "/a", &again),
        asking(&hook, "/b", &Value::Null),
        asking(&hook, "/c", &again),
    ];
    ask(&api, "Mutating", "m", &webhooks).await;
    let made = api.call("POST", MAPS, &map("one")).await;
    // a, b, c; then a again, because b and c changed what it had seen.
    assert_eq!(made.body["metadata"]["labels"]["seen"], "abca");
    assert_eq!(hook.heard().len(), 4);
}

#[tokio::test]
async fn only_what_a_webhook_is_about_is_asked() {
    let (api, hook) = (Api::new(), hook().await);
    let node =
        |expression: &str| json!({"matchConditions": [{"name": "c", "expression": expression}]});
    let webhooks = [
        asking(&hook, "/other", &json!({"rules": [rule("", "secrets")]})),
        asking(
            &hook,
            "/cluster",
            &json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"], "scope": "Cluster"}]}),
        ),
        asking(
            &hook,
            "/labelled",
            &json!({"objectSelector": {"matchLabels": {"ask": "me"}}}),
        ),
        asking(
            &hook,
            "/elsewhere",
            &json!({"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}}),
        ),
        asking(
            &hook,
            "/condition",
            &node("object.data.a == '2' && request.operation == 'CREATE'"),
        ),
        asking(
            &hook,
            "/status",
            &json!({"rules": [rule("example.com", "widgets/status")]}),
        ),
    ];
    ask(&api, "Mutating", "m", &webhooks).await;
    api.call("POST", MAPS, &map("one")).await;
    assert_eq!(hook.heard().len(), 0, "it is about none of this");
    let mut two = map("two");
    two["metadata"]["labels"] = json!({"ask": "me"});
    two["data"]["a"] = "2".into();
    let made = api.call("POST", MAPS, &two).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(hook.heard().len(), 2);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    api.call("POST", "/api/v1/namespaces", &namespace).await;
    assert_eq!(hook.heard().len(), 1);
    api.call("POST", "/api/v1/namespaces/x/configmaps", &map("one"))
        .await;
    assert_eq!(hook.heard().len(), 1);
    api.call("POST", WIDGETS, &widget("w", "h")).await;
    assert_eq!(hook.heard().len(), 0);
    let ready = json!({"status": {"ready": true}});
    let patched = api
        .call("PATCH", &format!("{WIDGETS}/w/status"), &ready)
        .await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    let heard = hook.heard();
    assert_eq!(heard[0]["request"]["subResource"], "status");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_webhook() {
    let (api, hook) = (Api::new(), hook().await);
    ask(
        &api,
        "Validating",
        "v",
        &[asking(&hook, "/denies", &Value::Null)],
    )
    .await;
    let refused = api.call("POST", MAPS, &map("one")).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (403, &json!("Forbidden"))
    );
    assert_eq!(
        refused.body["message"],
        "admission webhook \"denies.hooks.example.org\" denied the request: not here"
    );
    assert!(
        names(&api.get(MAPS).await.body).is_empty(),
        "nothing is left of it"
    );
    let path = format!("{GROUP}/validatingwebhookconfigurations/v");
    let quiet = asking(&hook, "/denies-quietly", &Value::Null);
    let changed = api
        .call("PATCH", &path, &json!({"webhooks": [quiet]}))
        .await;
    assert_eq!(
        changed.code, 200,
        "who is asked is not asked about: {}",
        changed.body
    );
    let refused = api.call("POST", MAPS, &map("one")).await;
    assert_eq!(
        (refused.code, &refused.body["message"]),
        (
            400,
            &json!(
                "admission webhook \"denies-quietly.hooks.example.org\" denied the request without explanation"
            )
        )
    );
    api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(api.call("POST", MAPS, &map("one")).await.code, 201);
}

#[tokio::test]
async fn a_webhook_that_hangs_or_lies_stops_the_write_or_nothing() {
    let (api, hook) = (Api::new(), hook().await);
    let gone = json!({"clientConfig": {"url": "https://127.0.0.1:1/"}});
    let stranger = {
        let mut config = hook.config("/a");
        config["caBundle"] = crate::hook::Hook::start(|_, _| Value::Null)
            .await
            .config("/")["caBundle"]
            .clone();
        json!({"clientConfig": config})
    };
    let cases = [
        (
            "/silent",
            json!({"timeoutSeconds": 1}),
            "context deadline exceeded",
        ),
        (
            "/garbled",
            Value::Null,
            "expected webhook response of admission.k8s.io/v1",
        ),
        ("/mistaken", Value::Null, "expected response.uid="),
        (
            "/undecided",
            Value::Null,
            "webhook returned response.patch but not response.patchType",
        ),
        ("/a", gone, "Connection refused"),
        ("/a", stranger, "invalid peer certificate"),
    ];
    let path = format!("{GROUP}/mutatingwebhookconfigurations/m");
    for (index, (lie, fields, expected)) in cases.iter().enumerate() {
        let mut webhook = asking(&hook, lie, fields);
        ask(&api, "Mutating", "m", std::slice::from_ref(&webhook)).await;
        let refused = api.call("POST", MAPS, &map("one")).await;
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert_eq!(refused.code, 500, "{lie}: {}", refused.body);
        let begins = "Internal error occurred: failed calling webhook";
        assert!(
            message.starts_with(begins) && message.contains(expected),
            "{lie}: {message}"
        );
        webhook["failurePolicy"] = "Ignore".into();
        api.call("PATCH", &path, &json!({"webhooks": [webhook]}))
            .await;
        let made = api.call("POST", MAPS, &map(&format!("m{index}"))).await;
        assert_eq!(made.code, 201, "{lie}: {}", made.body);
        api.call("DELETE", &path, &Value::Null).await;
    }
    ask(
        &api,
        "Mutating",
        "m",
        &[asking(
            &hook,
            "/impossible",
            &json!({"failurePolicy": "Ignore"}),
        )],
    )
    .await;
    let refused = api.call("POST", MAPS, &map("one")).await;
    assert_eq!(
        refused.code, 500,
        "a patch that fails is not ignored: {}",
        refused.body
    );
}

#[tokio::test]
async fn a_denial_stands_however_it_is_written() {
    let (api, hook) = (Api::new(), hook().await);
    let lenient = json!({"failurePolicy": "Ignore"});
    let denies = asking(&hook, "/denies-with-nulls", &lenient);
    ask(&api, "Mutating", "m", &[denies]).await;
    let refused = api.call("POST", MAPS, &map("one")).await;
    assert_eq!(refused.code, 403, "{}", refused.body);
}

#[tokio::test]
async fn no_webhook_makes_another_object_of_it() {
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", MAPS, &map("one")).await;
    let path = format!("{GROUP}/mutatingwebhookconfigurations/m");
    for (change, created, replaced) in [
        ("/moves", 422, 422),
        ("/renames", 201, 422),
        ("/replaces", 500, 500),
    ] {
        let changes = asking(&hook, change, &Value::Null);
        ask(&api, "Mutating", "m", &[changes]).await;
        let made = api.call("POST", MAPS, &map("two")).await;
        assert_eq!(made.code, created, "{change}: {}", made.body);
        let put = api.call("PUT", &format!("{MAPS}/one"), &map("one")).await;
        assert_eq!(put.code, replaced, "{change}: {}", put.body);
        api.call("DELETE", &path, &Value::Null).await;
    }
    let there = api.get(MAPS).await;
    assert_eq!(names(&there.body), ["one", "other"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_field() {
    let (api, hook) = (Api::new(), hook().await);
    let cases = [
        (json!({"name": "short"}), "webhooks[0].name"),
        (json!({"sideEffects": "Some"}), "webhooks[0].sideEffects"),
        (json!({"timeoutSeconds": 31}), "webhooks[0].timeoutSeconds"),
        (
            json!({"failurePolicy": "Maybe"}),
            "webhooks[0].failurePolicy",
        ),
        (
            json!({"admissionReviewVersions": ["v9"]}),
            "webhooks[0].admissionReviewVersions",
        ),
        (
            json!({"clientConfig": {"url": "http://a/"}}),
            "webhooks[0].clientConfig.url",
        ),
        (
            json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["READ"]}]}),
            "webhooks[0].rules[0].operations[0]",
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "object."}]}),
            "webhooks[0].matchConditions[0].expression",
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "objekt.x"}]}),
            "webhooks[0].matchConditions[0].expression",
        ),
        (
            json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
            "webhooks[0].objectSelector",
        ),
    ];
    for (fields, field) in cases {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "v"}, "webhooks": [asking(&hook, "/a", &fields)],
        });
        let path = format!("{GROUP}/validatingwebhookconfigurations");
        let refused = api.call("POST", &path, &configuration).await;
        assert_eq!(refused.code, 422, "{field}: {}", refused.body);
        let causes = refused.body["details"]["causes"]
            .as_array()
            .expect("causes");
        assert!(
            causes.iter().any(|cause| cause["field"] == field),
            "{field}: {causes:?}"
        );
    }
}
