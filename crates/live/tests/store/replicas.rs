//! Several servers on one etcd: all answer, all agree, and another one writes when the one that did is gone.

mod held;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use apiserver::store::etcd::Members;
use apiserver::store::sealed::Sealer;
use http::StatusCode;
use live::bench::client::Endpoint;
use live::etcd::Cluster;
use live::history::judge;
use live::{Groma, Skip};
use tempfile::TempDir;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::clients::{AGAIN, Ask, Client, END, Field, MAPS, create, newest, watch};

const MEMBERS: usize = 3;
const SERVERS: usize = 3;
/// Clients that write at once.
const CLIENTS: usize = 12;
/// How often the server that writes is killed.
const KILLS: usize = 2;
/// What is written between.
const WRITES: usize = 100;
/// Longer than another one waits for the one that writes: three times what it promises.
const PATIENCE: Duration = Duration::from_secs(40);

/// Servers, and the etcd that they share.
struct Servers {
    all: Vec<Groma>,
    _cluster: Cluster,
    _folder: TempDir,
}

impl Servers {
    /// The first of them writes.
    fn start() -> Result<Self, Skip> {
        let cluster = Cluster::start(MEMBERS)?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        let keys = folder.path().join("keys");
        fs::write(&keys, Sealer::new_file("shared")).expect("written");
        let arguments = arguments(cluster.members(), &keys);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut first = Groma::begin(&arguments)?;
        first.wait_for(WRITES_NOW);
        let mut all = vec![first];
        for _ in 1..SERVERS {
            let mut another = Groma::begin_beside(&all[0], &arguments)?;
            another.wait();
            all.push(another);
        }
        Ok(Self {
            all,
            _cluster: cluster,
            _folder: folder,
        })
    }

    fn endpoint(&self, server: usize) -> Endpoint {
        let path = self.all[server].kubeconfig();
        Endpoint::by_kubeconfig(&path).expect("it names the server")
    }

    fn client(&self, server: usize) -> Client {
        Client::of(self.endpoint(server))
    }

    /// The one that writes, once one of those that are asked about does.
    async fn leader(&self, among: &[usize]) -> usize {
        loop {
            let leads = |server: &&usize| self.all[**server].log().contains(WRITES_NOW);
            if let Some(server) = among.iter().find(leads) {
                return *server;
            }
            sleep(AGAIN).await;
        }
    }
}

/// What a server says that has begun to write.
const WRITES_NOW: &str = "this server writes";

fn arguments(members: Members, keys: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let (certificate, key) = members.certificate.expect("clients show one");
    vec![
        format!("--etcd-servers={}", members.urls.join(",")),
        format!(
            "--etcd-cafile={}",
            path(&members.authority.expect("it is known"))
        ),
        format!("--etcd-certfile={}", path(&certificate)),
        format!("--etcd-keyfile={}", path(&key)),
        format!("--secret-keys={}", path(keys)),
        "--blocks=tcso".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_says_all_say() {
    let servers = match block_in_place(Servers::start) {
        Ok(servers) => servers,
        Err(skip) => return skip.report(),
    };
    for writes in 0..SERVERS {
        let name = format!("by-{writes}");
        let (code, _) = servers
            .client(writes)
            .ask(create(&name))
            .await
            .expect("it answers");
        assert_eq!(code, StatusCode::CREATED, "by server {writes}");
        for reads in 0..SERVERS {
            let path = format!("{MAPS}/{name}");
            let found = servers
                .client(reads)
                .ask(live::bench::load::Call::get(path))
                .await;
            let (code, body) = found.expect("it answers");
            assert_eq!(code, StatusCode::OK, "{name} at server {reads}: {body:?}");
        }
        let again = servers
            .client((writes + 1) % SERVERS)
            .ask(create(&name))
            .await;
        assert_eq!(again.expect("it answers").0, StatusCode::CONFLICT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_writes_when_the_one_that_did_is_gone() {
    let mut servers = match block_in_place(Servers::start) {
        Ok(servers) => servers,
        Err(skip) => return skip.report(),
    };
    let first = newest(&mut servers.client(0)).await;
    let watching: Vec<_> = (0..SERVERS)
        .map(|server| tokio::spawn(watch(servers.endpoint(server), first)))
        .collect();
    let field = Field::default();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = servers.client(number % SERVERS);
        clients.spawn(field.clone().client(number, client));
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
    let end = servers
        .client(leader)
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
