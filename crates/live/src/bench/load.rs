//! Load: many clients, each of which asks again as soon as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::task::JoinSet;

use crate::bench::client::Connection;
use crate::bench::side::Side;
use crate::usage::Used;

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Call {
    pub fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            content_type: "",
            body: Bytes::new(),
        }
    }

    pub fn post(path: String, body: Bytes) -> Self {
        Self {
            method: Method::POST,
            path,
            content_type: "application/json",
            body,
        }
    }

    /// Server-side apply; JSON is YAML.
    pub fn apply(path: String, body: String) -> Self {
        Self {
            method: Method::PATCH,
            path,
            content_type: "application/apply-patch+yaml",
            body: body.into(),
        }
    }
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many requests.
    Count(usize),
    /// After that time.
    Time(Duration),
}

/// What a load found.
#[derive(Debug)]
pub struct Load {
    /// Seconds in all.
    pub took: f64,
    /// Milliseconds of each request, sorted.
    pub took_each: Vec<f64>,
    /// Seconds of a core that the server used.
    pub server: f64,
    /// Seconds of a core that the client used.
    pub client: f64,
}

impl Load {
    /// The time, in milliseconds, within which that share of requests was answered.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.took_each, share)
    }
}

/// The value below which that share of sorted values is; 0 of nothing.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    // In range: a share is between 0 and 1.
    let at = (last * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// Counts CPU from its making on.
pub(super) struct Meter {
    begun: Instant,
    server: Used,
    client: Used,
}

impl Meter {
    pub(super) fn start(side: &Side) -> Self {
        Self {
            begun: Instant::now(),
            server: side.used(),
            client: Used::of_all(&[std::process::id()]),
        }
    }

    /// Seconds that passed, and seconds of a core of the server and of this process.
    pub(super) fn read(&self, side: &Side) -> (f64, f64, f64) {
        let client = Used::of_all(&[std::process::id()]);
        (
            self.begun.elapsed().as_secs_f64(),
            side.used().cpu - self.server.cpu,
            client.cpu - self.client.cpu,
        )
    }
}

/// The requests of a load, by their number.
pub(super) type Calls = Arc<dyn Fn(usize) -> Call + Send + Sync>;

/// Runs `workers` clients with a connection each.
pub(super) async fn run(side: &Side, workers: usize, until: Until, calls: Calls) -> Result<Load> {
    let mut connections = Vec::new();
    for _ in 0..workers {
        connections.push(side.endpoint.connect().await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::start(side);
    let mut working = JoinSet::new();
    for connection in connections {
        working.spawn(work(connection, next.clone(), until, calls.clone()));
    }
    let mut took_each = Vec::new();
    while let Some(worked) = working.join_next().await {
        took_each.extend(worked??);
    }
    let (took, server, client) = meter.read(side);
    took_each.sort_by(f64::total_cmp);
    ensure!(!took_each.is_empty(), "no request was answered");
    Ok(Load {
        took,
        took_each,
        server,
        client,
    })
}

/// Asks until it is enough; milliseconds of each request.
async fn work(
    mut connection: Connection,
    next: Arc<AtomicUsize>,
    until: Until,
    calls: Calls,
) -> Result<Vec<f64>> {
    let begun = Instant::now();
    let mut took = Vec::new();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let enough = match until {
            Until::Count(n) => at >= n,
            Until::Time(lasts) => begun.elapsed() >= lasts,
        };
        if enough {
            return Ok(took);
        }
        let call = calls(at);
        let asked = Instant::now();
        expect(&mut connection, call).await?;
        took.push(asked.elapsed().as_secs_f64() * 1e3);
    }
}

/// Asks, and fails unless it was done.
pub(super) async fn expect(connection: &mut Connection, call: Call) -> Result<Bytes> {
    let what = format!("{} {}", call.method, call.path);
    let (code, body) = connection.ask(call).await?;
    if !code.is_success() {
        bail!("{what}: {code}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

/// Lists everything at a path in pages; there must be so many objects at least.
pub(super) async fn pages(side: &Side, path: &str, limit: usize, n: usize) -> Result<Load> {
    let mut connection = side.endpoint.connect().await?;
    let meter = Meter::start(side);
    let (mut found, mut next, mut took_each) = (0, String::new(), Vec::new());
    loop {
        let path = format!("{path}?limit={limit}&continue={next}");
        let asked = Instant::now();
        let body = expect(&mut connection, Call::get(path)).await?;
        took_each.push(asked.elapsed().as_secs_f64() * 1e3);
        let page: Page = serde_json::from_slice(&body)?;
        found += page.items.len();
        next = page.metadata.next;
        if next.is_empty() {
            break;
        }
    }
    let (_, server, client) = meter.read(side);
    ensure!(found >= n, "{found} objects were listed of at least {n}");
    Ok(Load {
        // What the client does with a page is not the server's.
        took: took_each.iter().sum::<f64>() / 1e3,
        took_each,
        server,
        client,
    })
}

/// What is read of a list.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}
