//! `groma serve` is killed again and again while clients write: what it acknowledged is there, whoever watches misses
//! nothing, and all that anybody saw fits into one order.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use live::Groma;
use live::bench::client::{Connection, Endpoint};
use live::bench::load::Call;
use live::history::{Version, judge};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::clients::{Ask, Field, MAPS, create, revision, version, watch_path};

/// Kills of a standard run; `GROMA_STORE_KILLS` gives another number.
const KILLS: usize = 50;
/// Clients that write at once.
const CLIENTS: usize = 16;
/// Most writes that a server acknowledges before it is killed, and how long it may take for them.
const WRITES_MAX: usize = 200;
const LIFE: Duration = Duration::from_secs(60);
/// The object that is written last.
const END: &str = "the-end";
/// Fewer changes than a server keeps.
const KEPT: usize = 10_000;
/// How long the one that watches may take to hear of the last write.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it asks again while nobody answers.
const AGAIN: Duration = Duration::from_millis(10);

/// A client over TLS that connects again when it must.
struct Client {
    endpoint: Endpoint,
    connection: Option<Connection>,
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
async fn watch(endpoint: Endpoint, mut from: u64) -> Vec<Version> {
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

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_that_was_acknowledged() {
    let mut server = match Groma::start(&["--blocks", "tcso"]) {
        Ok(server) => server,
        Err(skip) => return skip.report(),
    };
    let kills = env::var("GROMA_STORE_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| {
        kills.parse().expect("GROMA_STORE_KILLS is a number")
    });
    let endpoint = Endpoint::by_kubeconfig(&server.kubeconfig()).expect("it names the server");
    let client = || Client {
        endpoint: endpoint.clone(),
        connection: None,
    };
    let first = newest(&mut client()).await;
    let watching = tokio::spawn(watch(endpoint.clone(), first));
    let field = Field::default();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(field.clone().client(number, client()));
    }
    for kill in 0..kills {
        let wanted = field.written() + 1 + (kill * 37) % WRITES_MAX;
        let enough = async {
            while field.written() < wanted {
                sleep(AGAIN).await;
            }
        };
        timeout(LIFE, enough).await.expect("it serves");
        block_in_place(|| server.restart());
    }
    field.stop();
    let mut told = Vec::new();
    while let Some(of_one) = clients.join_next().await {
        told.extend(of_one.expect("clients do not fail"));
    }
    let end = client().ask(create(END)).await.expect("it serves");
    assert_eq!(end.0, StatusCode::CREATED);
    let heard = timeout(PATIENCE, watching).await;
    let heard = heard
        .expect("it hears of the end")
        .expect("it is refused nothing");
    let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
    println!("{kills} kills, {judged:?}, 0 acknowledged writes lost");
    assert!(judged.acknowledged > kills && judged.reads > kills);
    // Whoever comes later hears the same, as far back as it is kept.
    let kept = heard.len().saturating_sub(KEPT);
    let from = kept
        .checked_sub(1)
        .map_or(first, |last| heard[last].revision);
    let again = timeout(PATIENCE, watch(endpoint.clone(), from)).await;
    assert_eq!(again.expect("it hears of the end"), heard[kept..]);
}

/// The revision of the last write.
async fn newest(client: &mut Client) -> u64 {
    let (_, list) = client
        .ask(Call::get(MAPS.to_owned()))
        .await
        .expect("it serves");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("a list");
    revision(&list).expect("a list has a version")
}
