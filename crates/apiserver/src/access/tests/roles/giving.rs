//! Giving to others, and acting as others.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::{ask, server};
use super::{RBAC, WHOAMI, apply, binding, namespaces, role, rule, user};
use crate::access::Identity;
use crate::server::Server;

const GROUP: &str = "rbac.authorization.k8s.io";
const EVERYTHING: &str = "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";

/// Cy, Bo and Es may write roles and bindings and read pods; Bo may bind `view`, and Es escalate roles.
fn managed() -> Server {
    let server = server();
    namespaces(&server, &["y"]);
    let writes = ["get", "create", "update", "patch"];
    let kinds = [
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
    ];
    let own = json!([
        rule(&writes, &[GROUP], &kinds, &[]),
        rule(&["get", "list"], &[""], &["pods", "secrets"], &[]),
    ]);
    let of = |name: &str, rules: Value| role("ClusterRole", "", name, &rules);
    let bind = rule(&["bind"], &[GROUP], &["clusterroles"], &["view"]);
    apply(
        &server,
        &[
            of("manager", own),
            of("reader", json!([rule(&["get"], &[""], &["pods"], &[])])),
            of("bind", json!([bind])),
            of(
                "escalate",
                json!([rule(&["escalate"], &[GROUP], &["roles"], &[])]),
            ),
            binding("", "all", "ClusterRole/manager", &["cy", "bo", "es"]),
            binding("", "bo", "ClusterRole/bind", &["bo"]),
            binding("", "es", "ClusterRole/escalate", &["es"]),
        ],
    );
    server
}

/// What Cy is told who would give that.
fn lacks(what: &str, rights: &str) -> String {
    let cy = "user \"cy\" (groups=[\"system:authenticated\"])";
    format!(
        "{what} is forbidden: {cy} is attempting to grant RBAC permissions not currently held:\n{rights}"
    )
}

#[tokio::test]
async fn nobody_makes_a_role_of_more_than_he_has() {
    let server = managed();
    let (roles, cluster) = (
        format!("{RBAC}/namespaces/y/roles"),
        format!("{RBAC}/clusterroles"),
    );
    let little = json!([
        rule(&["get"], &[""], &["pods"], &["p"]),
        rule(&["list"], &[""], &["secrets"], &[]),
    ]);
    let much = json!([
        rule(&["get", "list"], &[""], &["nodes", "pods"], &[]),
        rule(&["get"], &["x"], &["a/b"], &["n1", "n2"]),
    ]);
    let lacking = "{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}\n\
        {APIGroups:[\"x\"], Resources:[\"a/b\"], ResourceNames:[\"n1\"], Verbs:[\"get\"]}\n\
        {APIGroups:[\"x\"], Resources:[\"a/b\"], ResourceNames:[\"n2\"], Verbs:[\"get\"]}";
    let mut gathers = role("ClusterRole", "", "agg", &json!([]));
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let gather = "clusterroles.rbac.authorization.k8s.io \"agg\" is forbidden: must have cluster-admin privileges to use \
        the aggregationRule";
    let named = |name: &str, rules: &Value| role("Role", "y", name, rules);
    let more = json!({"metadata": {"labels": {"a": "b"}}});
    let held = json!({"metadata": {"finalizers": ["a.b/c"]}});
    let r9 = format!("{roles}/r9");
    let told = lacks("roles.rbac.authorization.k8s.io \"r9\"", lacking);
    let cases = [
        ("cy", "POST", &roles, named("r", &little), 201, ""),
        ("cy", "POST", &roles, named("r9", &much), 403, &told),
        ("es", "POST", &roles, named("r9", &much), 201, ""),
        ("cy", "POST", &cluster, gathers, 403, gather),
        ("cy", "PATCH", &r9, more, 403, &told),
        ("cy", "PATCH", &r9, held, 200, ""),
    ];
    check(&server, &cases).await;
}

#[tokio::test]
async fn nobody_binds_a_role_of_more_than_he_has() {
    let server = managed();
    let bindings = format!("{RBAC}/namespaces/y/rolebindings");
    let bound = |name: &str, role: &str| binding("y", name, role, &["al"]);
    let told = lacks("rolebindings.rbac.authorization.k8s.io \"all\"", EVERYTHING);
    let missing = "rolebindings.rbac.authorization.k8s.io \"missing\" not found";
    let other = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}});
    let ok = format!("{bindings}/ok");
    let cases = [
        (
            "cy",
            "POST",
            &bindings,
            bound("ok", "ClusterRole/reader"),
            201,
            "",
        ),
        (
            "cy",
            "POST",
            &bindings,
            bound("all", "ClusterRole/cluster-admin"),
            403,
            &told,
        ),
        (
            "cy",
            "POST",
            &bindings,
            bound("none", "ClusterRole/missing"),
            404,
            missing,
        ),
        (
            "bo",
            "POST",
            &bindings,
            bound("view", "ClusterRole/view"),
            201,
            "",
        ),
        (
            "bo",
            "POST",
            &bindings,
            bound("edit", "ClusterRole/edit"),
            403,
            "",
        ),
        ("bo", "PATCH", &ok, other, 422, ""),
    ];
    check(&server, &cases).await;
}

