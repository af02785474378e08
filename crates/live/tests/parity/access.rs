//! Who may do what: the same roles, bindings and users, and the same requests of those users.
//!
//! A kube-apiserver alone puts no roles together, so what is compared of `admin`, `edit` and `view` is what they select;
//! it tells reasons in no order where several bindings give the same right, so each user has one.
//!
//! On purpose otherwise: impersonating without naming a user is told in words of our own; so is a binding of the
//! cluster that names a role of a namespace.

use serde_json::{Value, json};

use crate::pair::{Pair, Step, cups};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
const CUPS: &str = "/apis/example.com/v1/namespaces/default/cups";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: &str, subjects: &[(&str, &str)]) -> Value {
    let (kind, role) = role.split_once('/').expect("a kind and a name");
    let subjects = subjects
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name}));
    json!({"metadata": {"name": name}, "subjects": subjects.collect::<Vec<_>>(),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}})
}

/// Both with the same roles: Ann has rights of many forms in the namespace, Cy writes roles and bindings everywhere.
async fn pair() -> Option<Pair> {
    let mut pair = Pair::new(&[cups(&json!({"subresources": {"status": {}}}))]).await?;
    let local = |kind: &str| format!("{RBAC}/namespaces/default/{kind}");
    let cluster = |kind: &str| format!("{RBAC}/{kind}");
    let some = [
        rule(&["get", "list"], &[""], &["configmaps"], &[]),
        rule(
            &["get", "list", "watch", "delete"],
            &[""],
            &["secrets"],
            &["s"],
        ),
        rule(
            &["update", "patch"],
            &["coordination.k8s.io"],
            &["leases"],
            &[],
        ),
        rule(
            &["create"],
            &["coordination.k8s.io"],
            &["leases"],
            &["mine"],
        ),
        rule(&["get"], &["example.com"], &["*/status"], &[]),
        rule(
            &["create"],
            &["authorization.k8s.io"],
            &["localsubjectaccessreviews"],
            &[],
        ),
    ];
    let writes = ["get", "create", "update", "patch"];
    let kinds = [
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
    ];
    let manager = [
        rule(&writes, &[GROUP], &kinds, &[]),
        rule(&["bind"], &[GROUP], &["clusterroles"], &["view"]),
        rule(&["get", "list"], &[""], &["pods", "secrets"], &[]),
        rule(&["*"], &["*"], &["*/scale"], &[]),
        json!({"verbs": ["get"], "nonResourceURLs": ["/logs/*", "/metrics"]}),
    ];
    let account = ("ServiceAccount", "bot");
    let team = [("User", "ann"), ("Group", "team"), account];
    let made = [
        (local("roles"), role("some", &some)),
        (cluster("clusterroles"), role("manager", &manager)),
        (
            cluster("clusterroles"),
            role("reader", &[rule(&["get"], &[""], &["pods"], &[])]),
        ),
        (local("rolebindings"), binding("some", "Role/some", &team)),
        (
            local("rolebindings"),
            binding("gone", "Role/gone", &[("User", "lost")]),
        ),
        (
            local("rolebindings"),
            binding("gone-too", "ClusterRole/gone", &[("User", "lost-too")]),
        ),
        (
            cluster("clusterrolebindings"),
            binding("cy", "ClusterRole/manager", &[("User", "cy")]),
        ),
    ];
    for (path, body) in made {
        pair.both("POST", &path, &body).await;
    }
    pair.permits(MAPS, &["ann"]).await;
    pair.permits(&format!("{RBAC}/clusterroles/manager"), &["cy"])
        .await;
    Some(pair)
}

