//! Webhooks and policies, asked by both servers: what they are sent, and what comes of what they say.
//!
//! On purpose otherwise: how a webhook could not be reached is told in the words of the library that tried, and expressions
//! are checked for what they name, not for the types of it. What replaces an object is shown with its uid and version, whether
//! its writer sent them or not.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::hook::Hook;
use crate::pair::{Pair, hidden};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

async fn send(pair: &Pair, method: &str, path: &str, content_type: &str, body: &Value) {
    pair.send((method, content_type), path, body).await;
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn rules(operations: &[&str]) -> Value {
    json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations}])
}

fn webhook(hook: &Hook, path: &str, operations: &[&str]) -> Value {
    json!({
        "name": format!("{}.hooks.example.org", path.trim_start_matches('/')), "clientConfig": hook.config(path),
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": rules(operations),
        "matchConditions": [{"name": "wanted", "expression": "request.name.startsWith('asked')"}],
    })
}

/// What a review says, without what is different by its nature.
fn told(review: &Value) -> Value {
    let mut request = review["request"].clone();
    for field in ["uid", "userInfo"] {
        request[field] = Value::Null;
    }
    for state in ["object", "oldObject"] {
        if let Some(metadata) = request[state]["metadata"].as_object_mut() {
            metadata.retain(|field, _| {
                !["creationTimestamp", "resourceVersion", "uid"].contains(&field.as_str())
            });
        }
    }
    hidden(request)
}

/// What each of the two servers asked: they have other users.
fn halves(heard: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (mut real, mut ours) = (Vec::new(), Vec::new());
    for review in heard {
        match review["request"]["userInfo"]["username"] == "admin" {
            true => real.push(told(review)),
            false => ours.push(told(review)),
        }
    }
    (real, ours)
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_alike() {
    let Some(mut pair) = Pair::new(&[]).await else {
        return;
    };
    let hook = Hook::start(|path, asked| {
        let request = &asked["request"];
        let mut response = json!({"uid": request["uid"], "allowed": true});
        match path {
            "/changes" => {
                let patch = json!([{"op": "add", "path": "/data/added", "value": "by a webhook"}]);
                response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
                response["patchType"] = "JSONPatch".into();
            }
            _ if request["object"]["data"]["a"] == "bad" => {
                response["allowed"] = false.into();
                response["status"] = json!({"message": "a is bad", "reason": "Invalid", "code": 422,
                    "details": {"causes": [{"field": "data.a", "message": "bad"}]}});
            }
            _ if request["oldObject"]["data"]["keep"] == "me" && request["operation"] == "DELETE" => {
                response["allowed"] = false.into();
            }
            _ => response["warnings"] = json!(["as it was"]),
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let configuration = |kind: &str, webhooks: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "a"}, "webhooks": webhooks});
    let writes = ["CREATE", "UPDATE"];
    let changes = configuration(
        "MutatingWebhookConfiguration",
        json!([webhook(&hook, "/changes", &writes)]),
    );
    let refuses = configuration(
        "ValidatingWebhookConfiguration",
        json!([webhook(&hook, "/refuses", &["*"])]),
    );
    send(
        &pair,
        "POST",
        &format!("{GROUP}/mutatingwebhookconfigurations"),
        JSON,
        &changes,
    )
    .await;
    send(
        &pair,
        "POST",
        &format!("{GROUP}/validatingwebhookconfigurations"),
        JSON,
        &refuses,
    )
    .await;
    let probe = map("asked-first", &json!({"a": "bad"}));
    pair.refuses(&format!("{MAPS}?dryRun=All"), &probe).await;
    hook.heard();

    let asked = format!("{MAPS}/asked");
    send(&pair, "POST", MAPS, JSON, &map("asked", &json!({"a": "1"}))).await;
    send(
        &pair,
        "POST",
        MAPS,
        JSON,
        &map("other", &json!({"a": "bad"})),
    )
    .await;
    send(
        &pair,
        "PATCH",
        &asked,
        MERGE,
        &json!({"data": {"a": "bad"}}),
    )
    .await;
    send(&pair, "PATCH", &asked, MERGE, &json!({"data": {"b": "2"}})).await;
    let applied = map("asked", &json!({"c": "3"}));
    send(
        &pair,
        "PATCH",
        &format!("{asked}?fieldManager=m"),
        APPLY,
        &applied,
    )
    .await;
    send(
        &pair,
        "PATCH",
        &format!("{asked}?fieldManager=m&dryRun=All"),
        APPLY,
        &applied,
    )
    .await;
    let applied = map("asked-too", &json!({"c": "3"}));
    send(
        &pair,
        "PATCH",
        &format!("{MAPS}/asked-too?fieldManager=m"),
        APPLY,
        &applied,
    )
    .await;
    send(
        &pair,
        "PUT",
        &asked,
        JSON,
        &map("asked", &json!({"keep": "me"})),
    )
    .await;
    send(&pair, "DELETE", &asked, "", &Value::Null).await;
    send(
        &pair,
        "PUT",
        &asked,
        JSON,
        &map("asked", &json!({"keep": "no"})),
    )
    .await;
    send(&pair, "DELETE", &asked, "", &Value::Null).await;
    // Both servers must have told the same.
    let (real, ours) = halves(&hook.heard());
    assert!(real.len() > 10, "{real:#?}");
    assert_eq!(real, ours);
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_judge_alike() {
    let Some(mut pair) = Pair::new(&[]).await else {
        return;
    };
    let spec = json!({
        "matchConstraints": {"resourceRules": rules(&["CREATE", "UPDATE"])},
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "c", "expression": "request.name != 'limits'"}],
        "variables": [{"name": "n", "expression": "object.data.a + '.'"}],
        "validations": [
            {"expression": "variables.n <= params.data.max", "messageExpression": "'at most ' + params.data.max"},
            {"expression": "object.data.a != 'x'", "message": "not x", "reason": "Forbidden"},
            {"expression": "oldObject == null || oldObject.data.a != 'a'"},
        ],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": spec,
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"],
            "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}},
    });
    let limits = map("limits", &json!({"max": "y"}));
    send(&pair, "POST", MAPS, JSON, &limits).await;
    send(
        &pair,
        "POST",
        &format!("{GROUP}/validatingadmissionpolicies"),
        JSON,
        &policy,
    )
    .await;
    send(
        &pair,
        "POST",
        &format!("{GROUP}/validatingadmissionpolicybindings"),
        JSON,
        &binding,
    )
    .await;
    let probe = map("first", &json!({"a": "zz"}));
    pair.refuses(&format!("{MAPS}?dryRun=All"), &probe).await;

    for (name, a) in [("one", "zz"), ("two", "x"), ("three", "a")] {
        send(&pair, "POST", MAPS, JSON, &map(name, &json!({"a": a}))).await;
    }
    send(
        &pair,
        "POST",
        MAPS,
        JSON,
        &map("four", &json!({"b": "nothing to measure"})),
    )
    .await;
    let three = format!("{MAPS}/three");
    send(&pair, "PATCH", &three, MERGE, &json!({"data": {"a": "y"}})).await;
    for spec in [
        json!({"matchConstraints": {"resourceRules": rules(&["CREATE"])}, "validations": []}),
        json!({"matchConstraints": {"resourceRules": rules(&["READ"])}, "validations": [{"expression": "true"}]}),
        json!({"validations": [{"expression": "true"}]}),
    ] {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "q"}, "spec": spec,
        });
        send(
            &pair,
            "POST",
            &format!("{GROUP}/validatingadmissionpolicies"),
            JSON,
            &policy,
        )
        .await;
    }
    pair.finish();
}
