//! Whether a document is in form is found as pruning and filling would find it.

use serde_json::{Value, json};

use super::{object, schema};
use crate::chance::Chance;

/// Documents that are tried.
const DOCUMENTS: u64 = 20_000;

/// Any value, of names that the schema knows and some that it does not.
fn value(chance: &mut Chance, depth: u64) -> Value {
    const NAMES: [&str; 9] = [
        "a", "n", "list", "map", "free", "embedded", "metadata", "kind", "other",
    ];
    match chance.below(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!("x"),
        3 => json!(2),
        4 => json!(2.0),
        5 => json!(2.5),
        6 => (0..chance.below(3))
            .map(|_| value(chance, depth - 1))
            .collect(),
        _ => {
            let mut names = NAMES;
            chance.shuffle(&mut names);
            let named = names[..chance.index(4)].iter();
            let fields = named.map(|name| ((*name).to_owned(), value(chance, depth - 1)));
            Value::Object(fields.collect())
        }
    }
}

#[test]
fn a_document_is_in_form_if_nothing_would_change() {
    let inner = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"}, "n": {"type": "integer", "nullable": true},
    }});
    let schema = schema(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "n": {"type": "integer"},
        "other": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": inner},
        "map": {"type": "object", "additionalProperties": inner},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"map": inner}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
            "properties": {"a": {"type": "string"}, "metadata": {"type": "object"}}},
    }}));
    let mut chance = Chance(1);
    let mut formed = 0;
    for _ in 0..DOCUMENTS {
        let mut spec = value(&mut chance, 4);
        if chance.below(2) == 0
            && let Some(fields) = spec.as_object_mut()
        {
            fields.entry("a").or_insert(json!("x"));
        }
        let document = object(spec);
        let mut after = document.clone();
        schema.prune(&mut after, &mut Vec::new());
        schema.fill(&mut after);
        assert_eq!(
            schema.is_formed(&document),
            after == document,
            "{document} {after}"
        );
        formed += u64::from(after == document);
    }
    assert!(
        formed > DOCUMENTS / 10 && formed < DOCUMENTS * 9 / 10,
        "{formed}"
    );
}
