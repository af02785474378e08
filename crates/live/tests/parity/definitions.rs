//! Definitions: what is refused and why, names that are taken, versions and their order.
//!
//! On purpose otherwise: what is wrong with the list of versions as a whole, or with a regular expression, is said in words
//! of our own, and the first version is not named twice.

use serde_json::{Value, json};

use crate::pair::Pair;

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn object(properties: &Value) -> Value {
    json!({"type": "object", "properties": properties})
}

async fn send(pair: &Pair, method: &str, path: &str, body: &Value) {
    let content_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    pair.send((method, content_type), path, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_refused_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {"n": text}});
    let schemas = [
        json!({}),
        json!({"type": "array"}),
        object(&json!({"a": {}})),
        object(&json!({"a": {"type": "array"}})),
        object(&json!({"a": {"type": "array", "items": {}}})),
        json!({"type": "object", "additionalProperties": text}),
        object(
            &json!({"a": {"type": "object", "properties": {"b": text}, "additionalProperties": text}}),
        ),
        object(
            &json!({"a": {"type": "string", "anyOf": [{"type": "string", "description": "x"}]}}),
        ),
        object(
            &json!({"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-preserve-unknown-fields": true}}),
        ),
        object(&json!({"a": {"type": "string", "x-kubernetes-embedded-resource": true}})),
        object(&json!({"a": {"type": "object", "x-kubernetes-embedded-resource": true}})),
        object(&json!({"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": false}})),
        object(&json!({"a": {"type": "array", "items": text, "x-kubernetes-list-type": "map"}})),
        object(
            &json!({"a": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}}),
        ),
        object(
            &json!({"a": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["m"]}}),
        ),
        object(&json!({"a": {"type": "array", "items": item, "x-kubernetes-list-type": "set"}})),
        object(&json!({"a": {"type": "array", "items": text, "x-kubernetes-list-type": "bag"}})),
        object(
            &json!({"a": {"type": "array", "items": text, "x-kubernetes-list-map-keys": ["n"]}}),
        ),
        object(&json!({"a": {"type": "string", "x-kubernetes-map-type": "atomic"}})),
        object(&json!({"a": {"type": "object", "x-kubernetes-map-type": "half"}})),
        object(
            &json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}),
        ),
        object(&json!({"kind": {"type": "integer"}})),
        object(&json!({"a": {"type": "array", "items": text, "uniqueItems": true}})),
    ];
    for schema in schemas {
        send(&pair, "POST", PATH, &definition(&schema)).await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_versions_are_refused_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let good = definition(&json!({"type": "object"}));
    let column = |column: Value| json!([column]);
    let cases = [
        ("/spec/scope", json!("Global")),
        ("/spec/scope", json!("")),
        ("/spec/group", json!("example")),
        ("/spec/names/kind", json!("No Kind")),
        ("/spec/names/shortNames", json!(["A", "b"])),
        ("/spec/names/categories", json!(["All"])),
        ("/spec/names/listKind", json!("Thing")),
        ("/spec/names/singular", json!("1thing")),
        ("/metadata/name", json!("thing.example.com")),
        ("/spec/versions/0/deprecationWarning", json!("old")),
        (
            "/spec/versions/0/additionalPrinterColumns",
            column(json!({"name": "A", "type": "text", "jsonPath": ".a"})),
        ),
        (
            "/spec/versions/0/additionalPrinterColumns",
            column(json!({"name": "", "type": "string", "jsonPath": "a", "format": "x"})),
        ),
        (
            "/spec/versions/0/selectableFields",
            json!([{"jsonPath": ".metadata.name"}, {"jsonPath": "spec.host"}, {"jsonPath": "['spec']"}, {"jsonPath": "."},
                {"jsonPath": ".spec.none"}, {"jsonPath": ".kind"}]),
        ),
        ("/spec/conversion", json!({"strategy": "Magic"})),
        ("/spec/conversion", json!({"strategy": "Webhook"})),
    ];
    for (path, value) in cases {
        let mut definition = good.clone();
        let (parent, name) = path.rsplit_once('/').expect("a path");
        definition.pointer_mut(parent).expect("it is there")[name] = value;
        send(&pair, "POST", PATH, &definition).await;
    }
    let mut protected = good.clone();
    protected["metadata"]["name"] = "things.example.k8s.io".into();
    protected["spec"]["group"] = "example.k8s.io".into();
    send(&pair, "POST", PATH, &protected).await;
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_given_and_versions_ordered_alike() {
    let mut many = definition(&json!({"type": "object"}));
    let first = many["spec"]["versions"][0].clone();
    let version = |name: &str| {
        let mut version = first.clone();
        version["name"] = name.into();
        version["storage"] = (name == "v1").into();
        version["deprecated"] = (name == "v1beta1").into();
        version
    };
    let versions = ["v1", "v1beta1", "v2alpha1", "v2"].map(version);
    many["spec"]["versions"] = json!(versions);
    many["spec"]["names"] = json!({"plural": "things", "kind": "Thing", "singular": "thing",
        "listKind": "ThingList", "shortNames": ["th"], "categories": ["all"]});
    let Some(mut pair) = Pair::new(&[many]).await else {
        return;
    };
    pair.compare_part("/apis/example.com", "/versions/3").await;
    for path in [
        "/apis/example.com",
        "/apis/example.com/v1",
        "/apis/example.com/v1beta1/namespaces/default/things",
    ] {
        send(&pair, "GET", path, &Value::Null).await;
    }
    let mut other = definition(&json!({"type": "object"}));
    other["metadata"]["name"] = "ths.example.com".into();
    other["spec"]["names"] = json!({"plural": "ths", "kind": "Thing", "shortNames": ["th", "ti"]});
    let path = format!("{PATH}/ths.example.com");
    pair.both("POST", PATH, &other).await;
    let settled = "/status/conditions/1/type";
    pair.compare_part(&path, settled).await;
    pair.compare_part(&path, "/status").await;
    pair.finish();
}
