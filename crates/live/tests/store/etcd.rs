//! Storage in a real etcd of three members: it keeps the contract, and what clients are told stays right while members
//! are ended, held and started again.

use std::time::Duration;

use anyhow::Result;
use apiserver::store::contract;
use apiserver::store::etcd::Etcd;
use apiserver::{Identity, Server};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use live::bench::load::Call;
use live::etcd::Cluster;
use live::history::{Version, judge};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::clients::{Ask, Field, version_of};

const MEMBERS: usize = 3;
/// Clients that write at once.
const CLIENTS: usize = 8;
/// How often a member is ended or held.
const ROUNDS: usize = 6;
/// What is written while it is, and while all are there again.
const WRITES: usize = 40;
/// How long that may take: members elect another leader after a second, and are asked again after five.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

#[test]
fn keeps_the_contract() {
    let cluster = match Cluster::start(MEMBERS) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    contract::check(|| open(&cluster));
}

fn open(cluster: &Cluster) -> Etcd {
    Etcd::open(&cluster.members(), "/groma/").expect("it can be used")
}

/// A server in this process.
struct Here(Server);

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
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(field.clone().client(number, Here(server.clone())));
    }
    for round in 0..ROUNDS {
        let member = round % MEMBERS;
        match round % 2 {
            0 => cluster.end(member),
            _ => cluster.hold(member),
        }
        written(&field).await;
        match round % 2 {
            0 => cluster.run(member),
            _ => cluster.go_on(member),
        }
        written(&field).await;
    }
    field.stop();
    let mut told = Vec::new();
    while let Some(of_one) = clients.join_next().await {
        told.extend(of_one.expect("clients do not fail"));
    }
    let heard = changes(&server, first);
    let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
    println!("{ROUNDS} failures, {judged:?}, 0 acknowledged writes lost");
    drop(server);
    // Another server finds the same, and the same past.
    let server = block_in_place(|| build(&cluster));
    let again = changes(&server, first);
    assert_eq!(again[..heard.len()], heard[..]);
}

/// Waits until more was acknowledged.
async fn written(field: &Field) {
    let wanted = field.written() + WRITES;
    let enough = async {
        while field.written() < wanted {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, enough)
        .await
        .expect("two of three are enough");
}

/// What happened to the objects of the clients after a revision.
fn changes(server: &Server, after: u64) -> Vec<Version> {
    let events = server.events_since(after).expect("it is kept");
    let of_clients = events
        .iter()
        .filter(|event| event.new.key.home.plural == "configmaps");
    let version = |event: &std::sync::Arc<apiserver::Event>| {
        version_of(event.change.name(), &event.new.value)
    };
    of_clients.filter_map(version).collect()
}
