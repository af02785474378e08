//! The record of one request: an event per stage.
//!
//! What stays the same over its stages is written down once. A record that is dropped before its end says that the
//! connection was closed early: what was asked for may have been done.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{Decision, Level, Stage};
use super::{Audit, EVENT_BYTES_MAX};
use crate::about::About;
use crate::access::Identity;
use crate::engine::Clock;
use crate::passage::Peer;

/// Letters of what a client calls itself that are recorded, as in Kubernetes.
const AGENT_CHARS_MAX: usize = 1_024;
/// Says in an event that bodies were too large for it, as in Kubernetes.
const NOTE_TRUNCATED: &str = "audit.k8s.io/truncated";
/// What is said of an answer that nobody waited for.
const CLOSED_EARLY: &str = "Connection closed early";
/// Its code, in the way of proxies: the client closed the request.
const CLOSED_EARLY_CODE: u16 = 499;

/// The record of one request that is under way.
pub(crate) struct Record {
    audit: Audit,
    clock: Clock,
    decision: Decision,
    id: String,
    /// The members that all events of the request have, without braces.
    same: String,
    /// Whether bodies may be recorded at all.
    is_open: bool,
    request_object: Option<Value>,
    response_object: Option<Value>,
    status: Value,
    ended: bool,
}

/// What came of a request.
pub(crate) struct Responded {
    pub(crate) code: StatusCode,
    /// The whole answer, if it was asked for: see [`Record::wants_response`].
    pub(crate) body: Option<Bytes>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Same<'a> {
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: Value,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Option::is_none")]
    source_ips: Option<[IpAddr; 1]>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Value>,
    request_received_timestamp: String,
}

impl Record {
    /// Who makes the request acts as somebody else from here on.
    pub(crate) fn acts_as(&mut self, identity: &Identity) {
        let user = identity.user_info();
        self.same.push_str(&format!(",\"impersonatedUser\":{user}"));
    }

    /// Begins the record of a request.
    pub(crate) fn new(
        audit: &Audit,
        clock: &Clock,
        decision: Decision,
        (identity, about, head): (&Identity, &About<'_>, &Parts),
    ) -> Self {
        let agent = head.headers.get(header::USER_AGENT);
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        let end = agent.char_indices().nth(AGENT_CHARS_MAX);
        let same = Same {
            request_uri: head.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            verb: about.verb,
            user: identity.user_info(),
            source_ips: head.extensions.get().map(|Peer(ip)| [*ip]),
            user_agent: end.map_or(agent, |(end, _)| &agent[..end]),
            object_ref: object_ref(about),
            request_received_timestamp: micros(clock()),
        };
        let same = serde_json::to_string(&same).unwrap_or_default();
        Self {
            audit: audit.clone(),
            clock: clock.clone(),
            decision,
            id: audit.id(),
            same: same.trim_matches(['{', '}']).to_owned(),
            is_open: !is_secret(about),
            request_object: None,
            response_object: None,
            status: json!({"metadata": {}, "status": "Failure", "message": CLOSED_EARLY, "code": CLOSED_EARLY_CODE}),
            ended: false,
        }
    }

    /// What clients and logs find the request by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the body of the request is recorded.
    pub(crate) fn wants_request(&self) -> bool {
        self.is_open && self.decision.level >= Level::Request
    }

    /// Whether the answer is recorded; of refusals the reason is.
    pub(crate) fn wants_response(&self, code: StatusCode) -> bool {
        self.is_open && (self.decision.level == Level::RequestResponse || code.as_u16() >= 400)
    }

    /// Notes the body of the request, if it is a document.
    pub(crate) fn request(&mut self, body: &Bytes) {
        self.request_object = self.document(body);
    }

    pub(crate) async fn received(&self) {
        self.tell(Stage::RequestReceived).await;
    }

    /// An answer begins that may take long.
    pub(crate) async fn started(&mut self, code: StatusCode) {
        self.status = status(code, None);
        self.tell(Stage::ResponseStarted).await;
    }

    /// The answer is there as a whole.
    pub(crate) async fn complete(mut self, responded: Responded) {
        let document = responded.body.as_ref().and_then(|body| self.document(body));
        self.status = status(responded.code, document.as_ref());
        if self.decision.level == Level::RequestResponse {
            self.response_object = document;
        }
        self.ended = true;
        self.tell(Stage::ResponseComplete).await;
    }

    /// The server broke down over it.
    pub(crate) async fn panicked(mut self, why: &str) {
        let message = format!("APIServer panic'd: {why}");
        self.status = json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500});
        self.ended = true;
        self.tell(Stage::Panic).await;
    }

    fn document(&self, body: &Bytes) -> Option<Value> {
        let mut document = serde_json::from_slice(body).ok()?;
        if self.decision.omits_managed_fields {
            forget_managers(&mut document);
        }
        Some(document)
    }

    async fn tell(&self, stage: Stage) {
        if self.decision.records(stage) {
            self.audit.write(self.event(stage)).await;
        }
    }

    fn event(&self, stage: Stage) -> String {
        let event = self.event_with(stage, &self.request_object, &self.response_object, false);
        match event.len() <= EVENT_BYTES_MAX {
            true => event,
            false => self.event_with(stage, &None, &None, true),
        }
    }

    fn event_with(
        &self,
        stage: Stage,
        request: &Option<Value>,
        response: &Option<Value>,
        truncated: bool,
    ) -> String {
        let mut event = begin(self.decision.level, &self.id, stage);
        event.push_str(&self.same);
        let answered = (stage != Stage::RequestReceived).then_some(&self.status);
        let parts = [
            ("responseStatus", answered),
            ("requestObject", request.as_ref()),
            ("responseObject", response.as_ref()),
        ];
        for (name, part) in parts {
            if let Some(part) = part {
                event.push_str(&format!(",\"{name}\":{part}"));
            }
        }
        event.push_str(&format!(
            ",\"stageTimestamp\":\"{}\"",
            micros((self.clock)())
        ));
        if truncated {
            event.push_str(&format!(
                ",\"annotations\":{{\"{NOTE_TRUNCATED}\":\"true\"}}"
            ));
        }
        event.push('}');
        event
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended && self.decision.records(Stage::ResponseComplete) {
            self.audit.write_now(self.event(Stage::ResponseComplete));
        }
    }
}

