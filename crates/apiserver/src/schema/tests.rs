//! Schemas as kube-apiserver treats them.

mod edges;
mod formed;

use std::sync::{Arc, Mutex};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::{Lately, Schema};

fn schema(spec: Value) -> Schema {
    let props = json!({"type": "object", "properties": {"spec": spec}});
    let props: JSONSchemaProps = serde_json::from_value(props).expect("a schema");
    Schema::parse(&props).expect("a structural schema")
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec})
}

fn problems(schema: &Schema, spec: Value) -> Vec<String> {
    schema
        .problems(&object(spec), None, false)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn unknown_fields_go_and_are_named() {
    let schema = schema(json!({"type": "object", "properties": {
        "a": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "string"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"inner": {"type": "object", "properties": {"d": {"type": "string"}}}}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
    }}));
    let mut value = object(json!({
        "a": "x", "nope": 1, "list": [{"b": "x"}, {"b": "x", "nope": 2}], "map": {"k": {"c": "x", "nope": 3}},
        "free": {"any": 1, "inner": {"d": "x", "nope": 4}}, "embedded": {"kind": "K", "nope": 5},
    }));
    value["other"] = true.into();
    let mut unknown = Vec::new();
    schema.prune(&mut value, &mut unknown);
    unknown.sort();
    let expected = [
        "other",
        "spec.embedded.nope",
        "spec.free.inner.nope",
        "spec.list[1].nope",
        "spec.map.k.nope",
        "spec.nope",
    ];
    assert_eq!(unknown, expected);
    let pruned = json!({
        "a": "x", "list": [{"b": "x"}, {"b": "x"}], "map": {"k": {"c": "x"}},
        "free": {"any": 1, "inner": {"d": "x"}}, "embedded": {"kind": "K"},
    });
    assert_eq!(value, object(pruned));
}

#[test]
fn defaults_fill_what_is_absent_or_null() {
    let schema = schema(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "string", "nullable": true, "default": "y"},
        "c": {"type": "string"},
        "d": {"type": "object", "default": {}, "properties": {"e": {"type": "integer", "default": 5}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"f": {"type": "integer", "default": 6}}}},
    }}));
    let mut value = object(json!({"a": null, "b": null, "c": null, "list": [{}]}));
    schema.fill(&mut value);
    assert_eq!(
        value,
        object(json!({"a": "x", "b": null, "d": {"e": 5}, "list": [{"f": 6}]}))
    );
}

#[test]
fn values_are_checked_with_the_words_of_kubernetes() {
    let schema = schema(
        json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "port": {"x-kubernetes-int-or-string": true},
            "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
            "one": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
                "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
            "at": {"type": "string", "format": "date-time"},
        }}),
    );
    let cases = [
        (json!({}), &["spec.name: Required value"][..]),
        (
            json!({"name": "a"}),
            &["spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long"],
        ),
        (
            json!({"name": "abcde"}),
            &["spec.name: Too long: may not be more than 4 bytes"],
        ),
        (
            json!({"name": "AB"}),
            &["spec.name: Invalid value: \"AB\": spec.name in body should match '^[a-z]+$'"],
        ),
        (
            json!({"name": 5}),
            &[
                "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"name": "ab", "size": 0}),
            &[
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            ],
        ),
        (
            json!({"name": "ab", "size": 10}),
            &["spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9"],
        ),
        (
            json!({"name": "ab", "size": 1.5}),
            &[
                "spec.size: Invalid value: \"number\": spec.size in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.size",
            ],
        ),
        (
            json!({"name": "ab", "mode": "c"}),
            &["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        ),
        (
            json!({"name": "ab", "port": true}),
            &[
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"name": "ab", "tags": ["a", "b", "c"]}),
            &["spec.tags: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"name": "ab", "tags": ["a", "a"]}),
            &["spec.tags[1]: Duplicate value: \"a\""],
        ),
        (
            json!({"name": "ab", "ports": [{"n": "x"}, {"n": "x"}]}),
            &["spec.ports[1]: Duplicate value: {\"n\":\"x\"}"],
        ),
        (
            json!({"name": "ab", "one": {}}),
            &[
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.x: Required value",
            ],
        ),
        (
            json!({"name": "ab", "at": "now"}),
            &[
                "spec.at: Invalid value: \"now\": spec.at in body must be of type date-time: \"now\"",
            ],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(problems(&schema, spec), expected);
    }
    let good = json!({
        "name": "ab", "size": 9, "mode": "b", "port": "http", "tags": ["a", "b"], "ports": [{"n": "x"}, {"n": "y"}],
        "one": {"y": ""}, "at": "2026-11-21T10:00:00Z",
    });
    assert_eq!(problems(&schema, good), Vec::<String>::new());
}

#[test]
fn rules_see_themselves_and_their_past() {
    let schema = schema(json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.min <= self.max", "message": "min must not exceed max"}],
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "name is immutable"},
            ]},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {
                    "n": {"type": "string"},
                    "p": {"type": "integer", "x-kubernetes-validations": [
                        {"rule": "self >= oldSelf", "message": "ports only grow", "reason": "FieldValueForbidden"},
                    ]},
                }}},
        },
    }));
    let old = object(json!({
        "min": 1, "max": 2, "name": "a", "ports": [{"n": "x", "p": 1}, {"n": "y", "p": 5}],
    }));
    let check = |spec: Value, old: Option<&Value>| -> Vec<String> {
        schema
            .problems(&object(spec), old, false)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let wrong = json!({"min": 3, "max": 2});
    assert_eq!(
        check(wrong, None),
        ["spec: Invalid value: min must not exceed max"]
    );
    let renamed = json!({"min": 1, "max": 2, "name": "b"});
    assert_eq!(
        check(renamed.clone(), None),
        Vec::<String>::new(),
        "there is no past yet"
    );
    assert_eq!(
        check(renamed, Some(&old)),
        ["spec.name: Invalid value: \"b\": name is immutable"]
    );
    let swapped =
        json!({"min": 1, "max": 2, "name": "a", "ports": [{"n": "y", "p": 5}, {"n": "x", "p": 0}]});
    assert_eq!(
        check(swapped, Some(&old)),
        ["spec.ports[1].p: Forbidden: ports only grow"]
    );
}

