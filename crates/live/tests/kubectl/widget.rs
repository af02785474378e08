//! A small kind for the tests: schema, status, printer columns.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{from_value, json};

/// The definition of `widgets.test.groma.dev`.
pub fn definition() -> CustomResourceDefinition {
    let schema = json!({
        "type": "object",
        "description": "Widget is something to test with.",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "description": "What is wanted.",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "description": "How large it is, in units."},
                    "colour": {"type": "string", "enum": ["red", "blue"], "description": "How it looks."},
                    "parts": {"type": "array", "items": {"type": "string"}},
                },
            },
            "status": {
                "type": "object",
                "properties": {"size": {"type": "integer"}, "conditions": {"type": "array", "items": {
                    "type": "object",
                    "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
                }}},
            },
        },
    });
    let ready = ".status.conditions[?(@.type==\"Ready\")].status";
    let columns = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": ready},
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    let definition = json!({
        "metadata": {"name": "widgets.test.groma.dev"},
        "spec": {
            "group": "test.groma.dev", "scope": "Namespaced",
            "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "additionalPrinterColumns": columns,
            }],
        },
    });
    from_value(definition).expect("it is a definition")
}

/// A widget to apply.
pub fn widget(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: test.groma.dev/v1\nkind: Widget\nmetadata:\n  name: {name}\nspec: {spec}\n"
    )
}

/// The command line that says whether a widget is ready, as a controller would.
pub fn ready(name: &str, status: &str) -> String {
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    format!("patch widget {name} --subresource=status --type=merge -p '{patch}'")
}
