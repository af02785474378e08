//! What is written: one kind that both servers are given, with objects of about 1 kB and of about 10 kB.

use serde_json::{Value, json};

pub(super) const GROUP: &str = "bench.groma.test";
/// Parts of a large object.
const PARTS: usize = 48;
/// Of those, how many change when it changes.
const CHANGED: usize = 4;

/// The path of all objects of a namespace.
pub(super) fn path(namespace: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/{namespace}/things")
}

/// The definition of the kind.
pub(super) fn definition() -> Value {
    let text = json!({"type": "string", "maxLength": 2048});
    let part = json!({
        "type": "object", "required": ["name"],
        "properties": {
            "name": text, "image": text, "mode": {"type": "string", "enum": ["active", "standby"]},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535}, "note": text,
            "words": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        },
    });
    let spec = json!({
        "type": "object",
        "properties": {
            "host": text, "sent": {"type": "integer", "format": "int64"}, "text": text,
            "replicas": {"type": "integer", "default": 1, "minimum": 0},
            "parts": {
                "type": "array", "maxItems": 1000, "items": part,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            },
        },
    });
    let status = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.host"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

/// The name of a small object.
pub(super) fn name(at: usize) -> String {
    format!("thing-{at:06}")
}

/// A host.
pub(super) fn host(at: usize) -> String {
    format!("host-{at:06}")
}

/// An object of about 1 kB.
pub(super) fn small(at: usize) -> String {
    let parts: Vec<Value> = (0..2).map(|part| self::part(part, at)).collect();
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Thing",
        "metadata": {
            "name": name(at),
            "labels": {"app.kubernetes.io/name": "bench", "app.kubernetes.io/part-of": format!("group-{}", at % 100)},
            "annotations": {"bench.groma.test/why": "an object of about the size that is usual"},
        },
        "spec": {"host": host(at), "text": "x".repeat(240), "parts": parts},
    });
    object.to_string()
}

/// A small object for a host that says when it was sent, in microseconds.
pub(super) fn sent(name: &str, host: &str, micros: u128) -> String {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Thing", "metadata": {"name": name},
        "spec": {"host": host, "text": "x".repeat(700)},
    });
    // The watcher looks for this text.
    object
        .to_string()
        .replacen("\"spec\":{", &format!("\"spec\":{{\"sent\":{micros},"), 1)
}

/// A configuration of about 10 kB for an object, which changes with `text`.
pub(super) fn large(name: &str, text: usize) -> String {
    let parts = (0..PARTS).map(|part| match part < CHANGED {
        true => self::part(part, text),
        false => self::part(part, 0),
    });
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Thing", "metadata": {"name": name},
        "spec": {"host": name, "text": format!("state {text}"), "parts": parts.collect::<Vec<_>>()},
    });
    object.to_string()
}

fn part(part: usize, text: usize) -> Value {
    json!({
        "name": format!("part-{part}"), "image": "registry.example.com/functions/firewall:1.2.3", "mode": "active",
        "port": 8080, "note": format!("state {text:07} of a part"), "words": ["north", "south"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_sizes_that_are_promised() {
        let (small, sent, large) = (small(1).len(), sent("a", "b", 1).len(), large("a", 1).len());
        assert!((800..1200).contains(&small), "{small}");
        assert!((800..1200).contains(&sent), "{sent}");
        assert!((9_000..11_000).contains(&large), "{large}");
    }
}
