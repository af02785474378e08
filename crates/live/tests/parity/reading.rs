//! Reading: lists, pages, selectors, metadata alone, tables, reviews of oneself, and what cannot be read.
//!
//! On purpose otherwise: items of lists of built-in kinds carry their kind, empty `continue` and `details` are left out, what
//! is no number or no token of ours is refused in words of our own, and HEAD is answered everywhere, not for some paths only.

use apiserver::Server;
use live::kubernetes::ApiServer;
use serde_json::{Value, json};

use crate::pair::{Pair, Step, cups};

const CUPS: &str = "/apis/example.com/v1/namespaces/default/cups";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

async fn get(pair: &Pair, path: &str) {
    pair.compare_as("application/json", path).await;
}

async fn post(pair: &Pair, path: &str, body: &Value) {
    pair.send(("POST", "application/json"), path, body).await;
}

async fn with_cups() -> Option<Pair> {
    let definition = cups(&json!({
        "selectableFields": [{"jsonPath": ".size"}],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".size", "description": "how large"},
            {"name": "Word", "type": "string", "jsonPath": ".word", "priority": 1},
        ],
    }));
    let pair = Pair::new(&[definition]).await?;
    for (name, labels) in [
        ("a", json!({"app": "x", "tier": "front"})),
        ("b", json!({"app": "y"})),
        ("c", json!({"app": "x"})),
        ("d", json!({})),
    ] {
        let cup = json!({"apiVersion": "example.com/v1", "kind": "Cup",
            "metadata": {"name": name, "labels": labels}, "size": name.len(), "word": name});
        post(&pair, CUPS, &cup).await;
    }
    Some(pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_selectors_answer_alike() {
    let Some(pair) = with_cups().await else {
        return;
    };
    for selector in [
        "app=x",
        "app==x,tier",
        "app%20in%20(x,y)",
        "app%20notin%20(x),app",
        "!tier,app",
        "app!=x,app",
        "tier%20in%20(front,back)",
        "app%20in%20()",
        "app%3Dx%3Dy",
        "a%20b",
    ] {
        get(&pair, &format!("{CUPS}?labelSelector={selector}")).await;
    }
    for query in [
        "fieldSelector=metadata.name%3Da",
        "fieldSelector=metadata.name!%3Da,metadata.namespace%3Ddefault&labelSelector=app",
        "fieldSelector=size%3D1",
        "fieldSelector=word%3Da",
        "labelSelector=app&limit=2",
        "labelSelector=app&resourceVersion=0",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "sendInitialEvents=true",
        "watch=true&sendInitialEvents=true",
        "watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        get(&pair, &format!("{CUPS}?{query}")).await;
    }
    pair.compare_as(METADATA, &format!("{CUPS}?labelSelector=app"))
        .await;
    pair.compare_as(ONE, &format!("{CUPS}/a")).await;
    for include in ["None", "Object"] {
        let path = format!("{CUPS}?labelSelector=app&includeObject={include}");
        pair.compare_as(TABLE, &path).await;
    }
    pair.compare_as(TABLE, &format!("{CUPS}/a")).await;
    for path in ["/a", "/none"] {
        get(&pair, &format!("{CUPS}{path}")).await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_answer_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let access = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = json!({"resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "default"}});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": asked});
    post(&pair, access, &review).await;
    get(&pair, access).await;
    let others = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked});
    // Kubernetes forgets to say of which kind it is.
    let step = Step {
        method: "POST",
        path: others,
        content_type: "application/json",
        body: review.to_string().into_bytes(),
    };
    pair.compare_causes(&step).await;
    let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}});
    post(&pair, tokens, &review).await;
    get(
        &pair,
        "/apis/authorization.k8s.io/v1/namespaces/default/nothing",
    )
    .await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_whose_snapshot_is_forgotten_answer_alike() {
    let ours = Server::builder().history(1).build().expect("a server");
    let real = ApiServer::start_forgetful();
    let Some(mut pair) = Pair::between(ours.client(), real, &[]).await else {
        return;
    };
    let map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    for name in ["a", "b", "c", "d", "e"] {
        post(&pair, MAPS, &map(name)).await;
    }
    let first = [(); 2].map(|()| format!("{MAPS}?limit=2"));
    let pages = pair.compare_own(&first).await;
    let version = |page: &Value| {
        page["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned()
    };
    let exact = pages.each_ref().map(|page| {
        let version = version(page);
        format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={version}")
    });
    let next = |page: &Value| {
        let token = page["metadata"]["continue"].as_str().expect("a token");
        format!("{MAPS}?limit=2&continue={token}")
    };
    let second = pages.each_ref().map(next);
    // The past that is forgotten, and the state that is shown instead.
    for name in ["bb", "f"] {
        post(&pair, MAPS, &map(name)).await;
    }
    pair.forgets(&second[0]).await;
    pair.compare_own(&exact).await;
    let refused = pair.compare_own(&second).await;
    let now = pair.compare_own(&refused.each_ref().map(next)).await;
    pair.compare_own(&now.each_ref().map(next)).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_alone_are_answered_alike() {
    let Some(pair) = with_cups().await else {
        return;
    };
    for path in [
        "/",
        "/apis",
        "/apis/example.com/v1",
        "/healthz",
        "/openapi/v3",
        "/openapi/v2",
        "/none",
        CUPS,
        &format!("{CUPS}/a"),
        &format!("{CUPS}/none"),
    ] {
        let step = Step {
            method: "HEAD",
            path,
            content_type: "",
            body: Vec::new(),
        };
        pair.compare(&step).await;
    }
    pair.finish();
}