/// An event of the server about its own log.
pub(super) fn note(id: &str, now: Timestamp, notes: &[(&'static str, String)]) -> String {
    let annotations: serde_json::Map<String, Value> = notes
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_str().into()))
        .collect();
    let now = micros(now);
    let rest = json!({
        "requestURI": "", "verb": "", "user": {"username": "system:groma:audit"},
        "requestReceivedTimestamp": now, "stageTimestamp": now, "annotations": annotations,
    });
    let rest = rest.to_string();
    let begin = begin(Level::Metadata, id, Stage::ResponseComplete);
    format!("{begin}{}", rest.trim_start_matches('{'))
}

fn begin(level: Level, id: &str, stage: Stage) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{}","auditID":"{id}","stage":"{}","#,
        level.name(),
        stage.name()
    )
}

/// What must never stand in a log: keys, passwords and tokens.
fn is_secret(about: &About<'_>) -> bool {
    match (about.group, about.resource) {
        ("", "secrets") => true,
        ("", "serviceaccounts") => about.subresource == "token",
        ("authentication.k8s.io", "tokenreviews" | "tokenrequests") => true,
        _ => false,
    }
}

fn object_ref(about: &About<'_>) -> Option<Value> {
    if about.resource.is_empty() {
        return None;
    }
    let members = [
        ("resource", about.resource),
        ("namespace", about.namespace),
        ("name", about.name),
        ("apiGroup", about.group),
        ("apiVersion", about.version),
        ("subresource", about.subresource),
    ];
    let members = members.into_iter().filter(|(_, value)| !value.is_empty());
    Some(
        members
            .map(|(name, value)| (name, Value::from(value)))
            .collect(),
    )
}

/// Of an answer that is a `Status`, what it says; of any other, its code.
fn status(code: StatusCode, document: Option<&Value>) -> Value {
    let mut status = json!({"metadata": {}, "code": code.as_u16()});
    let told = document.filter(|document| document["kind"] == "Status");
    for member in ["status", "message", "reason", "details"] {
        if let Some(value) = told.and_then(|told| told.get(member)) {
            status[member] = value.clone();
        }
    }
    status
}

fn forget_managers(document: &mut Value) {
    let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.remove("managedFields");
    }
    for list in ["items", "rows"] {
        let items = document.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            let object = match list {
                "rows" => item.get_mut("object"),
                _ => Some(item),
            };
            object.into_iter().for_each(forget_managers);
        }
    }
}

/// As `MicroTime` of Kubernetes is written.
fn micros(time: Timestamp) -> String {
    format!("{time:.6}")
}
