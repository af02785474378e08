//! `groma serve` is killed again and again while clients write: what it acknowledged is there, whoever watches misses
//! nothing, and all that anybody saw fits into one order.

use std::env;
use std::time::Duration;

use http::StatusCode;
use live::Groma;
use live::bench::client::Endpoint;
use live::history::judge;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::clients::{AGAIN, Ask, Client, END, Field, create, newest, watch};

/// Kills of a standard run; `GROMA_STORE_KILLS` gives another number.
const KILLS: usize = 50;
/// Clients that write at once.
const CLIENTS: usize = 16;
/// Most writes that a server acknowledges before it is killed, and how long it may take for them.
const WRITES_MAX: usize = 200;
const LIFE: Duration = Duration::from_secs(60);
/// Fewer changes than a server keeps.
const KEPT: usize = 10_000;
/// How long the one that watches may take to hear of the last write.
const PATIENCE: Duration = Duration::from_secs(20);

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
    let client = || Client::of(endpoint.clone());
    let first = newest(&mut client()).await;
    let watching = tokio::spawn(watch(endpoint.clone(), first));
    let field = Field::default();
    let clients = field.clients(CLIENTS, client);
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
    let told = field.told(clients).await;
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
