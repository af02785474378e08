//! `groma apply` against a server: what the documents say is what is there afterwards.

use apiserver::Server;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

fn client() -> Client {
    let variant = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "host": {"type": "string"},
                        "shape": {
                            "type": "object",
                            "properties": {"round": variant, "square": variant},
                            "oneOf": [{"required": ["round"]}, {"required": ["square"]}],
                        },
                    }},
                    "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                }}},
            }],
        },
    }))
    .expect("a definition");
    Server::in_memory(vec![crd]).client()
}

fn widget(spec: Value) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "a", "labels": {"ours": "1"}}, "spec": spec,
    })
}

async fn apply(client: &Client, document: &Value) -> anyhow::Result<String> {
    let mut out = Vec::new();
    let documents = std::slice::from_ref(document);
    cli::apply_told(&mut out, client, "default", documents).await?;
    Ok(String::from_utf8(out)?.trim().to_owned())
}

fn widgets(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    Api::default_namespaced_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "widgets"),
    )
}

#[tokio::test]
async fn a_field_that_nobody_knows_is_refused_at_once() {
    let client = client();
    let refused = apply(&client, &widget(json!({"hots": "h1"}))).await;
    let refused = format!("{:#}", refused.expect_err("a typing error"));
    assert!(refused.contains("hots"), "{refused}");
    assert!(
        widgets(&client)
            .get_opt("a")
            .await
            .expect("asked")
            .is_none()
    );
}

#[tokio::test]
async fn what_the_document_no_longer_says_is_gone_and_what_others_added_stays() {
    let client = client();
    let first = widget(json!({"host": "h1", "shape": {"round": {"size": 1}}}));
    assert_eq!(
        apply(&client, &first).await.expect("made"),
        "widget/a created"
    );
    let theirs = json!({"metadata": {"labels": {"theirs": "1"}}});
    let api = widgets(&client);
    api.patch("a", &PatchParams::default(), &Patch::Merge(theirs))
        .await
        .expect("labelled");
    let second = widget(json!({"shape": {"square": {"size": 2}}}));
    assert_eq!(
        apply(&client, &second).await.expect("made"),
        "widget/a changed"
    );
    let seen = api.get("a").await.expect("there");
    assert_eq!(seen.data["spec"], json!({"shape": {"square": {"size": 2}}}));
    let labels = seen.metadata.labels.unwrap_or_default();
    assert!(labels.contains_key("ours") && labels.contains_key("theirs"));
    assert_eq!(
        apply(&client, &second).await.expect("again"),
        "widget/a unchanged"
    );
    let unknown = widget(json!({"shape": {"square": {"sise": 2}}}));
    apply(&client, &unknown).await.expect_err("a typing error");
}
