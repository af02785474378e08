//! Whatever clients send: every request is answered in the form of Kubernetes, nothing breaks the server, and nothing half
//! done stays behind.
//!
//! Requests are made from good ones by replacing, removing and adding parts. `GROMA_FUZZ=n` runs n lives instead of the few
//! that every test run has.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::{Identity, Server};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

/// Lives of one server in a common test run, and requests in each.
const LIVES: u32 = 48;
const REQUESTS: usize = 24;
/// One request of so many is granted, at least.
const GRANTED_PART: usize = 5;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn widgets(rule: &str) -> Value {
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
fn documents() -> Vec<(&'static str, Value)> {
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
struct Sent {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
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

fn sent() -> impl Strategy<Value = Sent> {
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

async fn ask(server: &Server, sent: &Sent) -> (u16, Value) {
    let mut request = http::Request::builder().method(sent.method).uri(&sent.path);
    if !sent.content_type.is_empty() {
        request = request.header("content-type", sent.content_type);
    }
    let request = request.body(Full::new(Bytes::from(sent.body.clone())));
    let request = request.expect("paths are encoded");
    let response = server
        .serve(&Identity::Admin("fuzz".to_owned()), request)
        .await;
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (
        code,
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{sent:?}: {error}: {body:?}")),
    )
}

fn get(path: &str) -> Sent {
    Sent {
        method: "GET",
        path: path.to_owned(),
        content_type: "",
        body: Vec::new(),
    }
}

/// One server through a life of requests; says how many it granted.
async fn live(requests: &[Sent]) -> usize {
    let definition: CustomResourceDefinition =
        serde_json::from_value(widgets("self.size < 100")).expect("a definition");
    let server = Server::in_memory(vec![definition]);
    for (collection, document) in documents() {
        let good = Sent {
            method: "POST",
            path: collection.to_owned(),
            content_type: "application/json",
            body: document.to_string().into_bytes(),
        };
        let (code, answer) = ask(&server, &good).await;
        assert_eq!(code, 201, "{collection}: {answer}");
    }
    let mut granted = 0;
    for sent in requests {
        let (code, answer) = ask(&server, sent).await;
        let shown = || {
            format!(
                "{} {} {} {}\n{code} {answer}",
                sent.method,
                sent.path,
                sent.content_type,
                String::from_utf8_lossy(&sent.body)
            )
        };
        assert!((200..600).contains(&code), "{}", shown());
        granted += usize::from(code < 300);
        if code >= 400 {
            assert_eq!(
                (&answer["kind"], &answer["code"]),
                (&json!("Status"), &json!(code)),
                "{}",
                shown()
            );
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(!message.is_empty(), "{}", shown());
            // Nothing that a client sends is the server's own failure, but for what Kubernetes calls one.
            let undeclared = message.contains("field not declared in schema");
            assert!(code != 500 || undeclared, "{}", shown());
        }
    }
    for (collection, _) in documents() {
        let (code, list) = ask(&server, &get(collection)).await;
        assert_eq!(code, 200, "{collection}: {list}");
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"]
                .as_str()
                .expect("everything has a name");
            let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let (code, shown) = ask(&server, &get(&format!("{collection}/{name}"))).await;
            assert_eq!(code, 200, "{collection}/{name}: {shown}");
            assert_eq!(shown["metadata"]["uid"], item["metadata"]["uid"]);
        }
    }
    granted
}

#[test]
fn nothing_that_clients_send_breaks_the_server() {
    let lives = env::var("GROMA_FUZZ").map_or(LIVES, |lives| {
        lives.parse().expect("GROMA_FUZZ is a number")
    });
    let granted = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config {
        cases: lives,
        failure_persistence: None,
        ..Config::default()
    };
    let played = TestRunner::new(config).run(&vec(sent(), REQUESTS), |requests| {
        let granted_now = runtime.block_on(live(&requests));
        granted.fetch_add(granted_now, Ordering::Relaxed);
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
    // Otherwise this would only show that nonsense is refused.
    let (granted, all) = (granted.into_inner(), lives as usize * REQUESTS);
    assert!(
        granted * GRANTED_PART > all,
        "only {granted} of {all} requests were granted"
    );
}

/// Long and deep expressions, wherever there are some.
#[tokio::test]
async fn expressions_of_any_size_are_refused_or_evaluated() {
    for deep in [8, 30, 60, 120, 250, 1_000, 50_000] {
        evaluate(deep).await;
    }
}

async fn evaluate(deep: usize) {
    let expressions = [
        "(".repeat(deep),
        format!("{}true{}", "(".repeat(deep), ")".repeat(deep)),
        "!".repeat(deep) + "true",
        "-".repeat(deep) + "1 == 1",
        format!("true{}", " && true".repeat(deep)),
        format!("1{} == 1", " + 1".repeat(deep)),
        format!("self{}", ".size".repeat(deep)),
        format!("self{}", "[0]".repeat(deep)),
        format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        format!("{}true", "true ? ".repeat(deep)),
        format!("{}true", "[1].all(x, ".repeat(64)),
    ];
    for expression in expressions {
        let server = Server::in_memory(Vec::new());
        let post = async |path: &str, body: &Value| {
            let sent = Sent {
                method: "POST",
                path: path.to_owned(),
                content_type: "application/json",
                body: body.to_string().into_bytes(),
            };
            let (code, answer) = ask(&server, &sent).await;
            assert!([201, 422].contains(&code), "{answer}");
        };
        let mut documents = documents();
        let (policies, mut policy) = documents.remove(5);
        policy["spec"]["failurePolicy"] = "Fail".into();
        policy["spec"]["validations"] =
            json!([{"expression": expression.replace("self", "object")}]);
        post(DEFINITIONS, &widgets(&expression)).await;
        post(policies, &policy).await;
        let (bindings, binding) = &documents[5];
        post(bindings, binding).await;
        let (_, map) = &documents[0];
        post("/api/v1/namespaces/default/configmaps", map).await;
        let (code, answer) = {
            let (_, widget) = &documents[2];
            let sent = Sent {
                method: "POST",
                path: WIDGETS.to_owned(),
                content_type: "application/json",
                body: widget.to_string().into_bytes(),
            };
            ask(&server, &sent).await
        };
        // Where the rule was refused, there are no such objects.
        assert!([201, 404, 422].contains(&code), "{answer}");
    }
}