#[test]
fn what_a_rule_cannot_decide_is_said_of_its_own_place() {
    let schema = schema(json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.list[0] > 0", "fieldPath": ".list"}],
        "properties": {"list": {"type": "array", "items": {"type": "integer"}}},
    }));
    let told = problems(&schema, json!({"list": [0]}));
    assert!(
        told[0].starts_with("spec.list: Invalid value: failed rule"),
        "{told:?}"
    );
    let told = problems(&schema, json!({"list": []}));
    assert!(
        told[0].starts_with("spec: Invalid value: \"object\": "),
        "{told:?}"
    );
}

#[test]
fn rules_wait_until_values_have_types_and_sizes() {
    let schema = schema(json!({"type": "object", "required": ["a"],
        "x-kubernetes-validations": [{"rule": "self.a == 'x'", "message": "not x"}],
        "properties": {"a": {"type": "string", "pattern": "^[a-z]$"}},
    }));
    let pattern = "spec.a: Invalid value: \"Y\": spec.a in body should match '^[a-z]$'";
    assert_eq!(
        problems(&schema, json!({"a": "Y"})),
        [pattern, "spec: Invalid value: not x"]
    );
    let told = problems(&schema, json!({}));
    assert_eq!(told[0], "spec.a: Required value");
    assert!(
        told[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"),
        "{told:?}"
    );
}

#[test]
fn a_status_that_is_written_by_itself_is_named_but_not_in_texts() {
    let props = json!({"type": "object", "properties": {"status": {"type": "object", "required": ["b"],
        "properties": {"a": {"type": "integer"}}}}});
    let props: JSONSchemaProps = serde_json::from_value(props).expect("a schema");
    let schema = Schema::parse(&props).expect("a structural schema");
    let status = json!({"status": {"a": 1.5}});
    let told = |apart| {
        let causes = schema.problems(&status, None, apart);
        causes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let apart = [
        "status.a: Invalid value: \"number\": a in body must be of type integer: \"number\"",
        "status: Invalid value: \"\": Checked value must be of type integer (default format) in a",
        "status.b: Required value",
    ];
    assert_eq!(told(true), apart);
    assert!(told(false)[0].contains(": status.a in body must be"));
}

#[test]
fn what_is_not_structural_is_refused() {
    let cases = [
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/x"}}}),
            "openAPIV3Schema.a: $ref",
        ),
        (json!({"type": "thing"}), "openAPIV3Schema.type"),
        (
            json!({"type": "string", "pattern": "("}),
            "openAPIV3Schema.pattern",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map"}),
            "openAPIV3Schema.x-kubernetes-list-map-keys",
        ),
        (
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "self ="}]}),
            "x-kubernetes-validations",
        ),
    ];
    for (props, expected) in cases {
        let props: JSONSchemaProps = serde_json::from_value(props).expect("a schema");
        let error = Schema::parse(&props).err().expect(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn whole_numbers_become_integers() {
    let schema = schema(json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "amount": {"x-kubernetes-int-or-string": true}, "x": {"type": "number"},
    }}));
    let mut value = object(json!({"n": 2.0, "amount": -3.0, "x": 4.0}));
    schema.fill(&mut value);
    assert_eq!(value["spec"].to_string(), r#"{"amount":-3,"n":2,"x":4.0}"#);
    for odd in [json!(0.5), json!(1e30)] {
        let problems = problems(&schema, json!({"n": odd}));
        assert!(
            problems[0].contains("must be of type integer"),
            "{problems:?}"
        );
    }
}

#[test]
fn what_was_parsed_lately_is_shared() {
    let lately = Lately(Mutex::default());
    let shared = |maximum: u32| {
        let text =
            json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": maximum}}});
        let props = serde_json::from_value(text.clone()).expect("a schema");
        lately.parsed(&props, &text).expect("it can be parsed")
    };
    let first = shared(1);
    assert!(Arc::ptr_eq(&first, &shared(1)));
    assert!(!Arc::ptr_eq(&first, &shared(2)));
    for maximum in 0..100 {
        shared(maximum + 1000);
    }
    assert!(!Arc::ptr_eq(&first, &shared(1)), "others came since");
}
