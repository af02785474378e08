//! What roles permit: through requests as users make them.

mod giving;
mod kept;

use serde_json::{Value, json};

use super::{GROUP as GROMA, ask, server};
use crate::access::Identity;
use crate::server::Server;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn user(name: &str, groups: &[&str]) -> Identity {
    Identity::user(name, groups.iter().map(|group| (*group).to_owned()))
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
}

fn role(kind: &str, namespace: &str, name: &str, rules: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
}

/// A user, or a group: `Group/team`.
fn subject(name: &str) -> Value {
    let (kind, name) = name.split_once('/').unwrap_or(("User", name));
    json!({"kind": kind, "name": name})
}

/// A binding of a role, `Role/a` or `ClusterRole/a`, in a namespace or, without one, of the cluster.
fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let (kind, role) = role.split_once('/').expect("a kind and a name");
    let own = match namespace {
        "" => "ClusterRoleBinding",
        _ => "RoleBinding",
    };
    let subjects: Vec<Value> = subjects.iter().map(|name| subject(name)).collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": own, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": subjects,
    })
}

fn apply(server: &Server, objects: &[Value]) {
    for object in objects {
        server.apply(object).expect("an object");
    }
}

fn namespaces(server: &Server, names: &[&str]) {
    for name in names {
        let metadata = json!({"name": name});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        server.apply(&namespace).expect("a namespace");
    }
}

/// A server on which `a` is of a tenant: Ann administers it, Ed edits, Vi looks.
fn tenants() -> Server {
    let server = server();
    namespaces(&server, &["a", "b"]);
    for (name, role) in [("ann", "admin"), ("ed", "edit"), ("vi", "view")] {
        let role = format!("ClusterRole/{role}");
        apply(&server, &[binding("a", name, &role, &[name])]);
    }
    for namespace in ["a", "b"] {
        let metadata = json!({"name": "s", "namespace": namespace});
        apply(
            &server,
            &[json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})],
        );
    }
    server
}

/// Rules of many forms: for Ann, the group `team` and an account in `a`, and of paths for the accounts in `b`.
fn ruled() -> Server {
    let server = server();
    namespaces(&server, &["a", "b"]);
    let rules = json!([
        rule(&["get", "list"], &[""], &["configmaps"], &[]),
        rule(
            &["get", "watch", "list", "delete"],
            &[""],
            &["secrets"],
            &["s"]
        ),
        rule(&["update"], &["coordination.k8s.io"], &["leases"], &[]),
        rule(
            &["create", "update"],
            &["coordination.k8s.io"],
            &["leases"],
            &["mine"]
        ),
        rule(&["get"], &["groma.dev"], &["*/status"], &[]),
        rule(&["deletecollection"], &[""], &["events"], &[]),
    ]);
    let paths = json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]}]);
    let mut some = binding(
        "a",
        "some",
        "Role/some",
        &["ann", "Group/team", "ServiceAccount/bot"],
    );
    let far = json!({"kind": "ServiceAccount", "name": "far", "namespace": "b"});
    let subjects = some["subjects"].as_array_mut().expect("a list");
    subjects.push(far);
    apply(
        &server,
        &[
            role("Role", "a", "some", &rules),
            role("ClusterRole", "", "paths", &paths),
            some,
            binding(
                "",
                "paths",
                "ClusterRole/paths",
                &["Group/system:serviceaccounts:b"],
            ),
        ],
    );
    server
}

