//! Policies in CEL: rules, bindings, parameters and what is said about those who break them.

use serde_json::{Value, json};

use crate::{Api, MAPS, map};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

async fn policy(api: &Api, fields: &Value) {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]});
    let mut spec = json!({"matchConstraints": {"resourceRules": [rule]}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": spec,
    });
    let made = api
        .call(
            "POST",
            &format!("{GROUP}/validatingadmissionpolicies"),
            &policy,
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
}

async fn binding(api: &Api, fields: &Value) {
    let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": spec,
    });
    let made = api
        .call(
            "POST",
            &format!("{GROUP}/validatingadmissionpolicybindings"),
            &binding,
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
}

fn with(a: &str) -> Value {
    let mut map = map("m");
    map["data"]["a"] = a.into();
    map
}

#[tokio::test]
async fn a_rule_counts_once_it_is_bound() {
    let api = Api::new();
    let rules = json!({"validations": [
        {"expression": "object.data.a != 'x'", "message": "not x", "reason": "Forbidden"},
        {"expression": "variables.long", "messageExpression": "'only ' + string(size(object.data.a))"},
    ], "variables": [
        {"name": "n", "expression": "size(object.data.a)"}, {"name": "long", "expression": "variables.n > 2 || oldObject != null"},
    ]});
    policy(&api, &rules).await;
    assert_eq!(
        api.call("POST", MAPS, &with("x")).await.code,
        201,
        "nothing binds it"
    );
    api.call("DELETE", &format!("{MAPS}/m"), &Value::Null).await;
    binding(&api, &Value::Null).await;
    let refused = api.call("POST", MAPS, &with("x")).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (403, &json!("Forbidden"))
    );
    assert_eq!(
        refused.body["message"],
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not x"
    );
    let refused = api.call("POST", MAPS, &with("yy")).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (422, &json!("Invalid"))
    );
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("denied request: only 2"), "{message}");
    assert_eq!(api.call("POST", MAPS, &with("yyy")).await.code, 201);
    let patched = api
        .call("PATCH", &format!("{MAPS}/m"), &json!({"data": {"a": "y"}}))
        .await;
    assert_eq!(patched.code, 200, "there was one before: {}", patched.body);
}

#[tokio::test]
async fn a_binding_may_only_warn_and_narrows() {
    let api = Api::new();
    policy(&api, &json!({"validations": [{"expression": "false"}]})).await;
    let elsewhere =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}});
    binding(
        &api,
        &json!({"validationActions": ["Warn"], "matchResources": elsewhere}),
    )
    .await;
    let made = api.call("POST", MAPS, &with("x")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.warnings.len(), 1, "{:?}", made.warnings);
    assert!(
        made.warnings[0].contains("failed expression: false"),
        "{:?}",
        made.warnings
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    api.call("POST", "/api/v1/namespaces", &namespace).await;
    let made = api
        .call("POST", "/api/v1/namespaces/x/configmaps", &with("x"))
        .await;
    assert_eq!((made.code, made.warnings.len()), (201, 0));
}

#[tokio::test]
async fn rules_may_name_objects_and_except_others() {
    let api = Api::new();
    let rule = |names: &[&str]| json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"], "resourceNames": names}]);
    let constraints =
        json!({"resourceRules": rule(&["m", "n"]), "excludeResourceRules": rule(&["n"])});
    let rules = json!({"matchConstraints": constraints, "validations": [{"expression": "false"}]});
    policy(&api, &rules).await;
    binding(&api, &Value::Null).await;
    for (name, code) in [("m", 422), ("n", 201), ("o", 201)] {
        let made = api.call("POST", MAPS, &map(name)).await;
        assert_eq!(made.code, code, "{name}: {}", made.body);
    }
}

#[tokio::test]
async fn parameters_are_objects() {
    let api = Api::new();
    let rules = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Widget"},
        "validations": [{"expression": "object.data.a == params.spec.host"}],
    });
    policy(&api, &rules).await;
    let by_name = json!({"paramRef": {"name": "w", "parameterNotFoundAction": "Deny"}});
    binding(&api, &by_name).await;
    let refused = api.call("POST", MAPS, &with("h")).await;
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("no params found for policy binding"),
        "{message}"
    );
    api.call("POST", crate::WIDGETS, &crate::widget("w", "h"))
        .await;
    assert_eq!(api.call("POST", MAPS, &with("h")).await.code, 201);
    let other = api
        .call("PATCH", &format!("{MAPS}/m"), &json!({"data": {"a": "i"}}))
        .await;
    assert_eq!(other.code, 422, "{}", other.body);
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused_or_ignored() {
    for (failure, code) in [("Fail", 422), ("Ignore", 201)] {
        let api = Api::new();
        let rules = json!({"failurePolicy": failure, "validations": [{"expression": "object.data.nothing == 'x'"}]});
        policy(&api, &rules).await;
        binding(&api, &Value::Null).await;
        let answer = api.call("POST", MAPS, &with("x")).await;
        assert_eq!(answer.code, code, "{}", answer.body);
    }
}

#[tokio::test]
async fn what_is_no_policy_is_refused_by_field() {
    let api = Api::new();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]});
    let constraints = json!({"resourceRules": [rule]});
    let cases = [
        (
            json!({"validations": [{"expression": "true"}]}),
            "spec.matchConstraints",
        ),
        (json!({"matchConstraints": constraints}), "spec.validations"),
        (
            json!({"matchConstraints": constraints, "validations": [{"expression": "1 +"}]}),
            "spec.validations[0].expression",
        ),
        (
            json!({"matchConstraints": constraints, "validations": [{"expression": "authorizer.group('') != null"}]}),
            "spec.validations[0].expression",
        ),
        (
            json!({"matchConstraints": constraints, "validations": [{"expression": "true", "reason": "Bad"}]}),
            "spec.validations[0].reason",
        ),
        (
            json!({"matchConstraints": constraints, "validations": [{"expression": "true"}], "failurePolicy": "No"}),
            "spec.failurePolicy",
        ),
    ];
    for (spec, field) in cases {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p"}, "spec": spec,
        });
        let path = format!("{GROUP}/validatingadmissionpolicies");
        let refused = api.call("POST", &path, &policy).await;
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
