//! Both servers, and one request to both.

use std::collections::BTreeSet;
use std::sync::Mutex;

use apiserver::Server;
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Client, Config};
use live::Skip;
use live::kubernetes::{ApiServer, TOKEN};
use serde_json::{Value, json};

/// What is different by its nature; so are the order of managers, which follows from their times,
/// and that of conflicts, which kube-apiserver gathers from a map.
const HIDDEN: [&str; 7] = [
    "continue",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "resourceVersion",
    "time",
    "uid",
];

/// After this a message tells a uid or a version.
const IN_RECORD: &str = " in record (";

/// A real server and ours.
pub struct Pair {
    real: Client,
    ours: Client,
    // Ends with the pair.
    server: ApiServer,
    differences: Mutex<Vec<String>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub content_type: &'a str,
    pub body: Vec<u8>,
}

impl Pair {
    /// Both with the same definitions; `None`, with the reason told, where there is no real one.
    pub async fn new(definitions: &[Value]) -> Option<Self> {
        let read = |definition: &Value| serde_json::from_value(definition.clone());
        let served: Result<Vec<CustomResourceDefinition>, _> =
            definitions.iter().map(read).collect();
        let ours = Server::in_memory(served.expect("definitions"));
        Self::with(ours.client(), definitions).await
    }

    /// A real one beside one of ours.
    pub async fn with(ours: Client, definitions: &[Value]) -> Option<Self> {
        Self::between(ours, ApiServer::start(), definitions).await
    }

    /// One of ours beside a real one, if that could be started.
    pub async fn between(
        ours: Client,
        server: Result<ApiServer, Skip>,
        definitions: &[Value],
    ) -> Option<Self> {
        let server = match server {
            Ok(server) => server,
            Err(skip) => {
                skip.report();
                return None;
            }
        };
        let mut config = Config::new(server.url().parse().expect("an address"));
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo {
            token: Some(TOKEN.to_owned().into()),
            ..AuthInfo::default()
        };
        let real = Client::try_from(config).expect("a client");
        let mut pair = Self {
            real,
            ours,
            server,
            differences: Mutex::default(),
        };
        pair.until("/readyz", |code, _| code == 200).await;
        pair.until("/api/v1/namespaces/default", |code, _| code == 200)
            .await;
        for definition in definitions {
            pair.define(definition).await;
        }
        Some(pair)
    }

    async fn define(&mut self, definition: &Value) {
        const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let (code, said) = ask(
            &self.real,
            &Step {
                method: "POST",
                path: PATH,
                content_type: "application/json",
                body: definition.to_string().into_bytes(),
            },
        )
        .await;
        assert_eq!(code, 201, "{said}");
        let (spec, version) = (
            &definition["spec"],
            &definition["spec"]["versions"][0]["name"],
        );
        let word = |value: &Value| value.as_str().expect("a text").to_owned();
        let path = format!(
            "/apis/{}/{}/{}",
            word(&spec["group"]),
            word(version),
            word(&spec["names"]["plural"])
        );
        self.until(&path, |code, _| code == 200).await;
    }

    /// Waits until the real server answers so.
    async fn until(&mut self, path: &str, expected: impl Fn(u16, &Value) -> bool) {
        let step = Step {
            method: "GET",
            path,
            content_type: "",
            body: Vec::new(),
        };
        self.until_step(&step, expected).await;
    }

