//! What bounds a tenant: how many objects there may be, and what one of them may ask for.

use apiserver::store::memory::Memory;
use serde_json::{Value, json};

use crate::definitions::DEFINITIONS;
use crate::{Api, MAPS, WIDGETS, map, widget};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const JOBS: &str = "/apis/work.example.org/v1/namespaces/default/jobs";

fn quota(hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}})
}

#[tokio::test]
async fn a_namespace_has_no_more_objects_than_its_quota() {
    let api = Api::new();
    api.call("POST", WIDGETS, &widget("a", "mad")).await;
    api.call("POST", MAPS, &map("a")).await;
    let made = api
        .call(
            "POST",
            QUOTAS,
            &quota(json!({"count/widgets.example.com": "2", "configmaps": "1"})),
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(
        api.call("POST", WIDGETS, &widget("b", "mad")).await.code,
        201
    );
    let dry = format!("{WIDGETS}?dryRun=All");
    for path in [WIDGETS, &dry] {
        let refused = api.call("POST", path, &widget("c", "mad")).await;
        let said = "widgets.example.com \"c\" is forbidden: exceeded quota: few, requested: count/widgets.example.com=1, \
                    used: count/widgets.example.com=2, limited: count/widgets.example.com=2";
        assert_eq!(
            (refused.code, &refused.body["message"]),
            (403, &json!(said))
        );
    }
    let used = api.get(&format!("{QUOTAS}/few")).await.body["status"].clone();
    assert_eq!(
        used["used"],
        json!({"count/widgets.example.com": "2", "configmaps": "1"})
    );
    assert_eq!(
        used["hard"],
        json!({"count/widgets.example.com": "2", "configmaps": "1"})
    );
    assert_eq!(api.call("POST", MAPS, &map("b")).await.code, 403);
    // What is there may change, what goes makes room, and other namespaces have their own.
    let changed = json!({"spec": {"size": 3}});
    let path = format!("{WIDGETS}/a");
    assert_eq!(api.call("PATCH", &path, &changed).await.code, 200);
    assert_eq!(api.call("DELETE", &path, &Value::Null).await.code, 200);
    let used = api.get(&format!("{QUOTAS}/few")).await.body;
    assert_eq!(used["status"]["used"]["count/widgets.example.com"], "1");
    assert_eq!(
        api.call("POST", WIDGETS, &widget("c", "mad")).await.code,
        201
    );
    let other = json!({"metadata": {"name": "other"}});
    api.call("POST", "/api/v1/namespaces", &other).await;
    let elsewhere = WIDGETS.replace("default", "other");
    for name in ["a", "b", "c"] {
        let made = api.call("POST", &elsewhere, &widget(name, "mad")).await;
        assert_eq!(made.code, 201);
    }
}

#[tokio::test]
async fn many_who_create_at_once_get_no_more_than_the_quota() {
    let api = Api::new();
    api.call(
        "POST",
        QUOTAS,
        &quota(json!({"count/widgets.example.com": "7"})),
    )
    .await;
    let names: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let widgets: Vec<Value> = names.iter().map(|name| widget(name, "mad")).collect();
    let creating = widgets
        .iter()
        .map(|widget| api.call("POST", WIDGETS, widget));
    let codes = futures::future::join_all(creating).await;
    let made = codes.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 7);
}

#[tokio::test]
async fn a_quota_names_what_is_counted() {
    let api = Api::new();
    let odd = quota(json!({"requests.cpu": "4", "count/widgets.example.com": "few"}));
    let refused = api.call("POST", QUOTAS, &odd).await;
    let causes = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .clone();
    let fields: Vec<_> = causes
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert_eq!(refused.code, 422);
    assert!(fields.contains(&"spec.hard[requests.cpu]"), "{fields:?}");
    assert!(
        fields.contains(&"spec.hard[count/widgets.example.com]"),
        "{fields:?}"
    );
}

#[tokio::test]
async fn an_object_asks_for_what_its_namespace_allows() {
    let api = Api::new();
    let amounts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "resources": amounts, "note": {"type": "string"},
    }}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "jobs.work.example.org"},
        "spec": {
            "group": "work.example.org", "scope": "Namespaced", "names": {"plural": "jobs", "kind": "Job"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    api.call("POST", DEFINITIONS, &definition).await;
    let job = |name: &str, resources: Value| json!({"apiVersion": "work.example.org/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"resources": resources}});
    let before = api
        .call("POST", JOBS, &job("before", json!({"cpu": "8"})))
        .await;
    assert_eq!(before.code, 201, "{}", before.body);
    api.call("POST", JOBS, &job("silent", json!({}))).await;
    let item = json!({"type": "jobs.work.example.org", "default": {"memory": "1Gi"}, "min": {"cpu": "100m"}, "max": {"cpu": "4"}});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [item]}});
    let made = api.call("POST", LIMITS, &range).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let made = api
        .call("POST", JOBS, &job("a", json!({"cpu": "4000m"})))
        .await
        .body;
    assert_eq!(
        made["spec"]["resources"],
        json!({"cpu": "4000m", "memory": "1Gi"})
    );
    for (asked, why) in [
        (
            json!({"cpu": "4.5"}),
            "maximum cpu usage per jobs.work.example.org is 4, but request is 4500m",
        ),
        (
            json!({"cpu": "50m"}),
            "minimum cpu usage per jobs.work.example.org is 100m, but request is 50m",
        ),
        (
            json!({}),
            "minimum cpu usage per jobs.work.example.org is 100m.  No request is specified",
        ),
    ] {
        let refused = api.call("POST", JOBS, &job("b", asked)).await;
        let message = refused.body["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(refused.code == 403 && message.ends_with(why), "{message}");
    }
    let note = json!({"spec": {"note": "it stays as it is"}});
    for (name, asks) in [("before", json!({"cpu": "8"})), ("silent", json!({}))] {
        let kept = api.call("PATCH", &format!("{JOBS}/{name}"), &note).await;
        assert_eq!(kept.code, 200, "{}", kept.body);
        assert_eq!(kept.body["spec"]["resources"], asks, "of {name}");
    }
    let more = json!({"spec": {"resources": {"cpu": "9"}}});
    assert_eq!(
        api.call("PATCH", &format!("{JOBS}/before"), &more)
            .await
            .code,
        403
    );
}

#[tokio::test]
async fn a_range_names_a_resource() {
    let api = Api::new();
    let item = json!({"type": "Container", "max": {"cpu": "4"}, "defaultRequest": {"cpu": "1"}});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [item]}});
    let refused = api.call("POST", LIMITS, &range).await;
    assert_eq!(refused.code, 422);
    let message = refused.body["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("must be PLURAL.GROUP, such as workloads.groma.dev"),
        "{message}"
    );
}

#[tokio::test]
async fn a_quota_holds_after_a_restart() {
    let memory = Memory::default();
    let build = || {
        let builder = apiserver::Server::builder().crds(crate::crds());
        Api(builder.storage(memory.clone()).build().expect("it starts"))
    };
    let api = build();
    api.call(
        "POST",
        QUOTAS,
        &quota(json!({"count/widgets.example.com": "1"})),
    )
    .await;
    assert_eq!(
        api.call("POST", WIDGETS, &widget("a", "mad")).await.code,
        201
    );
    drop(api);
    assert_eq!(
        build()
            .call("POST", WIDGETS, &widget("b", "mad"))
            .await
            .code,
        403
    );
}
