//! etcd by its JSON gateway: ranges, transactions and watches, at whichever member answers.
//!
//! Keys and values go as base64, and 64-bit numbers as texts, as its protobuf messages are written in JSON. A request that
//! fails is tried at the next member; whether it was done before it failed, the caller has to find out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::store::{Error, Lack};

/// How long one member may take for one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what etcd says is shown in a message.
const SAID_CHARS_MAX: usize = 300;
/// What etcd says when its quota is used up.
const NO_SPACE: &str = "database space exceeded";
/// Keys of one answer to a range.
const PAGE: usize = 250;
/// Longest line of a watch: a thousand changes of usual objects, as base64.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where the members are and how they are to be trusted.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Their client URLs.
    pub urls: Vec<String>,
    /// Certificates of the authority that has signed theirs.
    pub authority: Option<PathBuf>,
    /// Our certificate and its key, as PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// What can go wrong with etcd.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("cannot use {}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("{url:?} is no client URL of etcd; expected one like https://host:2379")]
    Url { url: String },
    #[error("no member of etcd answers: {0}")]
    Unreachable(String),
    #[error("etcd refused: {0}")]
    Refused(String),
    #[error(
        "etcd has used up its quota, and takes no more until it has room and its alarm is off: {0}"
    )]
    Full(String),
    #[error("etcd answered something else than expected: {0}")]
    Odd(String),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Full(_) => Self::lacking(Lack::Room, failed),
            failed => Self::new(failed),
        }
    }
}

/// A client of all members.
pub(super) struct Gateway {
    urls: Vec<String>,
    /// The member that answered last.
    current: AtomicUsize,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A key with its value.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    #[serde(deserialize_with = "from_base64")]
    pub(super) key: Bytes,
    #[serde(default, deserialize_with = "from_base64")]
    pub(super) value: Bytes,
    #[serde(default, deserialize_with = "from_text")]
    pub(super) mod_revision: u64,
    #[serde(default, deserialize_with = "from_text")]
    create_revision: u64,
}

/// What is answered to a range.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<Pair>,
    #[serde(default)]
    more: bool,
}

/// What every answer says.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    #[serde(deserialize_with = "from_text")]
    pub(super) revision: u64,
}

/// What is answered to a transaction.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
}

/// One answer of a watch.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Watched {
    /// Whether the next one goes on with the same changes.
    #[serde(default)]
    pub(super) fragment: bool,
    #[serde(default)]
    pub(super) events: Vec<Event>,
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default)]
    pub(super) cancel_reason: String,
    #[serde(default, deserialize_with = "from_text")]
    pub(super) compact_revision: u64,
}

/// One change.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// Absent for one that sets.
    #[serde(default, rename = "type")]
    kind: String,
    pub(super) kv: Pair,
    #[serde(default)]
    pub(super) prev_kv: Option<Pair>,
}

impl Event {
    /// Whether the key is gone.
    pub(super) fn removes(&self) -> bool {
        self.kind == "DELETE"
    }

    /// Whether there was something before of which etcd does not say what.
    pub(super) fn lacks_before(&self) -> bool {
        let was_there = self.kv.create_revision < self.kv.mod_revision;
        was_there && self.prev_kv.is_none()
    }
}

/// A watch that is read.
pub(super) struct Watch {
    body: Incoming,
    unread: Vec<u8>,
    /// So much of it has no end of a line.
    looked_at: usize,
}

