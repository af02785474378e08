//! Strategic merge patch for the built-in types: maps merge, and lists merge where Kubernetes' types say so.
//!
//! Directives: `$patch: replace|delete|merge` in maps and in items of merged lists, `$deleteFromPrimitiveList/…`,
//! `$setElementOrder/…` and `$retainKeys`. Which lists are merged, and by what, says [`crate::builtin::lists`].

use serde_json::{Map, Value};

use crate::builtin::lists::{self, Merged};
use crate::ownership::Shape;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies the patch to a document of that shape.
pub(super) fn merge(value: &mut Value, patch: &Value, shape: &Shape) -> Result<(), String> {
    let Some(patch) = patch.as_object() else {
        return Err("a patch must be a JSON object".to_owned());
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else {
        return Ok(());
    };
    match directive(patch)? {
        Some(Directive::Replace) => *fields = without_directives(patch),
        Some(Directive::Delete) => fields.clear(),
        None => merge_fields(fields, patch, shape)?,
    }
    Ok(())
}

fn merge_fields(
    fields: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    shape: &Shape,
) -> Result<(), String> {
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained.as_array().ok_or("$retainKeys must be a list")?;
        fields.retain(|name, _| retained.iter().any(|kept| kept == name));
    }
    for (name, content) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if content.is_null() {
            fields.remove(name);
            continue;
        }
        let value = fields.entry(name.clone()).or_insert(Value::Null);
        match content {
            Value::Object(_) => merge(value, content, shape.field(name))?,
            Value::Array(list) => merge_list(value, (name, shape.field(name)), list)?,
            plain => *value = plain.clone(),
        }
    }
    for (name, content) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            delete_values(fields, list, content)?;
        }
    }
    for (name, content) in patch {
        if let Some(list) = name.strip_prefix(ORDER) {
            order(fields, (list, shape.field(list)), content)?;
        }
    }
    Ok(())
}

enum Directive {
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>) -> Result<Option<Directive>, String> {
    match patch
        .get(PATCH)
        .map(|directive| directive.as_str().unwrap_or_default())
    {
        None | Some("merge") => Ok(None),
        Some("replace") => Ok(Some(Directive::Replace)),
        Some("delete") => Ok(Some(Directive::Delete)),
        Some(other) => Err(format!(
            "$patch is {other:?}, and must be merge, replace or delete"
        )),
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let plain = patch
        .iter()
        .filter(|(name, content)| !name.starts_with('$') && !content.is_null());
    plain
        .map(|(name, content)| (name.clone(), content.clone()))
        .collect()
}

fn merge_list(
    value: &mut Value,
    (field, shape): (&str, &Shape),
    patch: &[Value],
) -> Result<(), String> {
    let mut list = value.as_array().cloned().unwrap_or_default();
    match lists::merging(field, shape) {
        Merged::Replaced => list = patch.to_vec(),
        Merged::Values => {
            let before = list.clone();
            for item in patch {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            list = woven(list, &before, patch, |one, other| one == other);
        }
        Merged::By(key) => {
            let before = list.clone();
            for item in patch {
                merge_item(&mut list, (field, shape.items()), key, item)?;
            }
            list = woven(list, &before, patch, |one, other| {
                one.get(key) == other.get(key)
            });
        }
    }
    *value = list.into();
    Ok(())
}

/// A merged list in the order of the patch, with what it does not name where it was before: in front of an item of the
/// patch only if it stood in front of that one.
fn woven(
    merged: Vec<Value>,
    before: &[Value],
    patch: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut named, others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| place(patch, item).is_some());
    named.sort_by_key(|item| place(patch, item));
    let mut woven = Vec::new();
    let mut named = named.into_iter().peekable();
    for other in others {
        let stands_behind = |next: &Value| match place(before, next) {
            Some(next) => place(before, &other).is_some_and(|own| own > next),
            None => true,
        };
        while let Some(next) = named.next_if(|next| stands_behind(next)) {
            woven.push(next);
        }
        woven.push(other);
    }
    woven.extend(named);
    woven
}

fn merge_item(
    list: &mut Vec<Value>,
    (field, shape): (&str, &Shape),
    key: &str,
    item: &Value,
) -> Result<(), String> {
    let fields = item
        .as_object()
        .ok_or_else(|| format!("items of {field} must be objects"))?;
    let directive = directive(fields)?;
    let Some(name) = fields.get(key) else {
        return match directive {
            // `[{"$patch": "replace"}, …]` empties the list before the rest is merged.
            Some(Directive::Replace) => {
                list.clear();
                Ok(())
            }
            _ => Err(format!("items of {field} must have the merge key {key:?}")),
        };
    };
    let place = list.iter().position(|other| other.get(key) == Some(name));
    match (directive, place) {
        (Some(Directive::Delete), Some(place)) => drop(list.remove(place)),
        (Some(Directive::Delete), None) => {}
        (_, Some(place)) => merge(&mut list[place], item, shape)?,
        (_, None) => list.push(Value::Object(without_directives(fields))),
    }
    Ok(())
}

fn delete_values(
    fields: &mut Map<String, Value>,
    list: &str,
    values: &Value,
) -> Result<(), String> {
    let values = values
        .as_array()
        .ok_or_else(|| format!("{DELETE_FROM}{list} must be a list"))?;
    if let Some(list) = fields.get_mut(list).and_then(Value::as_array_mut) {
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// Puts a merged list into the order that the client has: named items first, in their order.
fn order(
    fields: &mut Map<String, Value>,
    (list, shape): (&str, &Shape),
    order: &Value,
) -> Result<(), String> {
    let order = order
        .as_array()
        .ok_or_else(|| format!("{ORDER}{list} must be a list"))?;
    let same = |item: &Value, wanted: &Value| match lists::merging(list, shape) {
        Merged::By(key) => item.get(key) == wanted.get(key),
        Merged::Values | Merged::Replaced => item == wanted,
    };
    if let Some(items) = fields.get_mut(list).and_then(Value::as_array_mut) {
        items.sort_by_key(|item| {
            order
                .iter()
                .position(|wanted| same(item, wanted))
                .unwrap_or(order.len())
        });
    }
    Ok(())
}
