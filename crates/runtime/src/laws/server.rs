//! The least of a Kubernetes API server that the laws need: in memory, in process, any kind.
//!
//! Kept faithful where reconcilers can be hurt: optimistic locking, generation, finalizers, no-op writes without an
//! event, dropped nulls in `spec`, uid preconditions, 410 after compaction. No auth, schema, paging, GC.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::util::BoxCloneService;

use super::ground::text;

#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Not `tokio::sync::watch`: that one wakes its receivers in random order.
    changed: Notify,
    in_world: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<Event>,
    orphaned: Vec<String>,
    /// Events up to this version are forgotten: watching from before it is 410 Gone.
    compacted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    plural: String,
    namespace: String,
    name: String,
}

#[derive(Clone)]
struct Event {
    version: u64,
    key: Key,
    object: Value,
    line: Bytes,
}

type Answered = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Result<Value, (u16, &'static str, String)>;

struct Call {
    method: Method,
    key: Key,
    sub: Option<String>,
    query: BTreeMap<String, String>,
    body: Bytes,
    merge: bool,
}

impl Server {
    pub fn new(in_world: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: Notify::new(),
            in_world: Box::new(in_world),
        }))
    }

    pub fn service(self) -> BoxCloneService<Request<Body>, Response<Answered>, Infallible> {
        BoxCloneService::new(tower::service_fn(move |request| {
            self.clone().serve(request)
        }))
    }

    pub fn objects(&self) -> Vec<Value> {
        self.state().objects.values().cloned().collect()
    }

    pub fn history(&self, since: usize) -> (Vec<Value>, usize) {
        let state = self.state();
        (
            state.log[since..]
                .iter()
                .map(|event| event.object.clone())
                .collect(),
            state.log.len(),
        )
    }

    pub fn orphaned(&self) -> Vec<String> {
        self.state().orphaned.clone()
    }

    pub fn compact(&self) {
        let mut state = self.state();
        state.version += 1;
        state.compacted = state.version;
        drop(state);
        self.0.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("never poisoned")
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<Answered>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let call = parse(&parts, body);
        if call.query.contains_key("watch") {
            let since = call
                .query
                .get("resourceVersion")
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            return Ok(Response::new(
                StreamBody::new(self.watch(call.key.plural, since)).boxed_unsync(),
            ));
        }
        Ok(match self.handle(&call) {
            Err((code, reason, message)) => failure(code, reason, message),
            Ok(value) => Response::new(Full::from(value.to_string()).boxed_unsync()),
        })
    }

    fn handle(&self, call: &Call) -> Answer {
        let mut state = self.state();
        let body = || serde_json::from_slice::<Value>(&call.body).unwrap_or(Value::Null);
        match (&call.method, call.key.name.as_str()) {
            (&Method::GET, "") => Ok(state.list(call)),
            (&Method::GET, _) => state.get(&call.key),
            (&Method::POST, _) => {
                let body = body();
                let key = Key {
                    name: text(&body, "/metadata/name").to_owned(),
                    ..call.key.clone()
                };
                state.create(&self.0, key, body)
            }
            (&Method::PUT, _) => state.put(&self.0, &call.key, body(), call.sub.as_deref()),
            (&Method::DELETE, _) => state.delete(&self.0, &call.key, &body()["preconditions"]),
            (&Method::PATCH, _) => {
                let mut object = state.get(&call.key)?;
                if call.merge {
                    json_patch::merge(&mut object, &body());
                } else {
                    let patch: json_patch::Patch = serde_json::from_value(body())
                        .map_err(|e| (400, "BadRequest", e.to_string()))?;
                    json_patch::patch(&mut object, &patch)
                        .map_err(|e| (422, "Invalid", e.to_string()))?;
                }
                state.put(&self.0, &call.key, object, call.sub.as_deref())
            }
            _ => Err((405, "MethodNotAllowed", call.method.to_string())),
        }
    }

    fn watch(
        self,
        plural: String,
        since: u64,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        unfold((self, plural, since), async |(server, plural, since)| {
            loop {
                // Made before the look, so that a change between look and wait is not missed.
                let changed = server.0.changed.notified();
                let (next, gone) = {
                    let state = server.state();
                    let first = state.log.partition_point(|event| event.version <= since);
                    let next = state.log[first..]
                        .iter()
                        .find(|event| event.key.plural == plural)
                        .cloned();
                    (next, since < state.compacted)
                };
                if gone {
                    let error = json!({"type": "ERROR", "object": status(410, "Expired", "too old".into())});
                    let frame = Frame::data(Bytes::from(error.to_string() + "\n"));
                    return Some((Ok(frame), (server.clone(), plural, u64::MAX)));
                }
                if let Some(event) = next {
                    return Some((
                        Ok(Frame::data(event.line)),
                        (server.clone(), plural, event.version),
                    ));
                }
                changed.await;
            }
        })
    }
}

impl State {
    fn get(&self, key: &Key) -> Answer {
        self.objects
            .get(key)
            .cloned()
            .ok_or_else(|| (404, "NotFound", format!("{} not found", key.name)))
    }

