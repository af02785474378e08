//! What clients ask about themselves and others.

use apiserver::Identity;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::Api;

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn as_host(api: &Api, path: &str, body: &Value) -> Value {
    let request = http::Request::post(path).body(Full::new(Bytes::from(body.to_string())));
    let host = Identity::host("mad");
    let response = api.0.serve(&host, request.expect("a request")).await;
    let body = response.into_body().collect().await.expect("a body");
    serde_json::from_slice(&body.to_bytes()).expect("JSON")
}

#[tokio::test]
async fn a_client_is_told_who_it_is() {
    let api = Api::new();
    let told = api.call("POST", SELF, &json!({})).await;
    assert_eq!(told.code, 201, "{}", told.body);
    let user = &told.body["status"]["userInfo"];
    assert_eq!(user["username"], "test");
    assert_eq!(user["groups"][0], "system:masters");
    let host = as_host(&api, SELF, &json!({})).await;
    assert_eq!(host["status"]["userInfo"]["username"], "system:host:mad");
    assert_eq!(api.get(SELF).await.code, 405, "nothing is kept");
    let group = api.get("/apis/authentication.k8s.io/v1").await.body;
    assert_eq!(group["resources"][0]["verbs"], json!(["create"]));
}

#[tokio::test]
async fn a_client_is_told_what_it_may_do() {
    let api = Api::new();
    let review = |verb: &str, resource: &str, name: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "group": "", "resource": resource, "name": name, "namespace": "default"}}});
    let all = api
        .call("POST", ACCESS, &review("delete", "secrets", ""))
        .await;
    assert_eq!(all.body["status"]["allowed"], true);
    let host = as_host(&api, ACCESS, &review("delete", "secrets", "a")).await;
    assert_eq!(host["status"]["allowed"], false);
    let path = json!({"spec": {"nonResourceAttributes": {"path": "/version", "verb": "get"}}});
    assert_eq!(
        as_host(&api, ACCESS, &path).await["status"]["allowed"],
        true
    );
    assert_eq!(
        api.call("POST", ACCESS, &json!({"spec": {}})).await.code,
        422
    );
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = api
        .call(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            &rules,
        )
        .await;
    assert_eq!(
        rules.body["status"]["resourceRules"][0]["verbs"],
        json!(["*"])
    );
}

#[tokio::test]
async fn an_administrator_is_told_what_others_may_do() {
    const OTHERS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let api = Api::new();
    let review = |user: &str, groups: Value| {
        let asked = json!({"verb": "delete", "resource": "secrets", "namespace": "default"});
        json!({"spec": {"user": user, "groups": groups, "resourceAttributes": asked}})
    };
    for (user, groups, allowed) in [
        ("alice", json!(["system:masters"]), true),
        ("alice", json!(["others"]), false),
        ("system:host:mad", json!(["system:hosts"]), false),
    ] {
        let told = api.call("POST", OTHERS, &review(user, groups)).await;
        let status = &told.body["status"];
        assert_eq!(
            (told.code, &status["allowed"]),
            (201, &json!(allowed)),
            "{user}"
        );
    }
    let nobody = api.call("POST", OTHERS, &review("", json!([]))).await;
    assert_eq!(nobody.code, 422, "{}", nobody.body);
    // An agent asks about itself only.
    let refused = as_host(&api, OTHERS, &review("alice", json!(["system:masters"]))).await;
    assert_eq!(refused["code"], 403);
}

#[tokio::test]
async fn nobody_is_known_by_a_token() {
    const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
    let api = Api::new();
    let told = api
        .call("POST", TOKENS, &json!({"spec": {"token": "t"}}))
        .await;
    assert_eq!(
        (told.code, &told.body["status"]["authenticated"]),
        (201, &json!(false))
    );
    assert_eq!(
        api.call("POST", TOKENS, &json!({"spec": {}})).await.code,
        400
    );
    assert_eq!(
        as_host(&api, TOKENS, &json!({"spec": {"token": "t"}})).await["code"],
        403
    );
}