impl Gateway {
    pub(super) fn new(members: &Members) -> Result<Self, Failed> {
        let mut urls = Vec::new();
        for url in &members.urls {
            let is_one = url.starts_with("https://") || url.starts_with("http://");
            if !is_one || url.parse::<http::Uri>().is_err() {
                return Err(Failed::Url { url: url.clone() });
            }
            urls.push(url.trim_end_matches('/').to_owned());
        }
        if urls.is_empty() {
            return Err(Failed::Url { url: String::new() });
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(members)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            urls,
            current: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// All pairs whose keys are from `first` to before `end`, as of a revision of etcd, or of now where none is given.
    pub(super) async fn range(
        &self,
        first: &[u8],
        end: &[u8],
        revision: Option<u64>,
    ) -> Result<(Vec<Pair>, u64), Failed> {
        let (mut from, mut at, mut all) = (first.to_vec(), revision, Vec::new());
        loop {
            let page = self.page(&from, end, at.unwrap_or_default(), PAGE).await?;
            let as_of = *at.get_or_insert(page.header.revision);
            let more = page.more;
            all.extend(page.kvs);
            match all.last() {
                Some(last) if more => from = [&last.key[..], b"\0"].concat(),
                _ => return Ok((all, as_of)),
            }
        }
    }

    /// The first pairs of a range.
    pub(super) async fn page(
        &self,
        first: &[u8],
        end: &[u8],
        revision: u64,
        limit: usize,
    ) -> Result<Range, Failed> {
        let range = json!({
            "key": base64(first), "range_end": base64(end), "limit": limit.to_string(),
            "revision": revision.to_string(),
        });
        read(self.ask("/v3/kv/range", &range).await?)
    }

    /// Does all operations if all comparisons hold.
    pub(super) async fn transaction(
        &self,
        compare: &[&Value],
        operations: &[Value],
    ) -> Result<Done, Failed> {
        let asked = json!({"compare": compare, "success": operations});
        read(self.ask("/v3/kv/txn", &asked).await?)
    }

    /// Forgets what etcd keeps from before a revision of its own.
    pub(super) async fn compact(&self, revision: u64) -> Result<(), Failed> {
        let asked = json!({"revision": revision.to_string()});
        self.ask("/v3/kv/compaction", &asked).await.map(drop)
    }

    /// Every change of a range from a revision of etcd on, each with what was before if that is wanted.
    pub(super) async fn watch(
        &self,
        first: &[u8],
        end: &[u8],
        from: u64,
        with_before: bool,
    ) -> Result<Watch, Failed> {
        let asked = json!({"create_request": {
            "key": base64(first), "range_end": base64(end), "start_revision": from.to_string(),
            "prev_kv": with_before, "fragment": true,
        }});
        let response = self.send("/v3/watch", &asked).await?;
        let code = response.status();
        let body = response.into_body();
        if code != StatusCode::OK {
            return Err(self.refused(code, &whole(body).await?));
        }
        Ok(Watch {
            body,
            unread: Vec::new(),
            looked_at: 0,
        })
    }

    /// Asks for whatever else etcd does.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        asked: &Value,
    ) -> Result<T, Failed> {
        read(self.ask(path, asked).await?)
    }

    /// Asks until a member answers, each once.
    async fn ask(&self, path: &str, asked: &Value) -> Result<Bytes, Failed> {
        let response = self.send(path, asked).await?;
        let code = response.status();
        let body = whole(response.into_body()).await?;
        match code {
            StatusCode::OK => Ok(body),
            code => Err(self.refused(code, &body)),
        }
    }

    /// What an answer means that is none.
    fn refused(&self, code: StatusCode, body: &[u8]) -> Failed {
        match code.as_u16() {
            429 if said(body).contains(NO_SPACE) => Failed::Full(said(body)),
            // What another member, or this one later, may do.
            408 | 429 | 499 | 500..=599 => {
                self.next();
                Failed::Unreachable(said(body))
            }
            _ => Failed::Refused(said(body)),
        }
    }

    async fn send(&self, path: &str, asked: &Value) -> Result<Response<Incoming>, Failed> {
        let mut why = String::new();
        for _ in &self.urls {
            let url = &self.urls[self.current.load(Ordering::Relaxed) % self.urls.len()];
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("{url}{path}"))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from(asked.to_string()))
                .map_err(|error| Failed::Odd(error.to_string()))?;
            why = match timeout(PATIENCE, self.client.request(request)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => format!("{url}: {}", api::chain(&error)),
                Err(_) => format!("{url}: it takes longer than {PATIENCE:?}"),
            };
            self.next();
        }
        Err(Failed::Unreachable(why))
    }

    /// Asks another member from now on.
    pub(super) fn next(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch {
    /// The next answer; nothing if not a byte of one arrives for so long.
    pub(super) async fn next_within(&mut self, quiet: Duration) -> Result<Option<Watched>, Failed> {
        while !self.has_line() {
            match timeout(quiet, self.read_on()).await {
                Ok(read) => read?,
                Err(_) => return Ok(None),
            }
        }
        self.next().await.map(Some)
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Result<Watched, Failed> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(default)]
            result: Watched,
            error: Option<Value>,
        }
        let line: Line = read(self.line().await?)?;
        match line.error {
            Some(error) => Err(Failed::Unreachable(error.to_string())),
            None => Ok(line.result),
        }
    }

    async fn line(&mut self) -> Result<Bytes, Failed> {
        while !self.has_line() {
            self.read_on().await?;
        }
        let line: Vec<u8> = self.unread.drain(..=self.looked_at).collect();
        self.looked_at = 0;
        Ok(Bytes::from(line))
    }

    /// Whether a whole line is there; then it ends where was looked.
    fn has_line(&mut self) -> bool {
        let end = memchr::memchr(b'\n', &self.unread[self.looked_at..]);
        self.looked_at = end.map_or(self.unread.len(), |end| self.looked_at + end);
        end.is_some()
    }

    async fn read_on(&mut self) -> Result<(), Failed> {
        if self.unread.len() > LINE_BYTES_MAX {
            return Err(Failed::Odd("a line of a watch is too long".to_owned()));
        }
        let frame = self.body.frame().await;
        let frame = frame.ok_or_else(|| Failed::Unreachable("a watch ended".to_owned()))?;
        let frame = frame.map_err(|error| Failed::Unreachable(error.to_string()))?;
        self.unread
            .extend_from_slice(&frame.into_data().unwrap_or_default());
        Ok(())
    }
}

