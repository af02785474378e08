//! Members of etcd that are cut off from each other and from the server, in every way that there is.

use std::env;

use apiserver::Server;
use live::etcd::Cluster;
use live::history::judge;
use serde_json::json;
use tokio::task::block_in_place;

use super::{CLIENTS, MEMBERS, WRITES, open};
use crate::clients::{Field, Here, changes, until_so};

/// How often a cut comes and goes in a standard run; `GROMA_ETCD_CUTS` gives another number.
const CUTS: usize = 3;
/// What is written between.
const FEW: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_cut_off_lose_nothing_that_was_acknowledged() {
    let cluster = match Cluster::start_apart(MEMBERS) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let server = block_in_place(|| Server::builder().storage(open(&cluster)).build());
    let server = server.unwrap_or_else(|error| panic!("{}", api::chain(&error)));
    let first = server.revision();
    let field = Field::default();
    let clients = field.clients(CLIENTS, || Here(server.clone()));
    field.until_written(WRITES).await;
    let leader = leader(&cluster).await;
    // The one that leads alone: the others elect another.
    cluster.cut(&[leader], false);
    field.until_written(WRITES).await;
    cluster.heal();
    field.until_written(WRITES).await;
    // The server with one: nobody there can acknowledge anything.
    cluster.cut(&[leader], true);
    let read = json!({"key": "YQ=="});
    until_so("the one is alone", async || {
        cluster.ask(leader, "/v3/kv/range", &read).await.is_err()
    })
    .await;
    let written = field.written();
    assert!(cluster.ask(leader, "/v3/kv/range", &read).await.is_err());
    assert_eq!(field.written(), written);
    cluster.heal();
    field.until_written(WRITES).await;
    // The server with all but one.
    let others: Vec<usize> = (0..MEMBERS).filter(|member| *member != leader).collect();
    cluster.cut(&others, true);
    field.until_written(WRITES).await;
    cluster.heal();
    let cuts = env::var("GROMA_ETCD_CUTS").ok();
    let cuts = cuts.map_or(CUTS, |cuts| {
        cuts.parse().expect("GROMA_ETCD_CUTS is a number")
    });
    for cut in 0..cuts {
        cluster.cut(&[cut % MEMBERS], false);
        field.until_written(FEW).await;
        cluster.heal();
        field.until_written(FEW).await;
    }
    let told = field.told(clients).await;
    let heard = changes(&server, first);
    let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
    println!("{judged:?}, 0 acknowledged writes lost");
    drop(server);
    let server = block_in_place(|| Server::builder().storage(open(&cluster)).build());
    let again = changes(&server.expect("it is read"), first);
    assert_eq!(again[..heard.len()], heard[..]);
}

async fn leader(cluster: &Cluster) -> usize {
    let mut leader = 0;
    until_so("one leads", async || match cluster.leader().await {
        Ok(member) => {
            leader = member;
            true
        }
        Err(_) => false,
    })
    .await;
    leader
}
