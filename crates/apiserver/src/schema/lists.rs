//! Lists that are sets or maps: no item twice.
//!
//! As in Kubernetes each value is told once, at its second place, whatever else is wrong with it; a list that broke this
//! before may break it still.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::failure::{Cause, shown};
use crate::schema::prune::{indexed, join};
use crate::schema::{List, PROBLEMS_MAX, Schema};

pub(super) fn problems(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, value, "", &mut causes);
    if let Some(old) = old
        && !causes.is_empty()
    {
        let mut before = Vec::new();
        walk(schema, old, "", &mut before);
        if !before.is_empty() {
            causes.clear();
        }
    }
    causes
}

fn walk(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            for (name, content) in map {
                if let Some(known) = schema.field(name) {
                    walk(known, content, &join(path, name), causes);
                }
            }
        }
        Value::Array(list) => {
            match &schema.list {
                List::Atomic => {}
                List::Set => twice(list.iter().cloned(), path, causes),
                List::Map(keys) => map(list, keys, path, causes),
            }
            let Some(items) = &schema.items else { return };
            for (index, item) in list.iter().enumerate() {
                walk(items, item, &indexed(path, index), causes);
            }
        }
        _ => {}
    }
}

fn map(list: &[Value], keys: &[String], path: &str, causes: &mut Vec<Cause>) {
    let is_none = |item: &Value| !item.is_object() && !item.is_null();
    if let Some(index) = list.iter().position(is_none) {
        let why = "must be an object for an array of list-type map";
        causes.push(Cause::invalid(indexed(path, index), &list[index], why));
        return;
    }
    let identity = |item: &Value| {
        let given = keys.iter();
        let given = given.filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(given.collect::<Map<_, _>>())
    };
    twice(list.iter().map(identity), path, causes);
}

fn twice(all: impl Iterator<Item = Value>, path: &str, causes: &mut Vec<Cause>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in all.enumerate() {
        let n = seen.entry(item.to_string()).or_default();
        *n += 1;
        if *n == 2 && causes.len() <= PROBLEMS_MAX {
            let message = format!("Duplicate value: {}", shown(&item));
            let field = indexed(path, index);
            causes.push(Cause::new("FieldValueDuplicate", field, message));
        }
    }
}
