//! Requests that real clients were seen to send (`tests/requests`), and how they are sent again.
//!
//! A shape of a request tells neither names nor bodies: each gets an object of its own, in the state in which the answer
//! comes that was seen. A shape that is not understood here is an error, so none is left out. Its kinds are custom ones of
//! the same names, with a schema that is enough to be refused by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, field};

const RECORDED: &str = include_str!("../../../../tests/requests/kubectl-1.36-capi-1.14.txt");
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const NAMESPACE: &str = "default";
/// The group of the definitions that requests write.
const WRITTEN_GROUP: &str = "written.example.org";
/// Whose definitions, rules and defaults the recorded clients brought.
const GROUPS: &str = "cluster.x-k8s.io";
const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";
/// The label of an object that a webhook is asked about which nobody answers.
const UNANSWERED: &str = "unanswered";
/// How often it is looked whether that webhook is asked.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is looked whether a webhook is asked.
const LOOKS_MAX: usize = 1_200;

/// The groups whose documents were asked for by hash, in the order of their lines.
const HASHED: [&str; 6] = [
    "/openapi/v3/apis/admissionregistration.k8s.io/v1",
    "/openapi/v3/apis/apiextensions.k8s.io/v1",
    "/openapi/v3/apis/infrastructure.cluster.x-k8s.io/v1beta1",
    "/openapi/v3/apis/bootstrap.cluster.x-k8s.io/v1beta2",
    "/openapi/v3/apis/cluster.x-k8s.io/v1beta2",
    "/openapi/v3/apis/controlplane.cluster.x-k8s.io/v1beta2",
];

/// What kube-apiserver calls by no type of its own is called JSON here, as it was asked for and is.
const UNNAMED: (&str, &str) = ("/openapi/v3", "text/plain; charset=utf-8");

/// One shape of request, with the answer that was seen.
#[derive(Clone, Debug, Deserialize)]
pub struct Shape {
    verb: String,
    path: String,
    query: Option<Vec<String>>,
    #[serde(rename = "ctype")]
    content_type: String,
    accept: String,
    #[serde(rename = "ua")]
    client: String,
    pub code: u16,
    #[serde(rename = "rtype")]
    pub answer_type: String,
    /// The number of its line, of which names are made.
    #[serde(skip)]
    line: usize,
}

/// Where objects are.
struct Place {
    api_version: String,
    collection: String,
    plural: String,
    /// Of one object: what comes after its name.
    one: Option<String>,
}

/// All that was seen.
pub fn shapes() -> Vec<Shape> {
    let read = |(index, line): (usize, &str)| {
        let (shape, _) = line.rsplit_once(' ').expect("a shape and a number");
        let shape: Shape = serde_json::from_str(shape).expect("a shape");
        Shape {
            line: index + 1,
            ..shape
        }
    };
    RECORDED.lines().enumerate().map(read).collect()
}

/// The definitions of all custom kinds that are asked for.
pub fn definitions() -> Vec<Value> {
    let places = shapes().into_iter().filter_map(|shape| shape.place());
    let custom = places.filter_map(|place| {
        let (group, version) = place.api_version.split_once('/')?;
        let is_custom = group.ends_with(GROUPS);
        is_custom.then(|| (group.to_owned(), version.to_owned(), place.plural.clone()))
    });
    let custom: BTreeSet<_> = custom.collect();
    let defined = custom
        .iter()
        .map(|(group, version, plural)| definition(group, version, plural));
    defined.collect()
}

/// Creates what is read: an object of each kind, and the webhook that nobody answers.
pub async fn set(client: &Client) {
    for definition in definitions() {
        let spec = &definition["spec"];
        let version = format!(
            "{}/{}",
            text(&spec["group"]),
            text(&spec["versions"][0]["name"])
        );
        let place = Place::new(&version, text(&spec["names"]["plural"]));
        create(client, &place, "first").await;
    }
    for plural in ["secrets", "configmaps"] {
        create(client, &Place::new("v1", plural), "first").await;
    }
    let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"]});
    let webhook = json!({
        "name": "nobody.example.org", "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [rule],
        "objectSelector": {"matchExpressions": [{"key": UNANSWERED, "operator": "Exists"}]},
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    });
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "nobody"}, "webhooks": [webhook]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    must_create(client, path, &configuration).await;
    until_unanswered(client).await;
}

