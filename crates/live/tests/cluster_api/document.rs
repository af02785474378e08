//! YAML documents, and where the objects in them are served.

use serde_json::Value;

/// The documents of a text.
pub fn read(text: &str) -> Vec<Value> {
    api::documents(text).expect("the documents are manifests")
}

/// The path of a collection: in the namespace, if there is one.
pub fn collection(api_version: &str, plural: &str, namespace: Option<&str>) -> String {
    let root = if api_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    let within = namespace.map_or_else(String::new, |name| format!("/namespaces/{name}"));
    format!("/{root}/{api_version}{within}/{plural}")
}

/// The path of an object.
pub fn path(object: &Value, namespace: Option<&str>) -> String {
    let plural = plural(text(&object["kind"]));
    let collection = collection(text(&object["apiVersion"]), &plural, namespace);
    format!("{collection}/{}", name(object))
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// A text, which must be one.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    let ending = if kind.ends_with('s') { "es" } else { "s" };
    kind + ending
}
