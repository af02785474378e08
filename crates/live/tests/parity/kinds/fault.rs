//! Everything that can be wrong with a document in one place, by what its schema says there.

use serde_json::{Value, json};

use crate::kinds::example;

/// A document is changed in one place.
#[derive(Debug)]
pub struct Fault {
    /// Where, as a JSON pointer.
    pub at: String,
    /// What is there instead; nothing if there is no value.
    pub value: Option<Value>,
}

impl Fault {
    /// The document with it.
    pub fn of(&self, document: &Value) -> Value {
        let mut document = document.clone();
        let (parent, name) = self.at.rsplit_once('/').expect("a place below the root");
        let parent = document.pointer_mut(parent).expect("it is there");
        match (&self.value, parent) {
            (Some(value), Value::Object(fields)) => {
                fields.insert(name.to_owned(), value.clone());
            }
            (Some(value), Value::Array(items)) => {
                let index: usize = name.parse().expect("an index");
                items[index] = value.clone();
            }
            (None, Value::Object(fields)) => {
                fields.remove(name);
            }
            (None, other) => panic!("nothing goes from {other}"),
            (Some(_), other) => panic!("nothing is below {other}"),
        }
        document
    }
}

/// All faults at a place of a document and below it.
pub fn all(schema: &Value, value: &Value, at: &str, faults: &mut Vec<Fault>) {
    let mut add = |value: Value| {
        let at = at.to_owned();
        faults.push(Fault {
            at,
            value: Some(value),
        });
    };
    of_kind(schema, value).into_iter().for_each(&mut add);
    of_limits(schema, value).into_iter().for_each(&mut add);
    match value {
        Value::Object(fields) => {
            of_fields(schema, value, at, faults);
            for (name, field) in fields {
                let known = &schema["properties"][name];
                let known = match known {
                    Value::Null => &schema["additionalProperties"],
                    known => known,
                };
                all(known, field, &format!("{at}/{name}"), faults);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                all(&schema["items"], first, &format!("{at}/0"), faults);
            }
        }
        _ => {}
    }
}

/// Values of other types, and numbers that look like others.
fn of_kind(schema: &Value, value: &Value) -> Vec<Value> {
    let kinds = [
        Value::Null,
        json!(true),
        json!(7),
        json!(1.5),
        json!("no-such"),
        json!([]),
        json!({}),
    ];
    let is_other = |other: &Value| std::mem::discriminant(other) != std::mem::discriminant(value);
    // Only kube-apiserver takes a list there, which no type of ours reads.
    let is_format = !schema["format"].is_null() && value.is_string();
    let is_told = |other: &Value| !(is_format && other.is_array());
    let others = kinds.into_iter().filter(is_other).filter(is_told);
    let mut others: Vec<Value> = others.collect();
    if schema["type"] == "integer" || schema["x-kubernetes-int-or-string"] == true {
        others.extend([json!(1.5), json!(2.0), json!(1e30)]);
    }
    others
}

/// Values beyond what is allowed.
fn of_limits(schema: &Value, value: &Value) -> Vec<Value> {
    let mut others = Vec::new();
    if !schema["enum"].is_null() || !schema["format"].is_null() && value.is_string() {
        others.push(json!("no-such"));
    }
    if value.is_number() || schema["x-kubernetes-int-or-string"] == true {
        others.extend([json!(-1), json!(u32::MAX), json!(1_u64 << 32)]);
        others.extend([json!(i64::MAX), json!(u64::MAX), json!(i64::MIN)]);
        if let Some(most) = schema["maximum"].as_u64() {
            others.push(json!(most + 1));
        }
        if let Some(fewest) = schema["minimum"].as_i64() {
            others.push(json!(fewest - 1));
        }
    }
    if value.is_string() {
        others.extend(["", "!", "a\u{0}b", "ä/"].map(Value::from));
        if let Some(most) = schema["maxLength"].as_u64() {
            let most = usize::try_from(most).expect("a size");
            others.push("a".repeat(most + 1).into());
            others.push("ä".repeat(most).into());
        }
    }
    if let Value::Array(items) = value {
        others.push(json!([]));
        if let Some(first) = items.first() {
            others.push(json!([first, first]));
            others.push(json!([first, null]));
        }
        if let Some(most) = schema["maxItems"].as_u64() {
            let all = (0..=most).zip(0..);
            let all = all.map(|(_, n)| example::whole(&schema["items"], n));
            others.push(all.collect());
        }
    }
    others
}

/// Fields that lack, and alternatives of which there are none or two.
fn of_fields(schema: &Value, value: &Value, at: &str, faults: &mut Vec<Fault>) {
    let below = |name: &str| format!("{at}/{name}");
    let branches = example::branches(schema);
    let required = schema["required"].as_array().into_iter().flatten();
    let required = required.filter_map(Value::as_str);
    for name in required.chain(branches.iter().copied()) {
        if value.get(name).is_some() {
            let at = below(name);
            faults.push(Fault { at, value: None });
        }
    }
    let missing = branches.iter().find(|name| value.get(name).is_none());
    if let Some(name) = missing {
        let at = below(name);
        let value = Some(example::whole(&schema["properties"][name], 0));
        faults.push(Fault { at, value });
    }
}