    async fn until_step(&mut self, step: &Step<'_>, expected: impl Fn(u16, &Value) -> bool) {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let real = &self.real;
            self.server.wait(|| {
                let (code, said) = runtime.block_on(ask(real, step));
                expected(code, &said)
            });
        });
    }

    /// Waits until the real server refuses to create that: what it asks before a write counts a moment after it is told.
    pub async fn refuses(&mut self, path: &str, body: &Value) {
        let step = Step {
            method: "POST",
            path,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        };
        self.until_step(&step, |code, _| code >= 400).await;
    }

    /// The ways to the real server and to ours.
    pub fn clients(&self) -> [&Client; 2] {
        [&self.real, &self.ours]
    }

    /// Waits until the real server has forgotten what is asked for there.
    pub async fn forgets(&mut self, path: &str) {
        self.until(path, |code, _| code == 410).await;
    }

    /// Reads from each at a path of its own, notes what differs, and says what they answered.
    pub async fn compare_own(&self, paths: &[String; 2]) -> [Value; 2] {
        let [real, ours] = paths.each_ref().map(|path| Step {
            method: "GET",
            path,
            content_type: "",
            body: Vec::new(),
        });
        let (expected, found) = (ask(&self.real, &real).await, ask(&self.ours, &ours).await);
        self.note(&real, expected.clone(), found.clone());
        [expected.1, found.1]
    }

    /// What both answer.
    pub async fn answers(&self, step: &Step<'_>) -> [(u16, Value); 2] {
        [ask(&self.real, step).await, ask(&self.ours, step).await]
    }

    /// Sends a document, or nothing if it is null, to both and notes what differs in their answers.
    pub async fn send(&self, (method, content_type): (&str, &str), path: &str, body: &Value) {
        let (content_type, body) = match body {
            Value::Null => ("", Vec::new()),
            body => (content_type, body.to_string().into_bytes()),
        };
        let step = Step {
            method,
            path,
            content_type,
            body,
        };
        self.compare(&step).await;
    }

    /// Sends a request to both and notes what differs in their answers.
    pub async fn compare(&self, step: &Step<'_>) {
        let (real, ours) = tokio::join!(ask(&self.real, step), ask(&self.ours, step));
        self.note(step, real, ours);
    }

    /// Sends a request to both and notes what differs in what a program reads of their refusals: the code, the reason, and
    /// the reason and field of each cause.
    pub async fn compare_causes(&self, step: &Step<'_>) {
        let (real, ours) = tokio::join!(ask(&self.real, step), ask(&self.ours, step));
        self.note(step, of_causes(real), of_causes(ours));
    }

    /// Sends a request to both, whatever they answer.
    pub async fn both(&self, method: &str, path: &str, body: &Value) {
        let step = Step {
            method,
            path,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        };
        for client in [&self.real, &self.ours] {
            ask(client, &step).await;
        }
    }

    /// Changes some fields on both, whatever they answer.
    pub async fn merge(&self, path: &str, fields: &Value) {
        let step = Step {
            method: "PATCH",
            path,
            content_type: "application/merge-patch+json",
            body: fields.to_string().into_bytes(),
        };
        for client in self.clients() {
            ask(client, &step).await;
        }
    }

    /// Sends to each what it makes of the object that it has, and notes what differs in the answers.
    pub async fn compare_each(
        &self,
        (method, path): (&str, &str),
        read: &str,
        body: impl Fn(&Value) -> Value,
    ) {
        let get = Step {
            method: "GET",
            path: read,
            content_type: "",
            body: Vec::new(),
        };
        let step = |(_, found): (u16, Value)| Step {
            method,
            path,
            content_type: "application/json",
            body: body(&found).to_string().into_bytes(),
        };
        let [real, ours] = self.answers(&get).await.map(step);
        let answers = [ask(&self.real, &real).await, ask(&self.ours, &ours).await];
        let [expected, found] = answers;
        self.note(&real, expected, found);
    }

    /// Reads in another form from both and notes what differs.
    pub async fn compare_as(&self, accept: &str, path: &str) {
        let step = Step {
            method: "GET",
            path,
            content_type: "",
            body: Vec::new(),
        };
        let real = ask_as(&self.real, &step, accept).await;
        let ours = ask_as(&self.ours, &step, accept).await;
        let plain = |(code, said)| (code, undescribed(said));
        self.note(&step, plain(real), plain(ours));
    }

    /// Sends a request of somebody, by name and groups, to both and notes what differs.
    pub async fn compare_acting(&self, step: &Step<'_>, user: &[&str]) {
        let headers = acting(user);
        let real = ask_with(&self.real, step, &headers).await;
        let ours = ask_with(&self.ours, step, &headers).await;
        self.note(step, real, ours);
    }

    /// Waits until somebody may read that on the real server: roles count a moment after they are told.
    pub async fn permits(&mut self, path: &str, user: &[&str]) {
        let step = Step {
            method: "GET",
            path,
            content_type: "",
            body: Vec::new(),
        };
        let (runtime, headers) = (tokio::runtime::Handle::current(), acting(user));
        tokio::task::block_in_place(|| {
            let real = &self.real;
            self.server
                .wait(|| runtime.block_on(ask_with(real, &step, &headers)).0 != 403);
        });
    }

    fn note(&self, step: &Step<'_>, real: (u16, Value), ours: (u16, Value)) {
        let (expected, found) = (hidden(real.1), hidden(ours.1));
        if (real.0, &expected) != (ours.0, &found) {
            let difference = format!(
                "{} {} {}\nkube-apiserver {}: {expected:#}\ngroma {}: {found:#}",
                step.method,
                step.path,
                String::from_utf8_lossy(&step.body),
                real.0,
                ours.0
            );
            self.differences.lock().expect("no panic").push(difference);
        }
    }

    /// Compares one part of what both answer at a path, once the real server has it.
    pub async fn compare_part(&mut self, path: &str, pointer: &str) {
        self.until(path, |_, said| said.pointer(pointer).is_some())
            .await;
        let step = Step {
            method: "GET",
            path,
            content_type: "",
            body: Vec::new(),
        };
        let (real, ours) = (ask(&self.real, &step).await, ask(&self.ours, &step).await);
        let part = |said: &Value| {
            let part = said.pointer(pointer).cloned();
            part.map(undescribed).map(hidden)
        };
        let (expected, found) = (part(&real.1), part(&ours.1));
        if expected != found {
            let shown =
                |part: Option<Value>| part.map_or("nothing".to_owned(), |it| format!("{it:#}"));
            let difference = format!(
                "GET {path} {pointer}\nkube-apiserver {}: {}\ngroma {}: {}",
                real.0,
                shown(expected),
                ours.0,
                shown(found)
            );
            self.differences.lock().expect("no panic").push(difference);
        }
    }

    /// All answers must have been the same.
    pub fn finish(self) {
        let differences = self.differences.into_inner().expect("no panic");
        assert!(
            differences.is_empty(),
            "{} answers differ\n{}",
            differences.len(),
            differences.join("\n\n")
        );
    }
}

