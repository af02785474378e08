//! Clients that write and read a few objects as fast as they can and note what they were told, and one that watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use apiserver::{Identity, Server};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use live::Groma;
use live::bench::client::{Connection, Endpoint};
use live::bench::load::Call;
use live::history::{Answer, Told, Version};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Where the objects are.
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// The label of what the clients write.
const LABEL: &str = "under-fire";
/// How many objects they share: few, so that they meet.
const OBJECTS: usize = 12;
/// The object that is written last.
pub const END: &str = "the-end";
/// How long a client waits before it asks a server again that fails or does not answer.
pub const AGAIN: Duration = Duration::from_millis(10);
/// How long anything may take: members of etcd elect another leader after a second, and are asked again after five.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Someone who can be asked; the error is that there was no whole answer.
pub trait Ask: Send {
    fn ask(&mut self, call: Call) -> impl Future<Output = Result<(StatusCode, Bytes)>> + Send;
}

/// A server in this process.
pub struct Here(pub Server);

impl Ask for Here {
    async fn ask(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(call.method).uri(call.path);
        if !call.content_type.is_empty() {
            request = request.header("content-type", call.content_type);
        }
        let request = request.body(Full::from(call.body))?;
        let response = self.0.serve(&Identity::admin("test"), request).await;
        let (head, body) = response.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

/// What all clients share.
#[derive(Clone)]
pub struct Field {
    begun: Instant,
    stop: Arc<AtomicBool>,
    clients: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Default for Field {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            stop: Arc::default(),
            clients: Arc::default(),
            written: Arc::default(),
            failed: Arc::default(),
        }
    }
}

impl Field {
    /// Starts so many clients.
    pub fn clients<A: Ask + 'static>(
        &self,
        n: usize,
        server: impl Fn() -> A,
    ) -> JoinSet<Vec<Told>> {
        let mut clients = JoinSet::new();
        for _ in 0..n {
            let number = self.clients.fetch_add(1, Ordering::Relaxed);
            clients.spawn(self.clone().client(number, server()));
        }
        clients
    }

    /// Ends all clients; answers with what they were told.
    pub async fn told(&self, mut clients: JoinSet<Vec<Told>>) -> Vec<Told> {
        self.stop();
        let mut told = Vec::new();
        while let Some(of_one) = clients.join_next().await {
            told.extend(of_one.expect("clients do not fail"));
        }
        told
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn until_written(&self, more: usize) {
        let wanted = self.written() + more;
        until("writes are acknowledged", || self.written() >= wanted).await;
    }

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

    /// How often a server failed, or did not answer.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
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
            if answered.is_ok_and(|(code, _)| !code.is_server_error()) {
                continue;
            }
            self.failed.fetch_add(1, Ordering::Relaxed);
            sleep(AGAIN).await;
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
            // Whatever failed within or on the way, it may have happened.
            (_, 500 | 502 | 503 | 504) => Answer::Nothing,
            _ => Answer::Refused,
        }
    }
}

/// Waits until that holds.
///
/// # Panics
/// When it takes too long.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_so(what, async || holds()).await;
}

/// Waits until that holds, which has to be asked.
///
/// # Panics
/// When it takes too long.
pub async fn until_so(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            sleep(AGAIN).await;
        }
    };
    let held = timeout(PATIENCE, held).await;
    held.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// What happened to the objects of the clients after a revision.
pub fn changes(server: &Server, after: u64) -> Vec<Version> {
    let events = server.events_since(after).expect("it is kept");
    let of_clients = events
        .iter()
        .filter(|event| event.new.key.home.plural == "configmaps");
    let version = |event: &Arc<apiserver::Event>| version_of(event.change.name(), &event.new.value);
    of_clients.filter_map(version).collect()
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
    pub endpoint: Endpoint,
    connection: Option<Connection>,
}

impl Client {
    /// Of a server that runs.
    pub fn to(server: &Groma) -> Self {
        Self::of(Endpoint::by_kubeconfig(&server.kubeconfig()).expect("it names the server"))
    }

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