/// It counts a moment after it is told.
async fn until_unanswered(client: &Client) {
    let place = Place::new("v1", "configmaps");
    let mut object = place.object("unanswered");
    object["metadata"]["labels"] = json!({UNANSWERED: "yes"});
    let path = format!("{}?dryRun=All", place.collection);
    for _ in 0..LOOKS_MAX {
        let request = post(&path, &object);
        if send(client, request).await.status() == 500 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("nobody asks the webhook");
}

/// Asks what was asked, in the state in which it was.
pub async fn ask(client: &Client, shape: &Shape) -> Answer {
    let mut headers = BTreeMap::new();
    let place = shape.place();
    if let Some(place) = &place
        && place.one.is_some()
        && !matches!(shape.code, 201 | 404)
    {
        create(client, place, &shape.name(place)).await;
    }
    let path = shape.asked_path(client, place.as_ref()).await;
    if shape.code == 304 {
        let known = send(client, shape.request(&path, &headers, Vec::new())).await;
        let tag = known.headers().get("etag").cloned();
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
    }
    let body = place.map_or_else(Vec::new, |place| shape.body(&place));
    let request = shape.request(&path, &headers, body);
    let response = send(client, request).await;
    match shape.is_watch() {
        true => Answer::initial(response).await,
        false => Answer::whole(response).await,
    }
}

impl Shape {
    /// The type of the answer that is spoken here: JSON for all who accept that, too.
    pub fn spoken<'a>(&self, answer_type: &'a str) -> &'a str {
        let accepts = |it: &str| matches!(it.trim(), JSON | "*/*");
        let is_protobuf =
            answer_type.starts_with(PROTOBUF) && self.accept.split([',', ';']).any(accepts);
        match is_protobuf || (self.path.as_str(), answer_type) == UNNAMED {
            true => JSON,
            false => answer_type,
        }
    }

    fn is_watch(&self) -> bool {
        self.query.iter().flatten().any(|it| it == "watch=true")
    }

    /// `None` for what is no object.
    fn place(&self) -> Option<Place> {
        let parts: Vec<&str> = self.path.split('/').skip(1).collect();
        let (api_version, rest) = match parts[..] {
            ["api", version, ref rest @ ..] => (version.to_owned(), rest),
            ["apis", group, version, ref rest @ ..] => (format!("{group}/{version}"), rest),
            ["api" | "apis" | "version"] | ["openapi", ..] => return None,
            _ => panic!("{} is not understood", self.path),
        };
        let (within, rest) = match rest {
            ["namespaces", "{ns}", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (plural, one) = match rest {
            [plural] => (plural, None),
            [plural, "{name}"] => (plural, Some(String::new())),
            [plural, "{name}", part] => (plural, Some(format!("/{part}"))),
            _ => panic!("{} is not understood", self.path),
        };
        let mut place = Place::new(&api_version, plural);
        if !within {
            place.collection = collection(&api_version, plural, false);
        }
        Some(Place { one, ..place })
    }

    /// The name of its object.
    fn name(&self, place: &Place) -> String {
        match place.plural.as_str() {
            "customresourcedefinitions" => format!("r{}s.{WRITTEN_GROUP}", self.line),
            _ => format!("r{}", self.line),
        }
    }

    async fn asked_path(&self, client: &Client, place: Option<&Place>) -> String {
        let path = match place {
            Some(Place {
                one: Some(part),
                collection,
                ..
            }) => {
                let name = self.name(place.expect("it is there"));
                format!("{collection}/{name}{part}")
            }
            Some(place) => place.collection.clone(),
            None if self.path.contains('{') => self.hashed(),
            None => self.path.clone(),
        };
        let mut query = Vec::new();
        for key in self.query.iter().flatten() {
            query.push(match key.split_once('=') {
                Some(("hash", _)) => format!("hash={}", hash(client, &path).await),
                Some(_) => key.clone(),
                None => made_up(key),
            });
        }
        format!("{path}?{}", query.join("&"))
    }

    /// The document that a line asks for by its hash.
    fn hashed(&self) -> String {
        let all = shapes();
        let hashed = all
            .iter()
            .filter(|it| it.path.starts_with("/openapi/v3/apis/"));
        let index = hashed.take_while(|it| it.line != self.line).count();
        HASHED[index].to_owned()
    }

    fn request(
        &self,
        path: &str,
        headers: &BTreeMap<&str, http::HeaderValue>,
        body: Vec<u8>,
    ) -> Request<Body> {
        let mut request = Request::builder()
            .method(self.verb.as_str())
            .uri(path)
            .header("accept", &self.accept)
            .header("user-agent", format!("{}/1", self.client));
        if !self.content_type.is_empty() {
            request = request.header("content-type", &self.content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.body(body.into()).expect("a request")
    }

    fn body(&self, place: &Place) -> Vec<u8> {
        let object = place.object(&self.name(place));
        let body = match (self.verb.as_str(), self.content_type.as_str()) {
            ("GET", "") => return Vec::new(),
            ("DELETE", PROTOBUF) => return enveloped("v1", "DeleteOptions", &[]),
            ("POST", PROTOBUF) => return protobuf(&object),
            ("DELETE", JSON) if self.client == "kubectl" => {
                json!({"propagationPolicy": "Background"})
            }
            ("DELETE", JSON) => json!({"kind": "DeleteOptions", "apiVersion": place.api_version}),
            ("POST", JSON) => self.spoilt(object),
            ("PATCH", "application/apply-patch+yaml") => object,
            ("PATCH", "application/merge-patch+json") => self.change(place),
            _ => panic!("{self:?} is not understood"),
        };
        body.to_string().into_bytes()
    }

    /// What is posted, so that it is refused as it was.
    fn spoilt(&self, mut object: Value) -> Value {
        match self.code {
            201 => {}
            422 => object["spec"]["size"] = json!(-1),
            500 => object["metadata"]["labels"] = json!({UNANSWERED: "yes"}),
            code => panic!("nothing is known to be answered by {code}"),
        }
        object
    }

    fn change(&self, place: &Place) -> Value {
        let mut change = match place.one.as_deref() {
            Some("/status") => json!({"status": {"phase": "Changed"}}),
            _ => json!({"metadata": {"annotations": {"changed": "yes"}}}),
        };
        if self.code == 409 {
            change["metadata"]["resourceVersion"] = "1".into();
        }
        change
    }
}

impl Place {
    fn new(api_version: &str, plural: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            collection: collection(api_version, plural, true),
            plural: plural.to_owned(),
            one: None,
        }
    }

    fn object(&self, name: &str) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": kind(&self.plural),
            "metadata": {"name": name, "labels": {CLUSTER_LABEL: "shop"}}});
        match self.plural.as_str() {
            "customresourcedefinitions" => {
                let plural = name.split('.').next().expect("a first part");
                object["spec"] = definition(WRITTEN_GROUP, "v1", plural)["spec"].take();
            }
            "events" => {
                object["involvedObject"] =
                    json!({"kind": "Cluster", "namespace": NAMESPACE, "name": "first"})
            }
            _ if self.api_version.contains(GROUPS) => object["spec"] = json!({"size": 1}),
            _ => {}
        }
        object
    }
}

