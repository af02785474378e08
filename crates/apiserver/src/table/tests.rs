//! What `kubectl get` receives for custom and built-in resources.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::*;
use crate::registry::Registry;

fn now() -> Timestamp {
    "2026-11-21T12:05:00Z".parse().unwrap()
}

fn definition(columns: Value) -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "sites.groma.dev"},
        "spec": {
            "group": "groma.dev", "scope": "Cluster",
            "names": {"kind": "Site", "plural": "sites"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": columns,
            }],
        },
    }))
    .unwrap()
}

fn show(
    group: &str,
    plural: &str,
    columns: Value,
    object: &Value,
    include: IncludeObject,
) -> Value {
    let registry = Registry::new(&[definition(columns)]).unwrap();
    let resource = registry.get(group, plural).unwrap();
    let metadata = json!({"resourceVersion": "9", "continue": "x"});
    table(
        (resource, &resource.versions[0]),
        std::slice::from_ref(object),
        metadata,
        include,
        now(),
    )
}

fn site() -> Value {
    json!({
        "apiVersion": "groma.dev/v1", "kind": "Site",
        "metadata": {"name": "mad", "resourceVersion": "7", "creationTimestamp": "2026-11-21T12:00:00Z"},
        "spec": {"hosts": 3, "drained": false, "tags": ["a", "b"]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn columns() -> Value {
    json!([
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Hosts", "type": "integer", "jsonPath": ".spec.hosts"},
        {"name": "Drained", "type": "boolean", "jsonPath": ".spec.drained", "priority": 1},
        {"name": "Tags", "type": "string", "jsonPath": ".spec.tags"},
        {"name": "Region", "type": "string", "jsonPath": ".spec.region"},
        {"name": "Odd", "type": "integer", "jsonPath": ".spec.tags"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ])
}

#[test]
fn a_custom_resource_shows_its_printer_columns() {
    let table = show(
        "groma.dev",
        "sites",
        columns(),
        &site(),
        IncludeObject::Metadata,
    );
    assert_eq!(table["kind"], "Table");
    assert_eq!(
        table["metadata"],
        json!({"resourceVersion": "9", "continue": "x"})
    );
    let names: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "Name", "Ready", "Hosts", "Drained", "Tags", "Region", "Odd", "Age"
        ]
    );
    assert_eq!(table["columnDefinitions"][3]["priority"], 1);
    let expected = json!(["mad", "True", 3, false, "[\"a\",\"b\"]", null, null, "5m"]);
    assert_eq!(table["rows"][0]["cells"], expected);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "mad");
}

#[test]
fn without_printer_columns_there_are_name_and_age() {
    let table = show(
        "groma.dev",
        "sites",
        json!([]),
        &site(),
        IncludeObject::None,
    );
    assert_eq!(table["rows"][0]["cells"], json!(["mad", "5m"]));
}

#[test]
fn a_row_carries_as_much_of_its_object_as_was_asked() {
    let row = |include| {
        show("groma.dev", "sites", json!([]), &site(), include)["rows"][0]["object"].clone()
    };
    assert_eq!(row(IncludeObject::None), Value::Null);
    assert_eq!(row(IncludeObject::Object), site());
    assert_eq!(row(IncludeObject::Metadata)["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(row(IncludeObject::Metadata)["spec"], Value::Null);
}

#[test]
fn built_in_resources_show_what_users_know() {
    let created = json!({"name": "x", "creationTimestamp": "2026-11-21T12:03:00Z"});
    let cases = [
        (
            "",
            "namespaces",
            json!({"status": {"phase": "Active"}}),
            json!(["x", "Active", "2m"]),
        ),
        (
            "",
            "configmaps",
            json!({"data": {"a": "1"}, "binaryData": {"b": ""}}),
            json!(["x", 2, "2m"]),
        ),
        (
            "",
            "secrets",
            json!({"type": "Opaque"}),
            json!(["x", "Opaque", 0, "2m"]),
        ),
        (
            "coordination.k8s.io",
            "leases",
            json!({"spec": {"holderIdentity": "me"}}),
            json!(["x", "me", "2m"]),
        ),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            json!({}),
            json!(["x", "2026-11-21T12:03:00Z"]),
        ),
        (
            "",
            "events",
            json!({
                "type": "Warning", "reason": "Failed", "message": "no room", "count": 4,
                "involvedObject": {"kind": "Instance", "name": "web-0"}, "source": {"component": "wdm"},
                "lastTimestamp": "2026-11-21T12:04:30Z", "firstTimestamp": "2026-11-21T12:04:00Z",
            }),
            json!([
                "30s",
                "Warning",
                "Failed",
                "instance/web-0",
                null,
                "wdm",
                "no room",
                "60s",
                "4",
                "x"
            ]),
        ),
        (
            "events.k8s.io",
            "events",
            json!({"note": "hello", "regarding": {"kind": "Site", "name": "mad"}, "reportingController": "mco"}),
            json!([
                "2m", null, null, "site/mad", null, "mco", "hello", "2m", "1", "x"
            ]),
        ),
    ];
    for (group, plural, mut object, expected) in cases {
        object["metadata"] = created.clone();
        let table = show(group, plural, json!([]), &object, IncludeObject::None);
        assert_eq!(table["rows"][0]["cells"], expected, "{group}/{plural}");
    }
}
