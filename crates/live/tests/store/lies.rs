//! Stores that lie, under the same clients and before the same judge: each is caught, and for what it does.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use apiserver::Server;
use apiserver::store::memory::Memory;
use apiserver::store::{Batch, Done, Error, Loaded, Storage};
use bytes::Bytes;
use http::{Method, StatusCode};
use live::bench::load::Call;
use live::history::{Judged, Version, judge};

use crate::clients::{Ask, Field, Here, changes};

/// Clients that write at once.
const CLIENTS: usize = 8;
/// What they write before the server is killed.
const WRITES: usize = 1_500;
/// How many batches are not durable yet when they are acknowledged.
const BEHIND: usize = 10;
/// Every which write, or event of a watch, is left out.
const EVERY: usize = 1_000;

/// A store that may lie.
#[derive(Clone, Default)]
struct Store {
    durable: Memory,
    lie: Option<Lie>,
    behind: Arc<Mutex<VecDeque<Batch>>>,
    written: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// It acknowledges what is not durable yet.
    Early,
    /// It leaves out a write from time to time.
    LeavesOut,
}

impl Storage for Store {
    fn load(&self) -> Result<Loaded, Error> {
        self.durable.load()
    }

    fn commit(&self, mut batch: Batch, done: Done) {
        match self.lie {
            None => self.durable.commit(batch, done),
            Some(Lie::LeavesOut) => {
                let number = || self.written.fetch_add(1, Ordering::Relaxed) + 1;
                batch.writes.retain(|_| !number().is_multiple_of(EVERY));
                self.durable.commit(batch, done);
            }
            Some(Lie::Early) => {
                let mut behind = self.behind.lock().expect("nobody panics with it");
                behind.push_back(batch);
                while behind.len() > BEHIND {
                    let batch = behind.pop_front().expect("there are some");
                    self.durable.commit(batch, Box::new(|_| {}));
                }
                drop(behind);
                done(Ok(()));
            }
        }
    }
}

/// Reads everything only once.
struct Forgetful {
    server: Here,
    read: HashMap<String, (StatusCode, Bytes)>,
}

impl Ask for Forgetful {
    async fn ask(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        if call.method != Method::GET {
            return self.server.ask(call).await;
        }
        if let Some(read) = self.read.get(&call.path) {
            return Ok(read.clone());
        }
        let path = call.path.clone();
        let answered = self.server.ask(call).await?;
        self.read.insert(path, answered.clone());
        Ok(answered)
    }
}

/// Lets clients write, kills the server and judges what they were told by what `heard` makes of what is there then.
async fn judged<A: Ask + 'static>(
    store: Store,
    client: impl Fn(Here) -> A,
    heard: impl Fn(Vec<Version>) -> Vec<Version>,
) -> Result<Judged, String> {
    let open = || Server::builder().storage(store.clone()).build();
    let server = open().expect("it is empty");
    let first = server.revision();
    let field = Field::default();
    let clients = field.clients(CLIENTS, || client(Here(server.clone())));
    field.until_written(WRITES).await;
    let told = field.told(clients).await;
    drop(server);
    let versions = changes(&open().expect("it can be read"), first);
    judge(&heard(versions), &told)
}

async fn caught(lie: Lie, expected: &str) {
    let store = Store {
        lie: Some(lie),
        ..Store::default()
    };
    let why = judged(store, |here| here, |versions| versions).await;
    let why = why.expect_err("it lies");
    assert!(why.contains(expected), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_lie_is_believed() {
    let judged = judged(Store::default(), |here| here, |versions| versions).await;
    assert!(judged.expect("it does not lie").acknowledged >= WRITES);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_acknowledges_too_early_is_caught() {
    caught(Lie::Early, "was acknowledged and lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_out_a_write_is_caught() {
    caught(Lie::LeavesOut, "was acknowledged and lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_what_was_before_is_caught() {
    let forgetful = |server| Forgetful {
        server,
        read: HashMap::new(),
    };
    let why = judged(Store::default(), forgetful, |versions| versions).await;
    let why = why.expect_err("it lies");
    assert!(why.contains("was not so any more"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_leaves_out_an_event_is_caught() {
    let left_out = |mut versions: Vec<Version>| {
        versions.remove(EVERY);
        versions
    };
    let why = judged(Store::default(), |here| here, left_out).await;
    let why = why.expect_err("it lies");
    assert!(why.contains("was acknowledged and lost"), "{why}");
}
