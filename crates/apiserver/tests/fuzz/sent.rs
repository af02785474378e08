//! What clients might send: good requests, with parts replaced, removed and added.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

pub fn widgets(rule: &str) -> Value {
    let spec = json!({"type": "object", "properties": {
        "host": {"type": "string", "maxLength": 8}, "size": {"type": "integer", "default": 1, "minimum": 0},
        "ports": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true}}}},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }, "x-kubernetes-validations": [{"rule": rule}]});
    let status = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

/// Good documents with the collections that they are sent to.
pub fn documents() -> Vec<(&'static str, Value)> {
    let meta = json!({"name": "a", "labels": {"app": "web"}, "annotations": {"note": "x"}, "finalizers": ["x.org/y"]});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}, "binaryData": {"b": "MQ=="}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"a": "1"}, "type": "Opaque"});
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta, "spec": {
        "host": "h", "size": 2, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": "x"}], "tags": ["x"], "free": {"any": [1]}}});
    let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["widgets"], "operations": ["*"]});
    let hook = json!({"name": "a.b.c", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [rule], "failurePolicy": "Ignore",
        "matchConditions": [{"name": "x", "expression": "object.spec.size > 1"}]});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {"failurePolicy": "Ignore", "matchConstraints": {"resourceRules": [rule]},
        "variables": [{"name": "n", "expression": "object.spec.size"}],
        "validations": [{"expression": "variables.n < 5", "messageExpression": "'n is ' + string(variables.n)"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny", "Audit"]}});
    let hooks = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "m"}, "webhooks": [hook]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 5, "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let mut gadgets = widgets("self.size >= oldSelf.size");
    gadgets["metadata"]["name"] = "gadgets.example.org".into();
    gadgets["spec"]["group"] = "example.org".into();
    gadgets["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    vec![
        ("/api/v1/namespaces/default/configmaps", map),
        ("/api/v1/namespaces/default/secrets", secret),
        (WIDGETS, widget),
        (DEFINITIONS, gadgets),
        (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            hooks,
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            policy,
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            binding,
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            role,
        ),
        ("/api/v1/namespaces", namespace),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            lease,
        ),
    ]
}

/// Words that mean something somewhere.
const WORDS: [&str; 40] = [
    "",
    "a",
    "default",
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "finalizers",
    "managedFields",
    "ownerReferences",
    "generateName",
    "resourceVersion",
    "uid",
    "$patch",
    "$retainKeys",
    "$setElementOrder/ports",
    "$deleteFromPrimitiveList/finalizers",
    "delete",
    "replace",
    "apiVersion",
    "v1",
    "kind",
    "Widget",
    "../x",
    "a/b",
    "é\u{0}",
    "2026-01-01T00:00:00Z",
    "f:spec",
    "k:{\"name\":\"a\"}",
    "v:1",
    "type",
    "object",
    "array",
    "properties",
    "items",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "true",
];

/// Pieces of expressions.
const PIECES: [&str; 28] = [
    "self",
    "oldSelf",
    "object",
    "variables.n",
    ".spec",
    ".size",
    "[0]",
    "['a']",
    " == ",
    " + ",
    " && ",
    " ? ",
    " : ",
    "!",
    "(",
    ")",
    "1",
    "-9223372036854775808",
    "9223372036854775807",
    "1.5",
    "'x'",
    "b'x'",
    "null",
    "[1, 2]",
    "{'a': 1}",
    ".all(x, x > 1)",
    ".matches('(a+)+$')",
    "quantity('1Gi')",
];

fn word() -> impl Strategy<Value = String> {
    select(&WORDS[..]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec![
            json!(0),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(0.5)
        ]),
        word().prop_map(Value::from),
        expression().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((word(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn expression() -> impl Strategy<Value = String> {
    vec(select(&PIECES[..]), 1..9).prop_map(|pieces| pieces.concat())
}

/// A change of a document at some place.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, Value),
    Remove(Index),
    Add(Index, String, Value),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<Index>(), value()).prop_map(|(at, value)| Change::Set(at, value)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), word(), value()).prop_map(|(at, name, value)| Change::Add(at, name, value)),
    ]
}

/// The paths of all parts of a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.for_each(|(n, item)| places(item, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

