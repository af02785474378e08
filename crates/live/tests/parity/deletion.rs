//! Deletion: of many, in each of its ways, and under conditions.
//!
//! A kube-apiserver alone has nobody who collects what a deletion leaves behind, so what is compared is how a deletion is
//! answered, not what comes of it later.
//!
//! On purpose otherwise: a dry run that the query asks for is one, whatever the body says; parameters of the query that
//! are not honoured are refused, as is a version to delete at; items of lists of built-in kinds carry their kind; what is no
//! `DeleteOptions`, and fields of built-in kinds that cannot be selected by, are told in words of our own.

use serde_json::{Map, Value, json};

use crate::pair::{Pair, cups};

const CUPS: &str = "/apis/example.com/v1/namespaces/default/cups";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const POLICIES: [&str; 3] = ["Background", "Foreground", "Orphan"];

async fn pair() -> Option<Pair> {
    let selectable = json!({"selectableFields": [{"jsonPath": ".size"}]});
    Pair::new(&[cups(&selectable)]).await
}

async fn send(pair: &Pair, method: &str, path: &str, body: &Value) {
    pair.send((method, JSON), path, body).await;
}

fn object(collection: &str, name: &str, metadata: &Value) -> Value {
    let (api_version, kind) = match collection {
        CUPS => ("example.com/v1", "Cup"),
        _ => ("v1", "ConfigMap"),
    };
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    object["metadata"]["name"] = name.into();
    object
}

async fn create(pair: &Pair, collection: &str, name: &str, metadata: &Value) {
    let object = object(collection, name, metadata);
    send(pair, "POST", collection, &object).await;
}

async fn delete(pair: &Pair, path: &str, options: &Value) {
    send(pair, "DELETE", path, options).await;
}

async fn get(pair: &Pair, path: &str) {
    send(pair, "GET", path, &Value::Null).await;
}

fn options(fields: &Value) -> Value {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        options[name] = value.clone();
    }
    options
}

