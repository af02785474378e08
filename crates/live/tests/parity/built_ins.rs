//! Kinds that are there without a definition, through creation, change and refusal.
//!
//! On purpose otherwise: a JSON patch whose `test` fails is told which operation did, and a role without rules has no
//! `rules: null`.

use serde_json::{Value, json};

use crate::pair::Pair;

const CORE: &str = "/api/v1/namespaces/default";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1/namespaces/default";

async fn send(pair: &Pair, method: &str, path: &str, body: &Value) {
    let content_type = match (method, body.is_array()) {
        ("PATCH", true) => "application/json-patch+json",
        ("PATCH", false) => "application/strategic-merge-patch+json",
        _ => "application/json",
    };
    pair.send((method, content_type), path, body).await;
}

/// Creates each of these objects in a collection, good or not.
async fn create(pair: &Pair, collection: &str, kind: (&str, &str), bodies: &[Value]) {
    for body in bodies {
        let mut object = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": {"name": "a"}});
        for (name, field) in body.as_object().into_iter().flatten() {
            object[name] = field.clone();
        }
        send(pair, "POST", collection, &object).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_roles_and_bindings_answer_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let accounts = format!("{CORE}/serviceaccounts");
    let secret = json!({"secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "p"}]});
    create(&pair, &accounts, ("v1", "ServiceAccount"), &[secret]).await;
    let more = json!({"secrets": [{"name": "t"}], "automountServiceAccountToken": false});
    send(&pair, "PATCH", &format!("{accounts}/a"), &more).await;
    let rule = |rule: Value| json!({"rules": [rule]});
    let rules = [
        rule(json!({"verbs": [], "resources": ["pods"]})),
        rule(json!({"verbs": ["get"], "nonResourceURLs": ["/x"]})),
        rule(json!({"verbs": ["get"], "apiGroups": [""]})),
        rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
        ),
    ];
    let version = "rbac.authorization.k8s.io/v1";
    let (own, all) = (
        format!("{RBAC}/namespaces/default/roles"),
        format!("{RBAC}/clusterroles"),
    );
    create(&pair, &own, (version, "Role"), &rules).await;
    create(&pair, &all, (version, "ClusterRole"), &rules).await;
    let role = |kind: &str| json!({"kind": kind, "name": "a"});
    let user = json!({"kind": "User", "name": "u"});
    let account = json!({"kind": "ServiceAccount", "name": "s"});
    let bindings = [
        json!({"roleRef": role("Pod"), "subjects": [user]}),
        json!({"roleRef": role("Role"), "subjects": [{"kind": "Robot", "name": ""}]}),
        json!({"roleRef": role("Role"), "subjects": [account]}),
        json!({"roleRef": role("ClusterRole"), "subjects": [user]}),
    ];
    let own = format!("{RBAC}/namespaces/default/rolebindings");
    create(&pair, &own, (version, "RoleBinding"), &bindings).await;
    create(
        &pair,
        &format!("{RBAC}/clusterrolebindings"),
        (version, "ClusterRoleBinding"),
        &bindings,
    )
    .await;
    let odd = ["tools:reader", "a/b", "..", "A%b"];
    let rules = json!([{"verbs": ["get"], "nonResourceURLs": ["/x"]}]);
    let odd = odd.map(|name| json!({"metadata": {"name": name}, "rules": rules}));
    create(&pair, &all, (version, "ClusterRole"), &odd).await;
    let moved = json!({"roleRef": {"name": "b"}});
    send(&pair, "PATCH", &format!("{own}/a"), &moved).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn network_policies_answer_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let policies = format!("{NETWORKING}/networkpolicies");
    let port = json!({"ports": [{"port": 80}, {"port": "dns", "protocol": "UDP"}]});
    let bodies = [
        json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [port], "egress": [port]}}),
    ];
    create(
        &pair,
        &policies,
        ("networking.k8s.io/v1", "NetworkPolicy"),
        &bodies,
    )
    .await;
    let less = json!([{"op": "remove", "path": "/spec/egress"}, {"op": "add", "path": "/metadata/labels", "value": {"l": "x"}}]);
    send(&pair, "PATCH", &format!("{policies}/a"), &less).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_secrets_and_leases_answer_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let maps = format!("{CORE}/configmaps");
    let data = |data: Value| json!({"data": data});
    let bodies = [
        json!({"metadata": {"name": "A_b"}}),
        json!({"metadata": {"name": "a", "labels": {"k": "not a label!"}}}),
        data(json!({"a": "1"})),
        data(json!({"a": "1"})),
    ];
    create(&pair, &maps, ("v1", "ConfigMap"), &bodies).await;
    send(
        &pair,
        "PATCH",
        &format!("{maps}/a"),
        &json!({"immutable": true}),
    )
    .await;
    send(
        &pair,
        "PATCH",
        &format!("{maps}/a"),
        &data(json!({"b": "2"})),
    )
    .await;
    send(
        &pair,
        "PATCH",
        &format!("{maps}/none"),
        &data(json!({"b": "2"})),
    )
    .await;
    let secrets = format!("{CORE}/secrets");
    let bodies = [
        json!({"stringData": {"a": "x"}, "data": {"b": "eQ=="}}),
        json!({"type": "other"}),
    ];
    create(&pair, &secrets, ("v1", "Secret"), &bodies).await;
    send(
        &pair,
        "PATCH",
        &format!("{secrets}/a"),
        &json!({"stringData": {"a": "z"}}),
    )
    .await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let bodies = [json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 10}})];
    create(&pair, leases, ("coordination.k8s.io/v1", "Lease"), &bodies).await;
    let spec = json!({"spec": {"holderIdentity": "you"}});
    send(&pair, "PATCH", &format!("{leases}/a"), &spec).await;
    for path in [
        format!("{maps}/a"),
        format!("{secrets}/a"),
        format!("{maps}/a"),
    ] {
        send(&pair, "DELETE", &path, &json!({})).await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_answer_alike() {
    const NAMESPACES: &str = "/api/v1/namespaces";
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let spec = |finalizers: &[&str]| json!({"spec": {"finalizers": finalizers}});
    let kind = ("v1", "Namespace");
    let bodies = [spec(&["example.com/a"]), spec(&["a b"])];
    create(&pair, NAMESPACES, kind, &bodies).await;
    let path = format!("{NAMESPACES}/a");
    // What it waits for is said at one place, and everything else at the others.
    send(&pair, "PATCH", &path, &spec(&["example.com/b"])).await;
    let status = json!({"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}, "spec": {"finalizers": []},
        "status": {"conditions": [{"type": "A", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    send(&pair, "PATCH", &format!("{path}/status"), &status).await;
    let finalize = format!("{path}/finalize");
    for finalizers in [
        &["example.com/c", "kubernetes"][..],
        &["a b"],
        &["kubernetes"],
    ] {
        let mut body = spec(finalizers);
        body["apiVersion"] = "v1".into();
        body["kind"] = "Namespace".into();
        body["metadata"] = json!({"name": "a", "annotations": {"e": "f"}});
        body["status"] = json!({"phase": "Terminating"});
        send(&pair, "PUT", &finalize, &body).await;
    }
    for method in ["GET", "PATCH", "POST", "DELETE"] {
        send(&pair, method, &finalize, &json!({})).await;
    }
    pair.finish();
}