fn changed(document: &mut Value, change: &Change) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let at = match change {
        Change::Set(at, _) | Change::Remove(at) | Change::Add(at, _, _) => at.get(&found),
    };
    let part = document.pointer_mut(at).expect("it was found there");
    match change {
        Change::Set(_, value) => *part = value.clone(),
        Change::Remove(_) => {
            if let Value::Object(fields) = part {
                let first = fields.keys().next().cloned();
                first.map(|name| fields.remove(&name));
            }
        }
        Change::Add(_, name, value) => match part {
            Value::Object(fields) => drop(fields.insert(name.clone(), value.clone())),
            Value::Array(list) => list.push(value.clone()),
            _ => {}
        },
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: &'static str,
    pub path: String,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

const TYPES: [&str; 7] = [
    "application/json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
    "",
];

fn operations() -> impl Strategy<Value = Value> {
    let path = || {
        vec(word(), 0..4).prop_map(|words| {
            words
                .iter()
                .map(|word| format!("/{word}"))
                .collect::<String>()
        })
    };
    let kind = select(vec![
        "add", "remove", "replace", "move", "copy", "test", "other",
    ]);
    let operation = (kind, path(), path(), value()).prop_map(
        |(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}),
    );
    vec(operation, 0..4).prop_map(Value::from)
}

fn selector() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "app",
        "web",
        "=",
        "==",
        "!=",
        "!",
        ",",
        " in ",
        " notin ",
        "(",
        ")",
        "<",
        ">",
        "1",
        "metadata.name",
        "é",
        "%",
    ]);
    vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

fn query() -> impl Strategy<Value = String> {
    let encoded =
        |text: String| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let parameter = prop_oneof![
        selector().prop_map(move |it| format!("labelSelector={}", encoded(it))),
        selector().prop_map(move |it| format!("fieldSelector={}", encoded(it))),
        word().prop_map(move |it| format!("fieldManager={}", encoded(it))),
        word().prop_map(move |it| format!("continue={}", encoded(it))),
        select(vec![
            "limit=1",
            "limit=-1",
            "dryRun=All",
            "dryRun=None",
            "force=true",
            "fieldValidation=Strict",
            "fieldValidation=Warn",
            "resourceVersion=0",
            "resourceVersion=x",
            "resourceVersionMatch=Exact",
            "pretty=true",
            "propagationPolicy=Orphan",
            "propagationPolicy=Foreground",
            "unknown=1",
            "timeoutSeconds=1"
        ])
        .prop_map(str::to_owned),
    ];
    vec(parameter, 0..3).prop_map(|all| all.join("&"))
}

/// How a body is said to be written: mostly as the method wants it.
fn content_type(method: &'static str) -> impl Strategy<Value = &'static str> {
    let fitting = match method {
        "PATCH" => select(&TYPES[1..5]),
        _ => select(&TYPES[..1]),
    };
    prop_oneof![8 => fitting, 1 => select(&TYPES[..])]
}

pub fn sent() -> impl Strategy<Value = Sent> {
    let method = select(vec![
        "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE", "GET",
    ]);
    let form = method.prop_flat_map(|method| (Just(method), content_type(method)));
    let document = (select(documents()), vec(change(), 0..3));
    let other = (operations(), vec(any::<u8>(), 0..40), 0..16_u8);
    let part =
        prop_oneof![6 => Just(""), 1 => select(vec!["/status", "/scale", "/finalize", "/x"])];
    let query = prop_oneof![3 => Just(String::new()), 1 => query()];
    (form, document, other, part, query).prop_map(
        |((method, content_type), (from, changes), (operations, noise, turn), part, query)| {
            let (collection, mut document) = from;
            let name = document["metadata"]["name"]
                .as_str()
                .unwrap_or("a")
                .to_owned();
            changes.iter().for_each(|it| changed(&mut document, it));
            let body = match (turn, method, content_type) {
                (0, _, _) => noise,
                (1, _, _) => [document.to_string().into_bytes(), noise].concat(),
                (_, "DELETE" | "GET", _) => Vec::new(),
                (_, _, "application/json-patch+json") => operations.to_string().into_bytes(),
                _ => document.to_string().into_bytes(),
            };
            let path = match method {
                "POST" => collection.to_owned(),
                _ => format!("{collection}/{name}{part}"),
            };
            let apply = content_type == "application/apply-patch+yaml" && turn > 2;
            let query = match query.as_str() {
                "" if apply => "fieldManager=fuzz&force=true",
                query => query,
            };
            let path = match query {
                "" => path,
                query => format!("{path}?{query}"),
            };
            Sent {
                method,
                path,
                content_type,
                body,
            }
        },
    )
}