/// What holds an object.
fn held() -> Value {
    json!({"finalizers": ["example.com/held"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_alike() {
    let Some(pair) = pair().await else { return };
    for collection in [CUPS, MAPS] {
        for (name, labels) in [
            ("a", json!({"app": "x"})),
            ("b", json!({"app": "y", "tier": "front"})),
            ("c", json!({"app": "x", "tier": "back"})),
            ("d", json!({"app": "z"})),
            ("e", json!({"app": "z"})),
            ("f", json!({"app": "z"})),
        ] {
            create(&pair, collection, name, &json!({"labels": labels})).await;
        }
        let held = json!({"labels": {"app": "held"}, "finalizers": ["example.com/held"]});
        create(&pair, collection, "held", &held).await;
        let left = format!("{collection}?labelSelector=app");
        for (query, fields) in [
            ("labelSelector=app%3Dx&dryRun=All", Value::Null),
            ("labelSelector=app%3Dx", json!({"dryRun": ["All"]})),
            ("labelSelector=app%3Dx,tier", Value::Null),
            ("labelSelector=app%3Dx%3Dy", Value::Null),
            (
                "fieldSelector=metadata.name%3Db",
                json!({"propagationPolicy": "Background"}),
            ),
            ("labelSelector=app%3Dnone", Value::Null),
            ("labelSelector=app%3Dheld", json!({"gracePeriodSeconds": 0})),
            ("labelSelector=app%3Dheld", Value::Null),
            ("labelSelector=app%3Dz&limit=2", Value::Null),
            ("propagationPolicy=Never", Value::Null),
            ("labelSelector=app", json!({"propagationPolicy": "Never"})),
            (
                "labelSelector=app",
                json!({"preconditions": {"uid": "another"}}),
            ),
        ] {
            let body = match fields {
                Value::Null => Value::Null,
                fields => options(&fields),
            };
            delete(&pair, &format!("{collection}?{query}"), &body).await;
            get(&pair, &left).await;
        }
        // Who waits for dependents waits for a collector.
        delete(
            &pair,
            &left,
            &options(&json!({"propagationPolicy": "Foreground"})),
        )
        .await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_is_answered_alike() {
    let Some(pair) = pair().await else { return };
    for (collection, policy) in [CUPS, MAPS]
        .iter()
        .flat_map(|it| POLICIES.map(|policy| (it, policy)))
    {
        let asked = options(&json!({"propagationPolicy": policy}));
        let dry = options(&json!({"propagationPolicy": policy, "dryRun": ["All"]}));
        for (name, metadata) in [("free", json!({})), ("held", held())] {
            let name = format!("{name}-{}", policy.to_lowercase());
            let path = format!("{collection}/{name}");
            create(&pair, collection, &name, &metadata).await;
            delete(&pair, &path, &dry).await;
            delete(
                &pair,
                &format!("{path}?dryRun=All&propagationPolicy={policy}"),
                &Value::Null,
            )
            .await;
            delete(&pair, &path, &asked).await;
            // A collector takes its finalizer off again, where there is one.
            pair.merge(&path, &json!({"metadata": {"finalizers": null}}))
                .await;
            get(&pair, &path).await;
        }
        let path = &format!("{collection}/again");
        create(&pair, collection, "again", &held()).await;
        delete(&pair, path, &Value::Null).await;
        create(&pair, collection, "again", &held()).await;
        delete(
            &pair,
            &format!("{path}?propagationPolicy={policy}"),
            &Value::Null,
        )
        .await;
        pair.merge(path, &json!({"metadata": {"finalizers": null}}))
            .await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_deletion_are_taken_and_refused_alike() {
    let Some(pair) = pair().await else { return };
    for collection in [CUPS, MAPS] {
        let bodies = [
            json!({"orphanDependents": true}),
            json!({"orphanDependents": false}),
            json!({"gracePeriodSeconds": 0}),
            json!({"gracePeriodSeconds": 5}),
            json!({"gracePeriodSeconds": -1}),
            json!({"dryRun": ["all"]}),
            json!({"dryRun": ["All", "All"]}),
            json!({"propagationPolicy": "Never"}),
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            json!({"apiVersion": "example.com/v1"}),
        ];
        for (index, fields) in bodies.iter().enumerate() {
            let name = format!("told-{index}");
            create(&pair, collection, &name, &held()).await;
            delete(&pair, &format!("{collection}/{name}"), &options(fields)).await;
        }
        let queries = [
            "orphanDependents=true",
            "orphanDependents=false",
            "propagationPolicy=Never",
            "propagationPolicy=Orphan&orphanDependents=true",
            "dryRun=all",
            "gracePeriodSeconds=0",
            "gracePeriodSeconds=-1",
        ];
        for (index, query) in queries.iter().enumerate() {
            let name = format!("asked-{index}");
            create(&pair, collection, &name, &held()).await;
            delete(&pair, &format!("{collection}/{name}?{query}"), &Value::Null).await;
        }
        delete(&pair, &format!("{collection}/none"), &Value::Null).await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_a_deletion_count_alike() {
    let Some(pair) = pair().await else { return };
    for collection in [CUPS, MAPS] {
        for (name, metadata) in [("free", json!({})), ("held", held())] {
            let path = &format!("{collection}/{name}");
            create(&pair, collection, name, &metadata).await;
            for conditions in [
                json!({"uid": "another"}),
                json!({"resourceVersion": "1"}),
                json!({"uid": "another", "resourceVersion": "1"}),
            ] {
                let body = options(&json!({"preconditions": conditions}));
                send(&pair, "DELETE", path, &body).await;
            }
            let right = async |fields: &[&str]| {
                let body = |found: &Value| {
                    let named = fields
                        .iter()
                        .map(|field| ((*field).to_owned(), found["metadata"][field].clone()));
                    options(&json!({"preconditions": named.collect::<Map<_, _>>()}))
                };
                pair.compare_each(("DELETE", path), path, body).await;
            };
            right(&["uid", "resourceVersion"]).await;
            // One is gone, the other has a new version.
            right(&["uid"]).await;
        }
    }
    pair.finish();
}