fn collection(api_version: &str, plural: &str, within: bool) -> String {
    let root = if api_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    let within = if within {
        format!("/namespaces/{NAMESPACE}")
    } else {
        String::new()
    };
    format!("/{root}/{api_version}{within}/{plural}")
}

fn kind(plural: &str) -> String {
    let known = match plural {
        "secrets" => "Secret",
        "configmaps" => "ConfigMap",
        "events" => "Event",
        "customresourcedefinitions" => "CustomResourceDefinition",
        "mutatingwebhookconfigurations" => "MutatingWebhookConfiguration",
        "validatingwebhookconfigurations" => "ValidatingWebhookConfiguration",
        // Nobody else knows those.
        plural => return plural[..1].to_uppercase() + &plural[1..],
    };
    known.to_owned()
}

fn definition(group: &str, version: &str, plural: &str) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer", "minimum": 0}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": open}});
    let kind = kind(plural);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// The value of a key whose value was not kept.
fn made_up(key: &str) -> String {
    let value = match key {
        "fieldSelector" => "metadata.name%3Dfirst",
        "labelSelector" => "cluster.x-k8s.io%2Fcluster-name%3Dshop",
        "limit" => "500",
        "timeout" => "32s",
        "timeoutSeconds" => "300",
        _ => panic!("nothing is known of {key}"),
    };
    format!("{key}={value}")
}

/// What the server says that a document has now.
async fn hash(client: &Client, path: &str) -> String {
    let request = Request::get("/openapi/v3").header("accept", JSON);
    let response = send(client, request.body(Body::empty()).expect("a request")).await;
    let index = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let index: Value = serde_json::from_slice(&index).expect("a document");
    let name = path.trim_start_matches("/openapi/v3/");
    let address = text(&index["paths"][name]["serverRelativeURL"]);
    address.split_once("hash=").expect("a hash").1.to_owned()
}

async fn create(client: &Client, place: &Place, name: &str) {
    must_create(client, &place.collection, &place.object(name)).await;
}

async fn must_create(client: &Client, path: &str, object: &Value) {
    let answer = Answer::whole(send(client, post(path, object)).await).await;
    assert_eq!(answer.code, 201, "{path} {object} {answer:?}");
}

fn post(path: &str, object: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", JSON);
    request
        .body(object.to_string().into_bytes().into())
        .expect("a request")
}

async fn send(client: &Client, request: Request<Body>) -> Response<Body> {
    client.send(request).await.expect("an answer")
}

/// A Secret or a ConfigMap with nothing but a name.
fn protobuf(object: &Value) -> Vec<u8> {
    let metadata = field(1, text(&object["metadata"]["name"]).as_bytes());
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    enveloped(api_version, kind, &field(1, &metadata))
}

/// `runtime.Unknown`, in which all bodies travel.
fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