#[tokio::test]
async fn a_role_permits_what_its_rules_say() {
    let server = ruled();
    let core = |rest: &str| format!("/api/v1/namespaces/{rest}");
    let lease = |name: &str| format!("/apis/coordination.k8s.io/v1/namespaces/a/leases/{name}");
    let services = |rest: &str| format!("{GROMA}/namespaces/a/services/{rest}");
    let path = str::to_owned;
    let [ann, bot, far, other, eve, team] = [
        user("ann", &[]),
        user("system:serviceaccount:a:bot", &[]),
        user("system:serviceaccount:b:far", &["system:serviceaccounts:b"]),
        user("system:serviceaccount:b:bot", &["system:serviceaccounts:b"]),
        user("eve", &["team"]),
        user("team", &[]),
    ];
    let cases = [
        (&ann, "GET", core("a/configmaps"), 200),
        (&ann, "GET", core("a/configmaps/x"), 404),
        (&ann, "GET", core("a/configmaps?watch=true"), 403),
        (&ann, "GET", core("b/configmaps"), 403),
        (&ann, "GET", path("/api/v1/configmaps"), 403),
        (&ann, "PATCH", core("a/configmaps/x"), 403),
        (&ann, "GET", core("a/secrets/s"), 404),
        (&ann, "GET", core("a/secrets/t"), 403),
        (&ann, "GET", core("a/secrets"), 403),
        (
            &ann,
            "GET",
            core("a/secrets?fieldSelector=metadata.name%3Ds"),
            200,
        ),
        (
            &ann,
            "GET",
            core("a/secrets?fieldSelector=metadata.name!%3Dt"),
            403,
        ),
        (
            &ann,
            "GET",
            core("a/secrets?watch=true&fieldSelector=metadata.name%3Ds"),
            200,
        ),
        (&ann, "DELETE", core("a/secrets/s"), 404),
        (&ann, "DELETE", core("a/secrets"), 403),
        (&ann, "DELETE", core("a/events"), 200),
        (&ann, "PUT", lease("other"), 403),
        (&ann, "PUT", lease("mine"), 201),
        (&ann, "GET", services("x/status"), 404),
        (&ann, "GET", services("x"), 403),
        (
            &ann,
            "GET",
            path("/apis/apps/v1/namespaces/a/nothings"),
            403,
        ),
        (&ann, "GET", path("/metrics"), 403),
        (&bot, "GET", core("a/configmaps"), 200),
        (&far, "GET", core("a/configmaps"), 200),
        (&other, "GET", core("a/configmaps"), 403),
        (&other, "GET", path("/metrics"), 200),
        (&other, "GET", path("/logs/x"), 404),
        (&other, "GET", path("/log"), 403),
        (&other, "POST", path("/metrics"), 403),
        (&eve, "GET", core("a/configmaps"), 200),
        (&team, "GET", core("a/configmaps"), 403),
        (&Identity::anonymous(), "GET", path("/version"), 200),
        (&Identity::anonymous(), "GET", path("/api"), 403),
        (&Identity::admin("root"), "GET", core("b/secrets"), 200),
    ];
    for (identity, method, path, expected) in cases {
        let body = match method {
            "PUT" => json!({"spec": {}}),
            "PATCH" => json!({}),
            _ => Value::Null,
        };
        let (code, answer) = ask(&server, identity, method, &path, &body).await;
        assert_eq!(
            code, expected,
            "{} {method} {path}: {answer}",
            identity.name
        );
    }
}

