//! Walks over values by their shape: which fields there are, what differs between two states, what is left after a
//! removal. The rules are those of `structured-merge-diff`, by which Kubernetes tells who owns what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::{FieldSet, Node, field};
use super::shape::{Form, Shape};

/// What tells two states of an object apart.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) added: FieldSet,
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
}

impl Differences {
    /// What is now otherwise than it was, or was not there.
    pub(super) fn now(&self) -> FieldSet {
        self.changed.clone().union(self.added.clone())
    }
}

/// All fields of an object.
pub(super) fn fields(shape: &Shape, value: &Value) -> Result<FieldSet, String> {
    node(shape, value).map(|node| node.below)
}

fn node(shape: &Shape, value: &Value) -> Result<Node, String> {
    let form = shape.of(value);
    let mut at = Node::default();
    match (form, value) {
        (Form::Leaf, _) => at.member = true,
        (Form::Fields(..), Value::Object(content)) => {
            for (name, value) in content {
                let mut below = node(form.field(name), value)?;
                let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.member |= hollow || !form.names(name);
                at.below.put(field(name), below);
            }
        }
        (Form::List(_), Value::Array(list)) => {
            for (element, items) in grouped(form, Some(list))? {
                let mut below = match items.as_slice() {
                    [item] => node(form.items(), item)?,
                    // What is there twice is owned as a whole.
                    _ => Node::default(),
                };
                below.member = true;
                at.below.put(element, below);
            }
        }
        _ => {}
    }
    Ok(at)
}

/// What differs between two states.
pub(super) fn compare(shape: &Shape, old: &Value, new: &Value) -> Result<Differences, String> {
    let at = differences(shape, Some(old), Some(new))?;
    Ok(Differences {
        added: at.added.below,
        changed: at.changed.below,
        removed: at.removed.below,
    })
}

/// Differences at and below one path.
#[derive(Default)]
struct At {
    added: Node,
    changed: Node,
    removed: Node,
}

impl At {
    /// The path as a whole is otherwise than it was.
    fn whole(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut at = Self::default();
        let side = match (old, new) {
            (None, _) => &mut at.added,
            (_, None) => &mut at.removed,
            _ => &mut at.changed,
        };
        side.member = true;
        at
    }

    fn put(&mut self, element: &str, below: Self) {
        self.added.below.put(element.to_owned(), below.added);
        self.changed.below.put(element.to_owned(), below.changed);
        self.removed.below.put(element.to_owned(), below.removed);
    }
}

fn differences(shape: &Shape, old: Option<&Value>, new: Option<&Value>) -> Result<At, String> {
    if old == new {
        return Ok(At::default());
    }
    let form = shape.of_both(old, new);
    // What is empty on both sides differs as a whole: null, {} and nothing.
    if matches!(form, Form::Leaf) || (is_empty(old) && is_empty(new)) {
        return Ok(At::whole(old, new));
    }
    let mut at = At::default();
    if matches!(form, Form::List(_)) {
        let (olds, news) = (grouped(form, list(old))?, grouped(form, list(new))?);
        let elements: BTreeSet<&String> = olds.keys().chain(news.keys()).collect();
        for element in elements {
            let old = olds.get(element).map_or(&[][..], Vec::as_slice);
            let new = news.get(element).map_or(&[][..], Vec::as_slice);
            at.put(element, item_differences(form, old, new)?);
        }
    } else {
        let (olds, news) = (object(old), object(new));
        for name in names(olds, news) {
            let old = olds.and_then(|fields| fields.get(name));
            let new = news.and_then(|fields| fields.get(name));
            at.put(&field(name), differences(form.field(name), old, new)?);
        }
    }
    at.added.member |= old.is_none();
    at.removed.member |= new.is_none();
    Ok(at)
}

/// Differences of the items that bear one element: one at most, unless a list is not as it should be.
fn item_differences(form: Form<'_>, old: &[&Value], new: &[&Value]) -> Result<At, String> {
    let between = |old: Option<&&Value>, new: Option<&&Value>| {
        differences(form.items(), old.copied(), new.copied())
    };
    let mut at = match (old.len() > 1, new.len() > 1) {
        (true, true) => At::default(),
        (true, false) => between(None, new.first())?,
        (false, true) => between(old.first(), None)?,
        (false, false) => between(old.first(), new.first())?,
    };
    match (old.len() > 1, new.len() > 1) {
        (true, true) => at.changed.member = old != new,
        (true, false) => at.removed.member = true,
        (false, true) => at.added.member = true,
        (false, false) => {}
    }
    Ok(at)
}

