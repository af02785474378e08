//! Sets of fields, as `FieldsV1` writes them down: which parts of an object somebody owns.
//!
//! A tree by path elements in the notation of `FieldsV1`: `f:NAME` is a field, `k:{…}` the item of a list with these
//! keys, `v:VALUE` a value of a set. A path is in the set when its node is a member; a node that is none only leads to
//! members below it. Empty nodes are never kept, so that equal sets are equal trees.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

/// How `FieldsV1` says that a path which leads to others is in the set itself.
const SELF: &str = ".";

/// The deepest set that is read.
const DEPTH_MAX: usize = 128;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(BTreeMap<String, Node>);

/// What a set says of one path and of those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether the path itself is in the set.
    pub(crate) member: bool,
    pub(crate) below: FieldSet,
}

impl Node {
    pub(crate) fn member() -> Self {
        Self {
            member: true,
            below: FieldSet::default(),
        }
    }

    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// One path of named fields.
    pub(crate) fn of(path: &[&str]) -> Self {
        let mut set = Self::default();
        if let [first, rest @ ..] = path {
            let node = match rest {
                [] => Node::member(),
                rest => Node {
                    member: false,
                    below: Self::of(rest),
                },
            };
            set.put(field(first), node);
        }
        set
    }

    /// Whether a path of named fields is in the set.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        match path {
            [] => false,
            [last] => self.get(&field(last)).is_some_and(|node| node.member),
            [first, rest @ ..] => {
                let node = self.get(&field(first));
                node.is_some_and(|node| node.below.has(rest))
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, element: &str) -> Option<&Node> {
        self.0.get(element)
    }

    /// Adds what is said of an element; nothing if nothing is.
    pub(crate) fn put(&mut self, element: String, node: Node) {
        if !node.is_empty() {
            self.0.insert(element, node);
        }
    }

    /// The paths that are in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |node, other| {
            let other = other?;
            Some(Node {
                member: node.member && other.member,
                below: node.below.intersection(&other.below),
            })
        })
    }

    /// The paths that are not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |node, other| {
            let Some(other) = other else {
                return Some(node.clone());
            };
            Some(Node {
                member: node.member && !other.member,
                below: node.below.difference(&other.below),
            })
        })
    }

    fn combine(&self, other: &Self, one: impl Fn(&Node, Option<&Node>) -> Option<Node>) -> Self {
        let mut combined = Self::default();
        for (element, node) in &self.0 {
            if let Some(node) = one(node, other.0.get(element)) {
                combined.put(element.clone(), node);
            }
        }
        combined
    }

    /// The paths that are in either.
    pub(crate) fn union(mut self, other: Self) -> Self {
        for (element, node) in other.0 {
            let own = self.0.entry(element).or_default();
            own.member |= node.member;
            own.below = std::mem::take(&mut own.below).union(node.below);
        }
        self
    }

    /// Reads `FieldsV1`.
    pub(crate) fn parse(fields: &Value) -> Result<Self, String> {
        Self::read(fields, 0).map(|node| node.below)
    }

    fn read(fields: &Value, depth: usize) -> Result<Node, String> {
        let fields = fields.as_object().ok_or("fieldsV1 must be JSON objects")?;
        if depth > DEPTH_MAX {
            return Err(format!("fieldsV1 is nested more than {DEPTH_MAX} deep"));
        }
        if fields.is_empty() {
            return Ok(Node::member());
        }
        let mut node = Node::default();
        for (element, content) in fields {
            match element.as_str() {
                SELF => node.member = true,
                other if is_element(other) => {
                    node.below
                        .put(element.clone(), Self::read(content, depth + 1)?);
                }
                other => return Err(format!("fieldsV1 has {other:?}, which is no path element")),
            }
        }
        Ok(node)
    }

    /// Writes `FieldsV1`.
    pub(crate) fn to_value(&self) -> Value {
        let fields = self.0.iter().map(|(element, node)| {
            let mut below = match node.below.to_value() {
                Value::Object(below) => below,
                _ => Map::new(),
            };
            if node.member && !below.is_empty() {
                below.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
            (element.clone(), Value::Object(below))
        });
        Value::Object(fields.collect())
    }

    /// Every path as Kubernetes shows it: `.spec.ports[name="web"].port`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.list("", &mut paths);
        paths
    }

    fn list(&self, before: &str, paths: &mut Vec<String>) {
        for (element, node) in &self.0 {
            let path = format!("{before}{}", shown(element));
            if node.member {
                paths.push(path.clone());
            }
            node.below.list(&path, paths);
        }
    }
}

fn is_element(text: &str) -> bool {
    ["f:", "k:", "v:", "i:"]
        .iter()
        .any(|kind| text.starts_with(kind))
}

/// The element of a field.
pub(crate) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// An element as Kubernetes shows it.
pub(crate) fn shown(element: &str) -> String {
    let (kind, text) = element.split_at(2);
    match kind {
        "f:" => format!(".{text}"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let mut shown = String::new();
            for (name, value) in &keys {
                let comma = if shown.is_empty() { "" } else { "," };
                // Writing to a text never fails.
                let _ = write!(shown, "{comma}{name}={value}");
            }
            format!("[{shown}]")
        }
        "v:" => format!("[={text}]"),
        _ => format!("[{text}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(fields: Value) -> FieldSet {
        FieldSet::parse(&fields).expect("a set")
    }

    #[test]
    fn what_is_read_is_written_again() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:ports": {"k:{\"name\":\"web\"}": {".": {}, "f:port": {}}}, "f:words": {"v:\"x\"": {}}},
        });
        assert_eq!(set(fields.clone()).to_value(), fields);
        let expected = [
            ".metadata.labels",
            ".metadata.labels.a",
            ".spec.ports[name=\"web\"]",
            ".spec.ports[name=\"web\"].port",
            ".spec.words[=\"x\"]",
        ];
        assert_eq!(set(fields).paths(), expected);
    }

    #[test]
    fn sets_are_combined_path_by_path() {
        let one = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}}));
        let other = set(json!({"f:a": {"f:b": {}, "f:d": {}}}));
        let both = one.clone().union(other.clone());
        assert_eq!(
            both.to_value(),
            json!({"f:a": {".": {}, "f:b": {}, "f:c": {}, "f:d": {}}})
        );
        let shared = one.intersection(&other).to_value();
        assert_eq!(shared, json!({"f:a": {"f:b": {}}}));
        let rest = one.difference(&other).to_value();
        assert_eq!(rest, json!({"f:a": {".": {}, "f:c": {}}}));
        assert!(one.difference(&one).is_empty());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in [json!([]), json!({"spec": {}}), json!({"f:a": 1})] {
            assert!(FieldSet::parse(&bad).is_err(), "{bad}");
        }
    }
}
