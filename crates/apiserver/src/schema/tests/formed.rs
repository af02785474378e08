//! Whether a document is in form is found as pruning and filling would find it.

use serde_json::{Value, json};

use super::{object, schema};

/// Documents that are tried.
const DOCUMENTS: u64 = 20_000;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// Any value, of names that the schema knows and some that it does not.
    fn value(&mut self, depth: u64) -> Value {
        const NAMES: [&str; 9] = [
            "a", "n", "list", "map", "free", "embedded", "metadata", "kind", "other",
        ];
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!("x"),
            3 => json!(2),
            4 => json!(2.0),
            5 => json!(2.5),
            6 => (0..self.below(3)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let n = usize::try_from(self.below(4)).expect("it is small");
                let mut names = NAMES.to_vec();
                let field = |_| {
                    let at = usize::try_from(self.below(names.len() as u64)).expect("an index");
                    (names.swap_remove(at).to_owned(), self.value(depth - 1))
                };
                Value::Object((0..n).map(field).collect())
            }
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
        let mut spec = chance.value(4);
        if chance.below(2) == 0
            && let Some(fields) = spec.as_object_mut()
        {
            fields.entry("a").or_insert(json!("x"));
        }
        let value = object(spec);
        let mut after = value.clone();
        schema.prune(&mut after, &mut Vec::new());
        schema.fill(&mut after);
        assert_eq!(schema.is_formed(&value), after == value, "{value} {after}");
        formed += u64::from(after == value);
    }
    assert!(
        formed > DOCUMENTS / 10 && formed < DOCUMENTS * 9 / 10,
        "{formed}"
    );
}