/// What comes of two states when the second one is laid over the first.
pub(super) fn merge(shape: &Shape, old: &Value, new: &Value) -> Result<Value, String> {
    let form = shape.of_both(Some(old), Some(new));
    if matches!(form, Form::Leaf) || (is_empty(Some(old)) && is_empty(Some(new))) {
        return Ok(new.clone());
    }
    if let Form::List(_) = form {
        return merge_items(form, list(Some(old)), list(Some(new))).map(Value::Array);
    }
    let (old, new) = (object(Some(old)), object(Some(new)));
    let mut merged = old.cloned().unwrap_or_default();
    for (name, value) in new.into_iter().flatten() {
        let value = match merged.get(name) {
            Some(old) => merge(form.field(name), old, value)?,
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Ok(Value::Object(merged))
}

/// The items of both lists in the order of the second one; those of the first one only keep their places between.
fn merge_items(
    form: Form<'_>,
    old: Option<&Vec<Value>>,
    new: Option<&Vec<Value>>,
) -> Result<Vec<Value>, String> {
    let (olds, news) = (grouped(form, old)?, grouped(form, new)?);
    if let Some((element, _)) = news.iter().find(|(_, items)| items.len() > 1) {
        return Err(format!(
            "there are several items {}",
            super::set::shown(element)
        ));
    }
    let both = |element: &String, value: &Value| match olds.get(element).map(Vec::as_slice) {
        Some([old]) => merge(form.items(), old, value),
        _ => Ok(value.clone()),
    };
    let elements = |side: Option<&Vec<Value>>| {
        let items = side.into_iter().flatten();
        items
            .map(|item| form.element(item))
            .collect::<Result<Vec<_>, _>>()
    };
    let (old_order, new_order) = (elements(old)?, elements(new)?);
    let old = old.map_or(&[][..], Vec::as_slice);
    let new = new.map_or(&[][..], Vec::as_slice);
    let mut shared = new_order
        .iter()
        .filter(|element| olds.contains_key(*element))
        .peekable();
    let mut merged = Vec::new();
    let mut done = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    while l < old.len() || r < new.len() {
        if let (Some(left), Some(right)) = (old_order.get(l), new_order.get(r)) {
            if left == right {
                merged.push(both(right, &new[r])?);
                done.insert(right);
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if news.contains_key(left) && shared.peek().is_some_and(|next| *next != left) {
                // It comes later, where the new list has it.
                l += 1;
                continue;
            }
        }
        if let Some(left) = old_order.get(l) {
            if !news.contains_key(left) {
                merged.push(old[l].clone());
                l += 1;
                continue;
            }
            if done.contains(left) {
                l += 1;
            }
        }
        if let Some(right) = new_order.get(r) {
            merged.push(both(right, &new[r])?);
            done.insert(right);
            r += 1;
            if shared.peek().is_some_and(|next| *next == right) {
                shared.next();
            }
        }
    }
    Ok(merged)
}

/// The value without the fields of a set; nothing if nothing is left of it.
pub(super) fn without(shape: &Shape, value: &Value, set: &FieldSet) -> Option<Value> {
    let form = shape.of(value);
    match (form, value) {
        (Form::Fields(..), Value::Object(content)) => {
            let kept = content.iter().filter_map(|(name, value)| {
                let kept = rest(form.field(name), value, set.get(&field(name)))?;
                Some((name.clone(), kept))
            });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty() || content.is_empty()).then_some(Value::Object(kept))
        }
        (Form::List(_), Value::Array(list)) => {
            let kept = list.iter().filter_map(|item| match form.element(item) {
                Ok(element) => rest(form.items(), item, set.get(&element)),
                Err(_) => Some(item.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty() || list.is_empty()).then_some(Value::Array(kept))
        }
        _ => Some(value.clone()),
    }
}

/// What is left of a value of which a set says this.
fn rest(shape: &Shape, value: &Value, said: Option<&Node>) -> Option<Value> {
    match said {
        None => Some(value.clone()),
        Some(node) if node.member => None,
        Some(node) => without(shape, value, &node.below),
    }
}

/// The set with the named fields on the way to its members, which are no members by themselves.
pub(super) fn with_named(shape: &Shape, set: &FieldSet) -> FieldSet {
    let mut all = FieldSet::default();
    for (element, node) in set.iter() {
        let (behind, named) = shape.behind(element);
        let node = Node {
            member: node.member || (named && !node.below.is_empty()),
            below: with_named(behind, &node.below),
        };
        all.put(element.clone(), node);
    }
    all
}

/// Whether a set names parts of what is owned as a whole: the kind was of another form when it was written down.
pub(super) fn is_outgrown(shape: &Shape, set: &FieldSet) -> bool {
    set.iter()
        .any(|(element, node)| match shape.behind(element).0 {
            Shape::Leaf => !node.below.is_empty(),
            Shape::Unknown => false,
            behind => is_outgrown(behind, &node.below),
        })
}

/// The set as it would have been written for this shape: who owned parts of what is owned as a whole now owns all of it.
pub(super) fn adapted(shape: &Shape, set: &FieldSet) -> FieldSet {
    let mut all = FieldSet::default();
    for (element, node) in set.iter() {
        let node = match shape.behind(element).0 {
            Shape::Leaf if !node.below.is_empty() => Node::member(),
            Shape::Leaf | Shape::Unknown => node.clone(),
            behind => Node {
                member: node.member,
                below: adapted(behind, &node.below),
            },
        };
        all.put(element.clone(), node);
    }
    all
}

/// The items of a list by their elements.
fn grouped<'v>(
    form: Form<'_>,
    list: Option<&'v Vec<Value>>,
) -> Result<BTreeMap<String, Vec<&'v Value>>, String> {
    let mut grouped: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in list.into_iter().flatten() {
        grouped.entry(form.element(item)?).or_default().push(item);
    }
    Ok(grouped)
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn list(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array)
}

/// Whether there is nothing in it, if it is there at all.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(content)) => content.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// The fields of two objects, each once.
fn names<'v>(
    one: Option<&'v Map<String, Value>>,
    other: Option<&'v Map<String, Value>>,
) -> BTreeSet<&'v str> {
    let all = one.into_iter().chain(other).flat_map(Map::keys);
    all.map(String::as_str).collect()
}
