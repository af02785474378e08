//! OpenAPI: the schemas of custom kinds as they are published in versions 2 and 3.

use serde_json::{Value, json};

use crate::pair::Pair;

fn definition(plural: &str, kind: &str, schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "selectableFields": [{"jsonPath": ".host"}],
            }],
        },
    })
}

/// Every kind of part that one of the versions has to say otherwise.
fn parts() -> Value {
    let text = json!({"type": "string"});
    json!({"type": "object", "description": "what is tried", "required": ["host"], "properties": {
        "host": {"type": "string", "maxLength": 9, "pattern": "^[a-z]*$", "enum": ["a", "b"], "default": "a"},
        "nothing": {"type": "object", "nullable": true, "properties": {"a": text}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": text}},
        "either": {"x-kubernetes-int-or-string": true, "description": "one or the other"},
        "inner": {"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "nullable": true}, "b": text}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        "unknown": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "format": "int32"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "exclusiveMinimum": true}},
        "choice": {"type": "object", "properties": {"x": text, "y": text},
            "oneOf": [{"required": ["x"]}, {"required": ["y"]}], "not": {"required": ["x", "y"]}},
        "ruled": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "more"}]},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_published_alike() {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"host": {"type": "string"}}});
    let definitions = [
        definition("gauges", "Gauge", &parts()),
        definition("bags", "Bag", &open),
    ];
    let Some(mut pair) = Pair::new(&definitions).await else {
        return;
    };
    let document = "/openapi/v3/apis/example.com/v1";
    for kind in ["Gauge", "GaugeList", "Bag"] {
        let in_v2 = format!("/definitions/com.example.v1.{kind}");
        pair.compare_part("/openapi/v2", &in_v2).await;
        let in_v3 = format!("/components/schemas/com.example.v1.{kind}");
        pair.compare_part(document, &in_v3).await;
    }
    pair.finish();
}
