//! What one etcd holds and how much: one that writes, more than a page, and no more than its quota.

use std::sync::mpsc::channel;

use apiserver::Server;
use apiserver::store::etcd::Etcd;
use apiserver::store::{self, Batch, Storage, Write};
use live::bench::load::Call;
use live::etcd::Cluster;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::open;
use crate::clients::{Ask, Here, MAPS, until_so};

/// More keys than a page of etcd has, as a multiple of what one transaction takes.
const MANY: u64 = 600;

#[test]
fn of_two_that_write_one_is_superseded() {
    let cluster = match Cluster::start(1) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let (one, other) = (open(&cluster), open(&cluster));
    let at = |storage: &Etcd| storage.load().expect("it loads").revision;
    assert_eq!((at(&one), at(&other)), (0, 0));
    commit(&one, 0, 1).expect("it is the first");
    let superseded = |error: store::Error| error.is_superseded();
    assert!(
        commit(&other, 0, 1).is_err_and(superseded),
        "it did not see that"
    );
    drop(other);
    let other = open(&cluster);
    assert_eq!(at(&other), 1);
    commit(&other, 1, 1).expect("it follows what is there");
    assert!(
        commit(&one, 1, 1).is_err_and(superseded),
        "it is not the last one any more"
    );
    assert!(commit(&one, 2, 1).is_err_and(superseded), "nor ever again");
    commit(&other, 2, 1).expect("nobody else has written");
    assert_eq!(at(&open(&cluster)), 3);
}

#[test]
fn more_than_a_page_is_read_as_of_one_revision() {
    let cluster = match Cluster::start(1) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let storage = open(&cluster);
    storage.load().expect("it loads");
    let each = u64::try_from(storage.limits().writes).expect("it fits");
    (0..MANY / each).for_each(|n| commit(&storage, n * each, each).expect("it follows"));
    let loaded = storage.load().expect("it loads");
    let there = loaded.entries.iter().map(|(key, _)| key.clone());
    assert!(there.eq((1..=loaded.revision).map(key)));
    let kept = loaded.changes.iter().map(|undo| undo.revision);
    assert!(kept.eq(1..=loaded.revision), "and so is the past");
}

fn key(revision: u64) -> String {
    format!("/things//n{revision:05}")
}

/// Writes so many keys after a revision.
fn commit(storage: &Etcd, after: u64, n: u64) -> Result<(), store::Error> {
    let write = |revision| Write {
        revision,
        key: key(revision),
        value: Some(revision.to_string().into()),
    };
    let batch = Batch {
        after,
        revision: after + n,
        writes: (after + 1..=after + n).map(write).collect(),
        forget: 0,
    };
    let (answer, answers) = channel();
    storage.commit(
        batch,
        Box::new(move |done| answer.send(done).expect("the test waits")),
    );
    answers.recv().expect("it is answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_without_space_is_told_as_such() {
    let mut cluster = match Cluster::start_with(1, &["--quota-backend-bytes=4194304"]) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let server = block_in_place(|| Server::builder().storage(open(&cluster)).build());
    let server = server.unwrap_or_else(|error| panic!("{}", api::chain(&error)));
    let large = "x".repeat(500_000);
    let map = |n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}, "data": {"x": large}});
    let post = |n: u64| {
        let body: Value = map(n);
        let call = Call::post(MAPS.to_owned(), body.to_string().into());
        let mut here = Here(server.clone());
        async move { here.ask(call).await.expect("it answers").0.as_u16() }
    };
    let (mut made, mut code) = (0, 201);
    while code == 201 && made < 20 {
        made += 1;
        code = post(made).await;
    }
    assert_eq!(code, 507);
    let ready = || async {
        let call = Call::get("/readyz".to_owned());
        Here(server.clone())
            .ask(call)
            .await
            .expect("it answers")
            .0
            .as_u16()
    };
    assert_eq!(ready().await, 500);
    // More is allowed, and the alarm is put off.
    cluster.end_in_order(0);
    cluster.options = vec!["--quota-backend-bytes=67108864".to_owned()];
    cluster.run(0);
    until_so("the alarm is off", async || put_off(&cluster).await.is_ok()).await;
    until_so("etcd takes writes again", async || ready().await == 200).await;
    assert_eq!(post(made).await, 201, "what was refused is not there");
    let names: Vec<String> = server.objects().iter().map(name).collect();
    drop(server);
    let server = block_in_place(|| Server::builder().storage(open(&cluster)).build());
    let again = server.expect("it is read").objects();
    assert_eq!(again.iter().map(name).collect::<Vec<_>>(), names);
}

async fn put_off(cluster: &Cluster) -> anyhow::Result<()> {
    let path = "/v3/maintenance/alarm";
    let told = cluster.ask(0, path, &json!({"action": "GET"})).await?;
    let member = &told["alarms"][0]["memberID"];
    let off = json!({"action": "DEACTIVATE", "alarm": "NOSPACE", "memberID": member});
    cluster.ask(0, path, &off).await.map(drop)
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].to_string()
}