/// One request: who makes it, with what, and the code and, unless that is empty, the message of the answer.
type Case<'a> = (&'a str, &'a str, &'a String, Value, u16, &'a str);

async fn check(server: &Server, cases: &[Case<'_>]) {
    for (name, method, path, body, expected, message) in cases {
        let (code, answer) = ask(server, &user(name, &[]), method, path, body).await;
        assert_eq!(code, *expected, "{name} {method} {path}: {answer}");
        if !message.is_empty() {
            assert_eq!(answer["message"], *message);
        }
    }
}

/// What the headers name, and what is answered to that.
type Acting<'a> = (&'a [(&'a str, &'a str)], u16, Value);

/// Who the server takes somebody for, or why it refuses.
async fn whoami(server: &Server, identity: &Identity, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = http::Request::post(WHOAMI);
    for (name, value) in headers {
        request = request.header(format!("impersonate-{name}"), *value);
    }
    let request = request.body("{}".to_owned()).expect("a request");
    let response = server.serve(identity, request).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    let body: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    match code {
        201 => (code, body["status"]["userInfo"].clone()),
        _ => (code, body["message"].clone()),
    }
}

#[tokio::test]
async fn a_user_acts_as_another_if_he_may() {
    let server = server();
    let rules = json!([
        rule(&["impersonate"], &[""], &["users"], &["bob"]),
        rule(&["impersonate"], &[""], &["groups"], &["g"]),
        rule(
            &["impersonate"],
            &["authentication.k8s.io"],
            &["userextras/a/b"],
            &["v"]
        ),
    ]);
    let act = binding("", "act", "ClusterRole/act", &["cy"]);
    apply(&server, &[role("ClusterRole", "", "act", &rules), act]);
    let info = |name: &str, groups: &[&str]| json!({"username": name, "groups": groups});
    let mut extra = info("bob", &["system:authenticated"]);
    extra["extra"] = json!({"a/b": ["v"]});
    let refused = |what: &str, resource: &str, group: &str| {
        let why =
            format!("User \"cy\" cannot impersonate resource {resource:?} in API group {group:?}");
        Value::from(format!("{what} is forbidden: {why} at the cluster scope"))
    };
    let uids = (
        "uids.authentication.k8s.io \"7\"",
        "uids",
        "authentication.k8s.io",
    );
    let cases: [Acting<'_>; 7] = [
        (&[], 201, info("cy", &["system:authenticated"])),
        (
            &[("user", "bob")],
            201,
            info("bob", &["system:authenticated"]),
        ),
        (
            &[("user", "bob"), ("group", "g")],
            201,
            info("bob", &["g", "system:authenticated"]),
        ),
        (&[("user", "bob"), ("extra-A%2fb", "v")], 201, extra),
        (
            &[("user", "eve")],
            403,
            refused("users \"eve\"", "users", ""),
        ),
        (
            &[("user", "bob"), ("group", "system:masters")],
            403,
            refused("groups \"system:masters\"", "groups", ""),
        ),
        (
            &[("user", "bob"), ("uid", "7")],
            403,
            refused(uids.0, uids.1, uids.2),
        ),
    ];
    for (headers, code, expected) in cases {
        let told = whoami(&server, &user("cy", &[]), headers).await;
        assert_eq!(told, (code, expected), "{headers:?}");
    }
}

#[tokio::test]
async fn who_is_acted_as_has_the_groups_that_it_would_have() {
    let server = server();
    let account = "system:serviceaccount:y:sa";
    let accounts = [
        "system:serviceaccounts",
        "system:serviceaccounts:y",
        "system:authenticated",
    ];
    let info = |name: &str, groups: &[&str]| json!({"username": name, "groups": groups});
    let mut whole = info("a", &["b", "a", "system:authenticated"]);
    whole["uid"] = "7".into();
    let anonymous = "selfsubjectreviews.authentication.k8s.io is forbidden: User \"system:anonymous\" cannot create \
        resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope";
    let nobody =
        "requested to impersonate groups, a uid or extras without impersonating a user name";
    let cases: [Acting<'_>; 5] = [
        (&[("user", account)], 201, info(account, &accounts)),
        (
            &[("user", account), ("group", "z")],
            201,
            info(account, &["z", "system:authenticated"]),
        ),
        (
            &[("user", "a"), ("group", "b"), ("group", "a"), ("uid", "7")],
            201,
            whole,
        ),
        (&[("user", "system:anonymous")], 403, anonymous.into()),
        (&[("group", "g")], 400, nobody.into()),
    ];
    for (headers, code, expected) in cases {
        let told = whoami(&server, &Identity::admin("root"), headers).await;
        assert_eq!(told, (code, expected), "{headers:?}");
    }
}