/// Requests of users, by their names and groups.
async fn compare(pair: &Pair, cases: &[(&[&str], &str, String, Value)]) {
    for (user, method, path, body) in cases {
        let content_type = match *method {
            "PATCH" => "application/merge-patch+json",
            "APPLY" => "application/apply-patch+yaml",
            _ => "application/json",
        };
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let method = if *method == "APPLY" { "PATCH" } else { method };
        let step = Step {
            method,
            path,
            content_type,
            body,
        };
        pair.compare_acting(&step, user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_of_kubernetes() {
    let Some(pair) = pair().await else { return };
    let text = str::to_owned;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}});
    let lease = |name: &str| {
        let mut lease = lease.clone();
        lease["metadata"] = json!({"name": name});
        lease
    };
    let secrets = "/api/v1/namespaces/default/secrets";
    let ann: &[&str] = &["ann"];
    let bot: &[&str] = &["system:serviceaccount:default:bot"];
    let mut cases = vec![
        (ann, "PUT", format!("{LEASES}/other"), lease("other")),
        (
            ann,
            "APPLY",
            format!("{LEASES}/other?fieldManager=x"),
            lease("other"),
        ),
        (ann, "PUT", format!("{LEASES}/mine"), lease("mine")),
        (ann, "POST", text(LEASES), lease("mine")),
        (ann, "PATCH", format!("{MAPS}/x"), json!({"data": {}})),
        (
            ann,
            "PATCH",
            format!("{CUPS}/x/status"),
            json!({"status": {}}),
        ),
    ];
    for (user, method, path) in [
        (ann, "GET", text(MAPS)),
        (ann, "GET", format!("{MAPS}/x")),
        (ann, "GET", format!("{MAPS}?watch=1")),
        (ann, "GET", text("/api/v1/configmaps")),
        (ann, "GET", text("/api/v1/namespaces/other/configmaps")),
        (ann, "DELETE", text(MAPS)),
        (ann, "DELETE", format!("{MAPS}/x")),
        (ann, "GET", format!("{secrets}/s")),
        (ann, "GET", format!("{secrets}/t")),
        (ann, "GET", text(secrets)),
        (
            ann,
            "GET",
            format!("{secrets}?fieldSelector=metadata.name%3Ds"),
        ),
        (
            ann,
            "GET",
            format!("{secrets}?fieldSelector=metadata.name%3Dt"),
        ),
        (
            ann,
            "GET",
            format!("{secrets}?fieldSelector=metadata.name!%3Dt"),
        ),
        (
            ann,
            "DELETE",
            format!("{secrets}?fieldSelector=metadata.name%3Ds"),
        ),
        (ann, "GET", format!("{CUPS}/x")),
        (ann, "GET", format!("{CUPS}/x/status")),
        (ann, "GET", text("/api/v1/namespaces/default")),
        (ann, "GET", text("/api/v1/namespaces/default/status")),
        (ann, "GET", text("/api/v1/namespaces")),
        (ann, "GET", text("/apis/nothing.example.com/v1/things")),
        (ann, "DELETE", text("/apis/nothing.example.com/v1/things")),
        (
            ann,
            "POST",
            text("/apis/nothing.example.com/v1/namespaces/default/things/a/b"),
        ),
        (ann, "GET", text("/")),
        (ann, "GET", text("/nowhere")),
        (ann, "DELETE", text("/version")),
        (&["lost"], "GET", text(MAPS)),
        (&["eve", "team"], "GET", text(MAPS)),
        (&["team"], "GET", text(MAPS)),
        (bot, "GET", text(MAPS)),
        (bot, "GET", text("/api/v1/namespaces/other/configmaps")),
        (&["cy"], "POST", text("/logs/x")),
        (&["system:anonymous"], "GET", text("/readyz")),
        (&["system:anonymous"], "GET", text("/api")),
        (&["system:anonymous"], "GET", text(MAPS)),
    ] {
        cases.push((user, method, path, Value::Null));
    }
    compare(&pair, &cases).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_what_he_has_not() {
    let Some(pair) = pair().await else { return };
    let local = |kind: &str| format!("{RBAC}/namespaces/default/{kind}");
    let cluster = |kind: &str| format!("{RBAC}/{kind}");
    let cy: &[&str] = &["cy", "grp"];
    let much = [
        rule(&["get", "list"], &[""], &["nodes", "pods"], &[]),
        rule(&["get"], &["x", "y"], &["a/b"], &["n1", "n2"]),
        rule(&["watch", "delete"], &[""], &["pods"], &[]),
    ];
    let paths =
        json!({"verbs": ["get", "post"], "nonResourceURLs": ["/logs/a", "/apis/x", "/metrics"]});
    let covered = [
        rule(&["get"], &[""], &["pods"], &["p"]),
        rule(&["update"], &["apps"], &["deployments/scale"], &[]),
        json!({"verbs": ["get"], "nonResourceURLs": ["/logs/a/*"]}),
    ];
    let mut gathers = role("gathers", &[]);
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let all = "ClusterRole/cluster-admin";
    let bo = [("User", "bo")];
    let bind = |name: &str, role: &str| binding(name, role, &bo);
    let unnamed = json!({"metadata": {"generateName": "r"}, "rules": much});
    let cases = [
        (cy, "POST", local("roles"), role("much", &much)),
        (cy, "POST", cluster("clusterroles"), unnamed),
        (cy, "POST", cluster("clusterroles"), role("paths", &[paths])),
        (
            cy,
            "POST",
            cluster("clusterroles"),
            role("covered", &covered),
        ),
        (
            cy,
            "POST",
            cluster("clusterroles"),
            role("void", &[rule(&[], &[""], &["nodes"], &[])]),
        ),
        (cy, "POST", cluster("clusterroles"), gathers),
        (
            cy,
            "PUT",
            cluster("clusterroles/covered"),
            role("covered", &much),
        ),
        (
            cy,
            "PATCH",
            cluster("clusterroles/covered"),
            json!({"rules": much}),
        ),
        (
            cy,
            "PATCH",
            cluster("clusterroles/cluster-admin"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (cy, "POST", local("rolebindings"), bind("all", all)),
        (cy, "POST", cluster("clusterrolebindings"), bind("all", all)),
        (
            cy,
            "POST",
            local("rolebindings"),
            bind("none", "ClusterRole/missing"),
        ),
        (
            cy,
            "POST",
            local("rolebindings"),
            bind("none", "Role/missing"),
        ),
        (
            cy,
            "POST",
            local("rolebindings"),
            bind("reader", "ClusterRole/reader"),
        ),
        (
            cy,
            "POST",
            local("rolebindings"),
            bind("view", "ClusterRole/view"),
        ),
        (cy, "PUT", local("rolebindings/reader"), bind("reader", all)),
        (
            cy,
            "PUT",
            local("rolebindings/reader"),
            bind("reader", "ClusterRole/view"),
        ),
        (
            cy,
            "PATCH",
            local("rolebindings/some"),
            json!({"subjects": []}),
        ),
    ];
    compare(&pair, &cases).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_and_users_that_are_acted_as_are_those_of_kubernetes() {
    let Some(pair) = pair().await else { return };
    let access = |verb: &str, resource: &str, namespace: &str| json!({"verb": verb, "resource": resource, "namespace": namespace});
    let of = |spec: Value| json!({"spec": spec});
    let own = |asked: Value| of(json!({"resourceAttributes": asked}));
    let about = |user: &str, asked: Value| of(json!({"user": user, "resourceAttributes": asked}));
    let path = |path: &str, verb: &str| json!({"path": path, "verb": verb});
    let [mine, local, others, rules] = [
        "selfsubjectaccessreviews",
        "namespaces/default/localsubjectaccessreviews",
        "subjectaccessreviews",
        "selfsubjectrulesreviews",
    ]
    .map(|kind| format!("{REVIEWS}/{kind}"));
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned();
    let (ann, cy): (&[&str], &[&str]) = (&["ann"], &["cy"]);
    let root: &[&str] = &["root", "system:masters"];
    let account: &[&str] = &["system:serviceaccount:default:bot"];
    let maps = |namespace: &str| access("get", "configmaps", namespace);
    let get = |path: &str| json!({"nonResourceAttributes": {"path": path, "verb": "get"}});
    let cases = [
        (ann, "POST", mine.clone(), own(maps("default"))),
        (ann, "POST", mine.clone(), own(maps("other"))),
        (
            ann,
            "POST",
            mine.clone(),
            own(access("get", "nothings", "default")),
        ),
        (ann, "POST", mine.clone(), of(get("/apis"))),
        (ann, "POST", mine.clone(), of(get("/nothing"))),
        (ann, "POST", mine.clone(), of(json!({}))),
        (cy, "POST", mine.clone(), of(get("/logs/a"))),
        (root, "POST", mine.clone(), own(maps("other"))),
        (&["lost"], "POST", mine, own(maps("default"))),
        (
            account,
            "POST",
            local.clone(),
            about("ann", maps("default")),
        ),
        (ann, "POST", local.clone(), about("ann", maps("other"))),
        (ann, "POST", local.clone(), about("", maps("default"))),
        (
            ann,
            "POST",
            local.clone(),
            of(json!({"user": "a", "nonResourceAttributes": path("/", "get")})),
        ),
        (ann, "POST", local.clone(), of(json!({"user": "a"}))),
        (cy, "POST", local, about("ann", maps("default"))),
        (ann, "POST", others.clone(), about("ann", maps("default"))),
        (root, "POST", others.clone(), about("ann", maps("default"))),
        (
            root,
            "POST",
            others.clone(),
            of(json!({"groups": ["team"], "resourceAttributes": maps("default")})),
        ),
        (root, "POST", others, about("", maps("default"))),
        (ann, "POST", rules.clone(), of(json!({}))),
        (
            &["nobody", "none"],
            "POST",
            rules,
            of(json!({"namespace": ""})),
        ),
        (ann, "POST", whoami.clone(), json!({})),
        (account, "POST", whoami.clone(), json!({})),
        (&["a", "b", "a"], "POST", whoami.clone(), json!({})),
        (
            &["a", "system:unauthenticated"],
            "POST",
            whoami.clone(),
            json!({}),
        ),
        (&["system:anonymous"], "POST", whoami.clone(), json!({})),
        (
            &["system:serviceaccount:default"],
            "POST",
            whoami,
            json!({}),
        ),
    ];
    compare(&pair, &cases).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_has_the_same_roles() {
    let Some(mut pair) = pair().await else { return };
    let roles = [
        "admin",
        "cluster-admin",
        "edit",
        "system:aggregate-to-admin",
        "system:aggregate-to-edit",
        "system:aggregate-to-view",
        "system:auth-delegator",
        "system:basic-user",
        "system:discovery",
        "system:monitoring",
        "system:public-info-viewer",
        "view",
    ];
    for name in roles {
        let path = format!("{RBAC}/clusterroles/{name}");
        let part = match name {
            "admin" | "edit" | "view" => "/aggregationRule",
            _ => "/rules",
        };
        for part in [part, "/metadata/labels", "/metadata/annotations"] {
            pair.compare_part(&path, part).await;
        }
    }
    let bindings = [
        "cluster-admin",
        "system:basic-user",
        "system:discovery",
        "system:monitoring",
        "system:public-info-viewer",
    ];
    for name in bindings {
        let path = format!("{RBAC}/clusterrolebindings/{name}");
        for part in [
            "/roleRef",
            "/subjects",
            "/metadata/labels",
            "/metadata/annotations",
        ] {
            pair.compare_part(&path, part).await;
        }
    }
    pair.finish();
}
