//! Several servers on one etcd: all answer, all agree, and another one writes when the one that did is gone.

mod held;

use std::time::{Duration, Instant};

use http::StatusCode;
use live::bench::load::Call;
use live::history::judge;
use live::servers::Servers;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::clients::{AGAIN, Ask, Client, END, Field, MAPS, create, newest, watch};

const SERVERS: usize = 3;
const BLOCKS: &str = "tcso";
/// Clients that write at once.
const CLIENTS: usize = 12;
/// How often the server that writes is killed.
const KILLS: usize = 2;
/// What is written between.
const WRITES: usize = 100;
/// Longer than another one waits for the one that writes: three times what it promises.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_says_all_say() {
    let servers = match block_in_place(|| Servers::start(SERVERS, BLOCKS)) {
        Ok(servers) => servers,
        Err(skip) => return skip.report(),
    };
    for writes in 0..SERVERS {
        let name = format!("by-{writes}");
        let (code, _) = client(&servers, writes)
            .ask(create(&name))
            .await
            .expect("it answers");
        assert_eq!(code, StatusCode::CREATED, "by server {writes}");
        for reads in 0..SERVERS {
            let path = format!("{MAPS}/{name}");
            let found = client(&servers, reads).ask(Call::get(path)).await;
            let (code, body) = found.expect("it answers");
            assert_eq!(code, StatusCode::OK, "{name} at server {reads}: {body:?}");
        }
        let again = client(&servers, (writes + 1) % SERVERS)
            .ask(create(&name))
            .await;
        assert_eq!(again.expect("it answers").0, StatusCode::CONFLICT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_writes_when_the_one_that_did_is_gone() {
    let mut servers = match block_in_place(|| Servers::start(SERVERS, BLOCKS)) {
        Ok(servers) => servers,
        Err(skip) => return skip.report(),
    };
    let first = newest(&mut client(&servers, 0)).await;
    let watching: Vec<_> = (0..SERVERS)
        .map(|server| tokio::spawn(watch(servers.endpoint(server), first)))
        .collect();
    let field = Field::default();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let of_one = client(&servers, number % SERVERS);
        clients.spawn(field.clone().client(number, of_one));
    }
    let mut leader = 0;
    for _ in 0..KILLS {
        written(&field).await;
        let killed = leader;
        servers.all[killed].end();
        let ended = Instant::now();
        let others: Vec<usize> = (0..SERVERS).filter(|it| *it != killed).collect();
        let another = timeout(PATIENCE, servers.leader(&others)).await;
        leader = another.expect("another one writes");
        written(&field).await;
        println!(
            "server {leader} after server {killed}: {:.1?}",
            ended.elapsed()
        );
        block_in_place(|| servers.all[killed].restart());
    }
    written(&field).await;
    field.stop();
    let mut told = Vec::new();
    while let Some(of_one) = clients.join_next().await {
        told.extend(of_one.expect("clients do not fail"));
    }
    let end = client(&servers, leader)
        .ask(create(END))
        .await
        .expect("it serves");
    assert_eq!(end.0, StatusCode::CREATED);
    let mut heard = Vec::new();
    for watching in watching {
        let of_one = timeout(PATIENCE, watching)
            .await
            .expect("it hears of the end");
        heard.push(of_one.expect("it is refused nothing"));
    }
    let judged = judge(&heard[0], &told).unwrap_or_else(|why| panic!("{why}"));
    println!("{KILLS} servers killed, {judged:?}, 0 acknowledged writes lost");
    assert!(judged.reads > WRITES);
    assert!(
        heard.iter().all(|it| *it == heard[0]),
        "all servers tell the same"
    );
}

fn client(servers: &Servers, server: usize) -> Client {
    Client::of(servers.endpoint(server))
}

/// Waits until more was acknowledged.
async fn written(field: &Field) {
    let wanted = field.written() + WRITES;
    let enough = async {
        while field.written() < wanted {
            sleep(AGAIN).await;
        }
    };
    timeout(PATIENCE, enough).await.expect("they serve");
}