/// An answer without texts, and without the object that it shows.
fn of_causes((code, said): (u16, Value)) -> (u16, Value) {
    if said["kind"] != "Status" {
        return (code, Value::Null);
    }
    let causes = said.pointer("/details/causes").and_then(Value::as_array);
    let causes = causes.into_iter().flatten();
    let causes: BTreeSet<String> = causes
        .map(|cause| format!("{} {}", cause["reason"], cause["field"]))
        .collect();
    (code, json!({"reason": said["reason"], "causes": causes}))
}

/// A definition of cups, whose only version has this besides.
pub fn cups(besides: &Value) -> Value {
    let properties = json!({"size": {"type": "integer"}, "word": {"type": "string"}});
    let mut version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    });
    for (field, content) in besides.as_object().into_iter().flatten() {
        version[field] = content.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "cups.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "cups", "singular": "cup", "kind": "Cup", "listKind": "CupList"},
            "versions": [version],
        },
    })
}

/// The code and the document of an answer; 0 if there is none.
pub async fn ask(client: &Client, step: &Step<'_>) -> (u16, Value) {
    ask_as(client, step, "application/json").await
}

async fn ask_as(client: &Client, step: &Step<'_>, accept: &str) -> (u16, Value) {
    ask_with(client, step, &[("accept", accept)]).await
}

/// What makes a request somebody else's.
fn acting<'a>(user: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let user = user.iter().enumerate().map(|(n, name)| match n {
        0 => ("impersonate-user", *name),
        _ => ("impersonate-group", *name),
    });
    [("accept", "application/json")]
        .into_iter()
        .chain(user)
        .collect()
}

async fn ask_with(client: &Client, step: &Step<'_>, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = Request::builder().method(step.method).uri(step.path);
    if !step.content_type.is_empty() {
        request = request.header("content-type", step.content_type);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("user-agent", "parity/1");
    let request = request
        .body(Body::from(step.body.clone()))
        .expect("a request");
    let Ok(response) = client.send(request).await else {
        return (0, Value::Null);
    };
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    let body = body.unwrap_or_default();
    let told = || json!(String::from_utf8_lossy(&body));
    (
        code,
        serde_json::from_slice(&body).unwrap_or_else(|_| told()),
    )
}

/// The schema without the words that explain it.
pub fn undescribed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            fields.retain(|name, content| name != "description" || !content.is_string());
            let all = fields.values_mut();
            all.for_each(|field| *field = undescribed(field.take()));
        }
        Value::Array(list) => {
            list.iter_mut()
                .for_each(|item| *item = undescribed(item.take()));
        }
        _ => {}
    }
    schema
}

/// The message without the uid or version that an object has.
fn untold(message: &str) -> String {
    let told = message.split_once(IN_RECORD);
    let rest = told.and_then(|(_, rest)| rest.split_once(')'));
    match (told, rest) {
        (Some((before, _)), Some((_, after))) => format!("{before}{IN_RECORD}hidden){after}"),
        _ => message.to_owned(),
    }
}

/// The document without what is different by its nature, or is there and says nothing.
pub fn hidden(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            // Some of Go's types write down that they have no status, and there may be no more pages or details.
            let says = |name: &str, field: &Value| match name {
                "status" | "details" => *field != json!({}),
                "continue" => *field != "",
                _ => !field.is_null(),
            };
            fields.retain(|name, field| says(name, field));
            // Kubernetes leaves out what items of its own kinds are.
            if fields.get("apiVersion").is_some_and(|it| it == "v1") {
                let items = fields.get_mut("items").and_then(Value::as_array_mut);
                for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
                    item.retain(|name, _| !["apiVersion", "kind"].contains(&name.as_str()));
                }
            }
            for (name, field) in fields.iter_mut() {
                if let ("managedFields", Some(managers)) = (name.as_str(), field.as_array_mut()) {
                    managers.sort_by_key(|manager| {
                        ["operation", "manager", "subresource"].map(|it| manager[it].to_string())
                    });
                }
                if let ("causes", Some(causes)) = (name.as_str(), field.as_array_mut()) {
                    causes.sort_by_key(|cause| cause["field"].to_string());
                }
                if let ("message", Some(message)) = (name.as_str(), field.as_str()) {
                    *field = untold(message).into();
                }
                match HIDDEN.contains(&name.as_str()) && field.is_string() {
                    true => *field = "hidden".into(),
                    false => *field = hidden(field.take()),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| *item = hidden(item.take())),
        _ => {}
    }
    value
}
