//! What an object may become when its schema has changed.

use serde_json::json;

use super::*;

fn widgets() -> Resource {
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 3}}},
                }}},
            }],
        },
    });
    let definition = serde_json::from_value(definition).expect("a definition");
    Resource::from_crd(&definition).expect("it can be served")
}

#[test]
fn what_was_wrong_before_its_schema_became_narrower_does_not_hold_an_object() {
    let resource = widgets();
    let frame = Frame {
        resource: &resource,
        version: &resource.versions[0],
        validation: FieldValidation::Strict,
        by: None,
        known: &Known::default(),
    };
    let widget = |size: u32, finalizers: &[&str]| {
        json!({
            "apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": "a", "finalizers": finalizers}, "spec": {"size": size},
        })
    };
    let old = Object::at(resource.key("", "a"), 1, widget(9, &["x/y"]));
    let replaced = |value| {
        let draft = frame.redraft(value, &old, None, true)?;
        frame.replace(draft.value, &old)
    };
    replaced(widget(9, &[])).expect("the size is as it was");
    replaced(widget(2, &[])).expect("it is mended");
    let refused = replaced(widget(8, &[])).expect_err("it is wrong in another way");
    assert_eq!(refused.code, 422);
}
