//! What the server sees to itself: its own roles, those that are put together, and that rights end in time.

use std::sync::Arc;

use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::{ask, server};
use super::{RBAC, WHOAMI, binding, role, rule, tenants, user};
use crate::access::{Identity, bootstrap};
use crate::boot;
use crate::history::{Change, Event};
use crate::object::Object;
use crate::server::Server;

/// So many bindings a server is meant to hold.
const BINDINGS: usize = 10_000;

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it() {
    let server = tenants();
    let watch = async |name: &str| {
        let path = "/api/v1/namespaces/a/configmaps?watch=true&resourceVersion=0";
        let request = http::Request::get(path).body(String::new());
        let request = request.expect("a request");
        let response = server.serve(&user(name, &[]), request).await;
        assert_eq!(response.status(), 200);
        response.into_body().into_data_stream()
    };
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}});
    let (mut ann, mut vi) = (watch("ann").await, watch("vi").await);
    server.apply(&map("first")).expect("a map");
    assert!(ann.next().await.is_some() && vi.next().await.is_some());
    let right = binding("a", "vi", "ClusterRole/view", &[]);
    server.delete(&right).expect("it was there");
    server.apply(&map("second")).expect("a map");
    assert!(vi.next().await.is_none(), "it ends and shows nothing more");
    assert!(ann.next().await.is_some(), "others go on");
}

/// Whether a role has a rule about that resource.
async fn has(server: &Server, role: &str, resource: &str) -> bool {
    let path = format!("{RBAC}/clusterroles/{role}");
    let (_, role) = ask(server, &Identity::admin("root"), "GET", &path, &Value::Null).await;
    let mut rules = role["rules"].as_array().into_iter().flatten();
    rules.any(|rule| rule["resources"] == json!([resource]))
}

#[tokio::test]
async fn a_role_that_is_put_together_has_the_rules_of_all_it_selects() {
    let server = server();
    let about = |resource: &str| json!([rule(&["get"], &["example.com"], &[resource], &[])]);
    let mut more = role("ClusterRole", "", "more", &about("widgets"));
    more["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    server.apply(&more).expect("a role");
    for role in ["view", "edit", "admin"] {
        assert!(has(&server, role, "widgets").await, "{role}");
    }
    let own = role("ClusterRole", "", "view", &about("gadgets"));
    server.apply(&own).expect("a role");
    assert!(has(&server, "view", "widgets").await);
    assert!(
        !has(&server, "view", "gadgets").await,
        "what it says itself counts for nothing"
    );
    server.delete(&more).expect("it was there");
    for role in ["view", "edit", "admin"] {
        assert!(!has(&server, role, "widgets").await, "{role}");
    }
}

#[tokio::test]
async fn roles_may_select_each_other() {
    let server = server();
    let selects = |name: &str, own: &str, other: &str| {
        let mut role = role("ClusterRole", "", name, &json!([]));
        role["metadata"]["labels"] = json!({own: "true"});
        role["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {other: "true"}}]});
        role
    };
    server.apply(&selects("x", "one", "two")).expect("a role");
    server.apply(&selects("y", "two", "one")).expect("a role");
    let mut leaf = role(
        "ClusterRole",
        "",
        "leaf",
        &json!([rule(&["get"], &[""], &["leaves"], &[])]),
    );
    leaf["metadata"]["labels"] = json!({"one": "true"});
    server.apply(&leaf).expect("a role");
    assert!(has(&server, "x", "leaves").await && has(&server, "y", "leaves").await);
    server.delete(&leaf).expect("it was there");
    assert!(!has(&server, "x", "leaves").await && !has(&server, "y", "leaves").await);
}

#[tokio::test]
async fn a_start_adds_what_is_missing_of_its_roles_and_leaves_the_rest() {
    let server = server();
    let discovery = format!("{RBAC}/clusterroles/system:discovery");
    let basic = format!("{RBAC}/clusterroles/system:basic-user");
    let root = Identity::admin("root");
    let own = json!([{"verbs": ["get"], "nonResourceURLs": ["/mine", "/api"]}]);
    ask(&server, &root, "PATCH", &discovery, &json!({"rules": own})).await;
    let left = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    let mine = json!({"rules": [], "metadata": {"annotations": left}});
    ask(&server, &root, "PATCH", &basic, &mine).await;
    bootstrap::reconcile(&server).expect("it starts");
    let (_, added) = ask(&server, &root, "GET", &discovery, &Value::Null).await;
    let missing = json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]});
    assert_eq!(
        [&added["rules"][0], &added["rules"][1]],
        [&own[0], &missing]
    );
    let (_, left) = ask(&server, &root, "GET", &basic, &Value::Null).await;
    assert_eq!(left["rules"], json!([]));
    let (code, _) = ask(&server, &user("x", &[]), "POST", WHOAMI, &json!({})).await;
    assert_eq!(code, 403, "what was taken away stays so");
    let revision = server.state().revision();
    bootstrap::reconcile(&server).expect("it starts");
    assert_eq!(
        server.state().revision(),
        revision,
        "nothing more is missing"
    );
}

#[tokio::test]
async fn a_tenant_sees_every_kind_of_groma_that_is_in_namespaces() {
    let server = Server::in_memory(api::crds());
    for namespace in ["a", "b"] {
        server
            .apply(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            )
            .expect("one");
    }
    server
        .apply(&binding("a", "vi", "ClusterRole/view", &["vi"]))
        .expect("a binding");
    let registry = server.registry();
    for resource in registry.all().filter(|it| it.group == api::GROUP) {
        let path = |place: &str| format!("/apis/groma.dev/v1alpha1{place}/{}", resource.plural);
        let (own, other, all) = (path("/namespaces/a"), path("/namespaces/b"), path(""));
        let expected: &[(&String, u16)] = match resource.namespaced {
            true => &[(&own, 200), (&other, 403), (&all, 403)],
            false => &[(&all, 403)],
        };
        for (path, expected) in expected {
            let (code, _) = ask(&server, &user("vi", &[]), "GET", path, &Value::Null).await;
            assert_eq!(code, *expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_question_looks_only_at_the_bindings_of_who_asks() {
    let server = server();
    let group = "rbac.authorization.k8s.io";
    let resource = boot::built_in(&server, group, "rolebindings").expect("it is served");
    let authorizer = &server.engine().authorizer;
    for n in 0..BINDINGS {
        let (namespace, name) = (format!("ns{}", n % 100), format!("b{n}"));
        let binding = binding(&namespace, &name, "ClusterRole/view", &[&format!("u{n}")]);
        let object = Object::unwritten(resource.key(&namespace, &name), binding);
        authorizer.follow(&[Arc::new(Event::new(Change::Added, None, Arc::new(object)))]);
    }
    let all_have = 3;
    assert_eq!(
        authorizer.asked(&user("u7", &["team"]), "ns7"),
        all_have + 1
    );
    assert_eq!(authorizer.asked(&user("u7", &["team"]), "ns8"), all_have);
}
