//! Storage in a real etcd of three members: it keeps the contract, and what clients are told stays right while members
//! are ended, held and started again.

mod limits;
mod partition;

use std::sync::mpsc::channel;

use apiserver::Server;
use apiserver::store::etcd::Etcd;
use apiserver::store::{self, Batch, Storage, Write, contract};
use bytes::Bytes;
use live::etcd::Cluster;
use live::history::judge;
use tokio::task::block_in_place;

use crate::clients::{Field, Here, changes};

const MEMBERS: usize = 3;
/// Clients that write at once.
const CLIENTS: usize = 8;
/// How often a member is ended, held or asked to end.
const ROUNDS: usize = 6;
/// What is written while it is, and while all are there again.
const WRITES: usize = 40;

#[test]
fn keeps_the_contract() {
    let cluster = match Cluster::start(MEMBERS) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    contract::check(|| open(&cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_claimed_before_another_writes_nothing() {
    let cluster = match Cluster::start(MEMBERS) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let (first, second) = (open(&cluster), open(&cluster));
    let lead = async |etcd: &Etcd| {
        let leading = etcd.candidate().lead("https://192.0.2.1:6443").await;
        leading.expect("nobody else leads")
    };
    drop(lead(&first).await);
    let leading = lead(&second).await;
    assert_eq!(leading.revision(), 0, "nobody has written anything");
    let refused = block_in_place(|| write(&first)).expect_err("another one has claimed it since");
    assert!(refused.is_superseded(), "{refused:?}");
    block_in_place(|| write(&second)).expect("it leads");
}

/// Writes one object as the first of all.
fn write(etcd: &Etcd) -> Result<(), store::Error> {
    let write = Write {
        revision: 1,
        key: "/configmaps/default/a".to_owned(),
        value: Some(Bytes::from_static(b"{}")),
    };
    let batch = Batch {
        after: 0,
        revision: 1,
        writes: vec![write],
        forget: 0,
    };
    let (answer, answered) = channel();
    etcd.commit(batch, Box::new(move |done| drop(answer.send(done))));
    answered.recv().expect("it is decided")
}

fn open(cluster: &Cluster) -> Etcd {
    Etcd::open(&cluster.members(), "/groma/").expect("it can be used")
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_fail_lose_nothing_that_was_acknowledged() {
    let mut cluster = match Cluster::start(MEMBERS) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let build = |cluster: &Cluster| {
        let server = Server::builder().storage(open(cluster)).build();
        server.unwrap_or_else(|error| panic!("{}", api::chain(&error)))
    };
    let server = block_in_place(|| build(&cluster));
    let first = server.revision();
    let field = Field::default();
    let clients = field.clients(CLIENTS, || Here(server.clone()));
    for round in 0..ROUNDS {
        let member = round / 2 % MEMBERS;
        match round % 3 {
            0 => cluster.end(member),
            1 => cluster.hold(member),
            _ => cluster.end_in_order(member),
        }
        field.until_written(WRITES).await;
        match round % 3 {
            1 => cluster.go_on(member),
            _ => cluster.run(member),
        }
        field.until_written(WRITES).await;
    }
    let told = field.told(clients).await;
    let heard = changes(&server, first);
    let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
    println!("{ROUNDS} failures, {judged:?}, 0 acknowledged writes lost");
    drop(server);
    // Another server finds the same, and the same past.
    let server = block_in_place(|| build(&cluster));
    let again = changes(&server, first);
    assert_eq!(again[..heard.len()], heard[..]);
}
