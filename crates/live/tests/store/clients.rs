//! Clients that write and read a few objects as fast as they can and note what they were told, and one that watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use live::bench::client::{Connection, Endpoint};
use live::bench::load::Call;
use live::history::{Answer, Told, Version};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Where the objects are.
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// The label of what the clients write.
const LABEL: &str = "under-fire";
/// How many objects they share: few, so that they meet.
const OBJECTS: usize = 12;
/// The object that is written last.
pub const END: &str = "the-end";
/// How long a client waits before it asks a server again that does not answer.
pub const AGAIN: Duration = Duration::from_millis(10);

/// Someone who can be asked; the error is that there was no whole answer.
pub trait Ask: Send {
    fn ask(&mut self, call: Call) -> impl Future<Output = Result<(StatusCode, Bytes)>> + Send;
}

/// What all clients share.
#[derive(Clone)]
pub struct Field {
    begun: Instant,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
}

impl Default for Field {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            stop: Arc::default(),
            written: Arc::default(),
        }
    }
}

impl Field {
    /// Ends all clients.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether they end.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How many writes were acknowledged.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).expect("no test lasts that long")
    }

    /// Writes and reads until all end; answers with what was told.
    pub async fn client(self, number: usize, mut server: impl Ask) -> Vec<Told> {
        let mut all = Vec::new();
        let mut chance = number * 7919;
        while !self.is_over() {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let key = format!("object-{}", (chance >> 33) % OBJECTS);
            let wanted = format!("{number}-{}", all.len());
            let wish = Wish::of((chance >> 45) % 8);
            let sent = self.now();
            let answered = server.ask(wish.call(&key, &wanted)).await;
            let wanted = wish.writes().then_some(wanted);
            let told = Told {
                sent,
                answered: answered.is_ok().then(|| self.now()),
                key,
                answer: match &answered {
                    Ok((code, body)) => wish.answer(*code, body),
                    Err(_) => Answer::Nothing,
                },
                wanted,
            };
            if matches!(told.answer, Answer::Written(_) | Answer::Removed(_)) {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            all.push(told);
            if answered.is_err() {
                sleep(AGAIN).await;
            }
        }
        all
    }
}

/// What a client wants.
#[derive(Clone, Copy)]
enum Wish {
    Create,
    Replace,
    Read,
    Remove,
}

impl Wish {
    fn of(number: usize) -> Self {
        match number {
            0 | 1 => Self::Create,
            2..=4 => Self::Replace,
            5 | 6 => Self::Read,
            _ => Self::Remove,
        }
    }

    fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }

    fn call(self, key: &str, wanted: &str) -> Call {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": key, "labels": {LABEL: "true"}}, "data": {"value": wanted},
        });
        let (body, named) = (Bytes::from(map.to_string()), format!("{MAPS}/{key}"));
        let call = |method, path, body| Call {
            method,
            path,
            content_type: "application/json",
            body,
        };
        match self {
            Self::Create => call(Method::POST, MAPS.to_owned(), body),
            Self::Replace => call(Method::PUT, named, body),
            Self::Read => Call::get(named),
            Self::Remove => call(Method::DELETE, named, Bytes::new()),
        }
    }

    fn answer(self, code: StatusCode, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let revision = || revision(&body).expect("an object has a version");
        match (self, code.as_u16()) {
            (Self::Create | Self::Replace, 200 | 201) => Answer::Written(revision()),
            (Self::Read, 200) => Answer::Found(Some(revision())),
            (Self::Replace | Self::Read | Self::Remove, 404) => Answer::Found(None),
            (Self::Remove, 200) => {
                let uid = body["details"]["uid"].as_str();
                Answer::Removed(uid.expect("it says what is gone").to_owned())
            }
            _ => Answer::Nothing,
        }
    }
}

/// A call that makes an object.
pub fn create(key: &str) -> Call {
    Wish::Create.call(key, key)
}

/// The version of an object.
pub fn revision(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// The path of a watch from that revision on.
pub fn watch_path(revision: u64) -> String {
    format!("{MAPS}?watch=true&labelSelector={LABEL}&resourceVersion={revision}")
}

/// What an event of a watch says.
///
/// # Errors
/// The event, if it is none of an object.
pub fn version(event: &[u8]) -> Result<Version, String> {
    let parsed: Value = serde_json::from_slice(event).unwrap_or_default();
    let change = parsed["type"].as_str().unwrap_or_default();
    let version = version_of(change, &parsed["object"]);
    version.ok_or_else(|| String::from_utf8_lossy(event).into_owned())
}

/// What a change of an object says; `None` if it is none of the clients'.
pub fn version_of(change: &str, object: &Value) -> Option<Version> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Version {
        revision: revision(object)?,
        key: text(&object["metadata"]["name"])?,
        uid: text(&object["metadata"]["uid"])?,
        value: match change {
            "DELETED" => None,
            _ => Some(text(&object["data"]["value"])?),
        },
    })
}

/// A client over TLS that connects again when it must.
pub struct Client {
    endpoint: Endpoint,
    connection: Option<Connection>,
}

impl Client {
    pub fn of(endpoint: Endpoint) -> Self {
        let connection = None;
        Self {
            endpoint,
            connection,
        }
    }
}

impl Ask for Client {
    async fn ask(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.endpoint.connect().await?,
        };
        let answered = connection.ask(call).await?;
        self.connection = Some(connection);
        Ok(answered)
    }
}

/// Hears of every change after a revision, over all the lives of the server, until the last one.
pub async fn watch(endpoint: Endpoint, mut from: u64) -> Vec<Version> {
    let mut heard: Vec<Version> = Vec::new();
    while heard.last().is_none_or(|last| last.key != END) {
        // Killed: it goes on where it was.
        if hear(&endpoint, &mut from, &mut heard).await.is_err() {
            sleep(AGAIN).await;
        }
    }
    heard.pop();
    heard
}

async fn hear(endpoint: &Endpoint, from: &mut u64, heard: &mut Vec<Version>) -> Result<()> {
    let streams = endpoint.connect_many().await?;
    let response = streams.open(Call::get(watch_path(*from))).await?;
    assert_eq!(response.status(), StatusCode::OK, "after revision {from}");
    let mut body = response.into_body();
    let mut unread = Vec::new();
    loop {
        let frame = body.frame().await.context("it ends")??;
        unread.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let version = version(&line).unwrap_or_else(|event| panic!("{event}"));
            *from = version.revision;
            heard.push(version);
            if heard.last().is_some_and(|last| last.key == END) {
                return Ok(());
            }
        }
    }
}

/// The revision of the last write.
pub async fn newest(client: &mut Client) -> u64 {
    let (_, list) = client
        .ask(Call::get(MAPS.to_owned()))
        .await
        .expect("it serves");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("a list");
    revision(&list).expect("a list has a version")
}