/// All of a body that goes on arriving.
async fn whole(mut body: Incoming) -> Result<Bytes, Failed> {
    let mut all = Vec::new();
    loop {
        let frame = timeout(PATIENCE, body.frame()).await;
        let frame = frame.map_err(|_| Failed::Unreachable("an answer stopped".to_owned()))?;
        let Some(frame) = frame else {
            return Ok(Bytes::from(all));
        };
        let frame = frame.map_err(|error| Failed::Unreachable(error.to_string()))?;
        all.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
}

/// What an answer means; one that means nothing is not shown, because objects may be in it.
fn read<T: DeserializeOwned>(body: Bytes) -> Result<T, Failed> {
    serde_json::from_slice(&body).map_err(|error| Failed::Odd(error.to_string()))
}

/// What an answer says, as far as a message has room for it.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(SAID_CHARS_MAX).collect()
}

/// Whom to trust, and what to show.
fn tls(members: &Members) -> Result<ClientConfig, Failed> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &members.authority {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|why| unusable(path, why))?;
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failed::Odd(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &members.certificate else {
        return Ok(config.with_no_client_auth());
    };
    let pem = fs::read(key).map_err(|why| unusable(key, why))?;
    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|why| unusable(key, why))?;
    config
        .with_client_auth_cert(certificates(certificate)?, secret)
        .map_err(|why| unusable(certificate, why))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let pem = fs::read(path).map_err(|why| unusable(path, why))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.map_err(|why| unusable(path, why))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failed {
    Failed::File {
        path: path.into(),
        why: why.to_string(),
    }
}

/// Bytes as etcd's JSON has them.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
    Ok(Bytes::from(bytes))
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}