    fn list(&self, call: &Call) -> Value {
        let label = call
            .query
            .get("labelSelector")
            .and_then(|selector| selector.split_once('='));
        let field = call
            .query
            .get("fieldSelector")
            .and_then(|selector| selector.split_once('='));
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, _)| key.plural == call.key.plural)
            .filter(|(key, _)| call.key.namespace.is_empty() || key.namespace == call.key.namespace)
            .filter(|(_, object)| {
                label.is_none_or(|(name, value)| object["metadata"]["labels"][name] == value)
            })
            .filter(|(_, object)| {
                field.is_none_or(|(f, v)| text(object, &format!("/{}", f.replace('.', "/"))) == v)
            })
            .map(|(_, object)| object)
            .collect();
        let version = self.version.to_string();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items})
    }

    fn create(&mut self, server: &Inner, key: Key, mut object: Value) -> Answer {
        if self.objects.contains_key(&key) {
            return Err((409, "AlreadyExists", format!("{} already exists", key.name)));
        }
        let meta = &mut object["metadata"];
        meta["uid"] = format!("uid-{}", self.version + 1).into();
        meta["generation"] = 1.into();
        meta["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        object.as_object_mut().map(|map| map.remove("status"));
        prune(&mut object);
        Ok(self.store(server, &key, object, "ADDED"))
    }

    fn put(&mut self, server: &Inner, key: &Key, mut new: Value, sub: Option<&str>) -> Answer {
        let old = self.get(key)?;
        for field in ["uid", "resourceVersion"] {
            let (want, have) = (&new["metadata"][field], &old["metadata"][field]);
            if !want.is_null() && want != have {
                return Err((
                    409,
                    "Conflict",
                    format!("{field} of {} is {have}, not {want}", key.name),
                ));
            }
        }
        if sub == Some("status") {
            let status = new["status"].take();
            new = old.clone();
            new["status"] = status;
        } else {
            new["status"] = old["status"].clone();
            for field in [
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "generation",
                "resourceVersion",
            ] {
                new["metadata"][field] = old["metadata"][field].clone();
            }
        }
        prune(&mut new);
        let deleting = new["metadata"].get("deletionTimestamp").is_some();
        let n_finalizers = |object: &Value| {
            object["metadata"]["finalizers"]
                .as_array()
                .map_or(0, Vec::len)
        };
        if deleting && n_finalizers(&new) > n_finalizers(&old) {
            return Err((
                422,
                "Invalid",
                "no new finalizers can be added if the object is being deleted".into(),
            ));
        }
        if new["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        if deleting && n_finalizers(&new) == 0 {
            return Ok(self.store(server, key, new, "DELETED"));
        }
        // A write that changes nothing keeps the version and is not an event.
        if new == old {
            Ok(old)
        } else {
            Ok(self.store(server, key, new, "MODIFIED"))
        }
    }

    fn delete(&mut self, server: &Inner, key: &Key, preconditions: &Value) -> Answer {
        let mut object = self.get(key)?;
        for field in ["uid", "resourceVersion"] {
            if preconditions
                .get(field)
                .is_some_and(|want| *want != object["metadata"][field])
            {
                return Err((
                    409,
                    "Conflict",
                    format!("precondition {field} of {}", key.name),
                ));
            }
        }
        if object["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            return Ok(self.store(server, key, object, "DELETED"));
        }
        if object["metadata"].get("deletionTimestamp").is_some() {
            return Ok(object);
        }
        let meta = &mut object["metadata"];
        meta["deletionTimestamp"] = "2026-01-01T00:00:01Z".into();
        meta["generation"] = (meta["generation"].as_u64().unwrap_or(0) + 1).into();
        Ok(self.store(server, key, object, "MODIFIED"))
    }

    fn store(&mut self, server: &Inner, key: &Key, mut object: Value, event: &str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let line = json!({"type": event, "object": object}).to_string() + "\n";
        let logged = Event {
            version: self.version,
            key: key.clone(),
            object: object.clone(),
            line: line.into(),
        };
        self.log.push(logged);
        if event == "DELETED" {
            self.objects.remove(key);
            let uid = text(&object, "/metadata/uid");
            let owned = |child: &Value| {
                let owners = child["metadata"]["ownerReferences"].as_array();
                owners
                    .into_iter()
                    .flatten()
                    .any(|owner| owner["uid"] == uid)
            };
            if self.objects.values().any(owned) || (server.in_world)(uid) {
                self.orphaned.push(format!("{} {}", key.plural, key.name));
            }
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        server.changed.notify_waiters();
        object
    }
}

/// Drops nulls, as a structural schema does, and those that indexing put there.
fn prune(object: &mut Value) {
    for part in ["/metadata", "/status", "/spec", ""] {
        if let Some(map) = object.pointer_mut(part).and_then(Value::as_object_mut) {
            map.retain(|_, value| !value.is_null());
        }
    }
}

fn status(code: u16, reason: &str, message: String) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn failure(code: u16, reason: &str, message: String) -> Response<Answered> {
    let body = Full::from(status(code, reason, message).to_string());
    Response::builder()
        .status(code)
        .body(body.boxed_unsync())
        .expect("a known status code")
}

/// `/apis/{group}/{version}[/namespaces/{namespace}]/{plural}[/{name}[/{sub}]]`
fn parse(parts: &Parts, body: Bytes) -> Call {
    let mut path: Vec<_> = parts
        .uri
        .path()
        .split('/')
        .skip(4)
        .map(str::to_owned)
        .collect();
    let namespaced = path.first().is_some_and(|first| first == "namespaces");
    let namespace = if namespaced {
        path.drain(..2).nth(1)
    } else {
        None
    };
    let mut path = path.into_iter();
    let plural = path.next().unwrap_or_default();
    let query = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    Call {
        method: parts.method.clone(),
        key: Key {
            plural,
            namespace: namespace.unwrap_or_default(),
            name: path.next().unwrap_or_default(),
        },
        sub: path.next(),
        query: query
            .map(|(k, v)| (k.to_owned(), v.replace("%3D", "=").replace("%2F", "/")))
            .collect(),
        body,
        merge: parts
            .headers
            .get("content-type")
            .is_some_and(|t| t == "application/merge-patch+json"),
    }
}