#[tokio::test]
async fn a_refusal_says_what_kubernetes_says() {
    let server = tenants();
    apply(&server, &[binding("a", "x", "Role/nope", &["lost"])]);
    let cases = [
        (
            ("x", "GET", "/api/v1/namespaces/y/secrets"),
            "secrets is forbidden: User \"x\" cannot list resource \"secrets\" in API group \"\" in the namespace \"y\"",
        ),
        (
            ("x", "GET", "/api/v1/namespaces/y"),
            "namespaces \"y\" is forbidden: User \"x\" cannot get resource \"namespaces\" in API group \"\" in the \
                namespace \"y\"",
        ),
        (
            ("x", "PATCH", "/apis/foo.bar/v1/things/a/status"),
            "things.foo.bar \"a\" is forbidden: User \"x\" cannot patch resource \"things/status\" in API group \
                \"foo.bar\" at the cluster scope",
        ),
        (
            ("x", "POST", "/foo/bar"),
            "forbidden: User \"x\" cannot post path \"/foo/bar\"",
        ),
        (
            ("lost", "GET", "/api/v1/namespaces/a/pods"),
            "pods is forbidden: User \"lost\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\": \
                RBAC: role.rbac.authorization.k8s.io \"nope\" not found",
        ),
    ];
    for ((name, method, path), expected) in cases {
        let (code, answer) = ask(&server, &user(name, &[]), method, path, &Value::Null).await;
        assert_eq!(
            (code, &answer["message"]),
            (403, &expected.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_tenant_keeps_to_his_namespace() {
    let server = tenants();
    let none = Value::Null;
    let service = json!({"metadata": {"name": "x"}, "spec": {}});
    let services = |namespace: &str| format!("{GROMA}/namespaces/{namespace}/services");
    let core = |rest: &str| format!("/api/v1/namespaces{rest}");
    let bindings = |namespace: &str| format!("{RBAC}/namespaces/{namespace}/rolebindings");
    let instances = |rest: &str| format!("{GROMA}/namespaces/a/instances{rest}");
    let map = json!({"metadata": {"name": "m"}});
    let bind = json!({"metadata": {"name": "more"}, "subjects": [subject("new")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let cases = [
        ("ann", "POST", services("a"), &service, 201),
        ("ann", "POST", services("b"), &service, 403),
        ("ann", "GET", core("/a/secrets/s"), &none, 200),
        ("ann", "GET", core("/b/secrets/s"), &none, 403),
        ("ann", "GET", "/api/v1/secrets".to_owned(), &none, 403),
        ("ann", "GET", core("/a"), &none, 200),
        ("ann", "GET", core(""), &none, 403),
        ("ann", "DELETE", core("/a"), &none, 403),
        ("ann", "GET", format!("{GROMA}/hosts"), &none, 403),
        ("ann", "PATCH", instances("/i/status"), &none, 403),
        ("ann", "POST", instances(""), &service, 403),
        ("ann", "POST", bindings("a"), &bind, 201),
        ("ann", "POST", bindings("b"), &bind, 403),
        (
            "ann",
            "POST",
            format!("{RBAC}/clusterrolebindings"),
            &bind,
            403,
        ),
        ("new", "GET", services("a"), &none, 200),
        ("ed", "GET", services("a"), &none, 200),
        ("ed", "POST", core("/a/configmaps"), &map, 201),
        ("ed", "GET", core("/a/secrets"), &none, 200),
        ("ed", "POST", bindings("a"), &bind, 403),
        ("vi", "GET", services("a"), &none, 200),
        ("vi", "GET", core("/a/configmaps/m"), &none, 200),
        ("vi", "GET", core("/a/secrets"), &none, 403),
        ("vi", "DELETE", format!("{}/x", services("a")), &none, 403),
        ("ed", "DELETE", format!("{}/x", services("a")), &none, 200),
    ];
    for (name, method, path, body, expected) in cases {
        let (code, answer) = ask(&server, &user(name, &[]), method, &path, body).await;
        assert_eq!(code, expected, "{name} {method} {path}: {answer}");
    }
}

#[tokio::test]
async fn reviews_say_what_requests_would_meet() {
    let server = tenants();
    let access = |verb: &str, resource: &str, namespace: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace}}});
    let of = |mut review: Value, user: &str| {
        review["spec"]["user"] = user.into();
        review
    };
    let own = format!("{REVIEWS}/selfsubjectaccessreviews");
    let others = format!("{REVIEWS}/subjectaccessreviews");
    let local = format!("{REVIEWS}/namespaces/a/localsubjectaccessreviews");
    let by = "RBAC: allowed by RoleBinding \"vi/a\" of ClusterRole \"view\" to User \"vi\"";
    let (yes, no) = (
        json!({"allowed": true, "reason": by}),
        json!({"allowed": false}),
    );
    let secrets = |namespace: &str| access("get", "secrets", namespace);
    let cases = [
        ("vi", &own, access("get", "configmaps", "a"), 201, &yes),
        ("vi", &own, access("get", "configmaps", "b"), 201, &no),
        ("vi", &own, secrets("a"), 201, &no),
        ("vi", &others, of(secrets("a"), "ann"), 403, &Value::Null),
        ("vi", &local, of(secrets("a"), "ann"), 403, &Value::Null),
        (
            "ann",
            &local,
            of(access("get", "configmaps", "a"), "vi"),
            201,
            &yes,
        ),
        ("ann", &local, of(secrets("a"), "vi"), 201, &no),
        ("ann", &local, of(secrets("b"), "vi"), 422, &Value::Null),
        ("ann", &local, secrets("a"), 422, &Value::Null),
        ("ann", &others, of(secrets("a"), "vi"), 403, &Value::Null),
    ];
    for (name, path, review, expected, status) in cases {
        let (code, answer) = ask(&server, &user(name, &[]), "POST", path, &review).await;
        assert_eq!(code, expected, "{name} {path} {review}: {answer}");
        if expected == 201 {
            assert_eq!(&answer["status"], status, "{name} {path} {review}");
        }
    }
}

#[tokio::test]
async fn a_user_is_told_all_that_he_may_do() {
    let rules = format!("{REVIEWS}/selfsubjectrulesreviews");
    let asked = json!({"spec": {"namespace": "b"}});
    let (_, answer) = ask(&tenants(), &user("vi", &[]), "POST", &rules, &asked).await;
    let status = &answer["status"];
    let resources = status["resourceRules"].as_array().expect("rules").iter();
    let resources: Vec<&Value> = resources.map(|rule| &rule["resources"]).collect();
    let reviews = json!(["selfsubjectaccessreviews", "selfsubjectrulesreviews"]);
    assert_eq!(resources, [&reviews, &json!(["selfsubjectreviews"])]);
    assert_eq!(status["nonResourceRules"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["incomplete"], false);
}
