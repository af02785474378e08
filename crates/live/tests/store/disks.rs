//! Disks that are full, read-only or fail: writes are refused for what it is, reads and watches go on as long as they can,
//! and what was acknowledged is there whenever the server is there again.

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use live::bench::load::Call;
use live::disk::Disk;
use live::history::{Told, Version, judge};
use live::{Groma, Skip};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use tokio::time::timeout;

use crate::clients::{Ask, Client, END, Field, MAPS, PATIENCE, create, newest, until, watch};

/// Clients that write at once.
const CLIENTS: usize = 8;
/// What they write before and after a fault.
const WRITES: usize = 100;
/// How often they fail meanwhile.
const FAILURES: usize = 50;
/// MiB of a disk: room for a store, and not for many.
const MIB: u64 = 64;
/// Bytes of an object that needs room.
const LARGE: usize = 500_000;

/// A server on a disk, with clients that write and one that watches.
struct Bed {
    server: Groma,
    field: Field,
    clients: JoinSet<Vec<Told>>,
    watching: JoinHandle<Vec<Version>>,
}

impl Bed {
    async fn on(disk: &Disk) -> Result<Self, Skip> {
        let mut server = Groma::begin_at(disk.path(), &["--blocks=tcso"])?;
        block_in_place(|| server.wait());
        let first = newest(&mut Client::to(&server)).await;
        let field = Field::default();
        let bed = Self {
            watching: tokio::spawn(watch(Client::to(&server).endpoint, first)),
            clients: field.clients(CLIENTS, || Client::to(&server)),
            field,
            server,
        };
        bed.field.until_written(WRITES).await;
        Ok(bed)
    }

    async fn ask(&self, call: Call) -> (StatusCode, Bytes) {
        let answered = Client::to(&self.server).ask(call).await;
        answered.expect("it answers")
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (code, body) = self.ask(Call::get(path.to_owned())).await;
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    /// Writes until that is refused for what the disk lacks; answers with the refusal.
    async fn refused(&self) -> Value {
        let large = "x".repeat(LARGE);
        for n in 0..MIB {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("large-{n}")}, "data": {"large": large}});
            let call = Call {
                method: Method::POST,
                path: MAPS.to_owned(),
                content_type: "application/json",
                body: map.to_string().into(),
            };
            let (code, body) = self.ask(call).await;
            if code != StatusCode::CREATED {
                return serde_json::from_slice(&body).expect("a status");
            }
        }
        panic!("the disk takes it all");
    }

    /// Judges what the clients were told; answers with every version since the beginning.
    async fn judged(self, told: Vec<Told>) -> (Groma, Vec<Version>) {
        let mut last = Client::to(&self.server);
        let end = last.ask(create(END)).await.expect("it serves");
        assert_eq!(end.0, StatusCode::CREATED);
        let heard = timeout(PATIENCE, self.watching).await;
        let heard = heard
            .expect("it hears of the end")
            .expect("it is refused nothing");
        let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
        println!("{judged:?}, 0 acknowledged writes lost");
        (self.server, heard)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_writes_until_there_is_room() {
    if let Err(skip) = full().await {
        skip.report();
    }
}

async fn full() -> Result<(), Skip> {
    let disk = Disk::in_memory(MIB)?;
    let mut bed = Bed::on(&disk).await?;
    disk.fill();
    let status = bed.refused().await;
    assert_eq!(status["code"], 507, "{status}");
    assert_eq!(status["reason"], "InsufficientStorage");
    assert_eq!(
        status["message"],
        "the store has no room left; nothing was written"
    );
    let failed = bed.field.failed();
    until("writes fail", || bed.field.failed() > failed + FAILURES).await;
    block_in_place(|| bed.server.wait_for("No space left on device"));
    let (ready, told) = bed.get("/readyz").await;
    assert_eq!(ready, 500);
    assert!(told.contains("[-]storage failed"), "{told}");
    assert_eq!(bed.get("/livez").await.0, 200);
    assert_eq!(bed.get(MAPS).await.0, 200, "reads go on");
    let (_, metrics) = bed.get("/metrics").await;
    assert!(
        metrics.contains("apiserver_storage_writable 0\n"),
        "{metrics}"
    );
    // One that starts there reads, too.
    block_in_place(|| bed.server.restart());
    assert_eq!(bed.get(MAPS).await.0, 200);
    disk.empty();
    bed.field.until_written(WRITES).await;
    assert_eq!(bed.get("/readyz").await.0, 200);
    let told = bed.field.told(std::mem::take(&mut bed.clients)).await;
    let (mut server, heard) = bed.judged(told).await;
    block_in_place(|| server.restart());
    let again = watch(Client::to(&server).endpoint, heard[0].revision - 1).await;
    assert_eq!(again, heard, "and it is on the disk");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_becomes_read_only_is_told_as_such() {
    if let Err(skip) = read_only().await {
        skip.report();
    }
}

async fn read_only() -> Result<(), Skip> {
    let disk = Disk::ext4(MIB, 0)?;
    let mut bed = Bed::on(&disk).await?;
    // Where a sync fails of it, the server ends: nobody writes just then.
    let told = bed.field.told(std::mem::take(&mut bed.clients)).await;
    disk.damage()?;
    let status = bed.refused().await;
    assert_eq!(status["code"], 503, "{status}\n{}", bed.server.log());
    assert_eq!(
        status["message"],
        "the store is read-only; nothing was written"
    );
    assert_eq!(bed.get(MAPS).await.0, 200, "reads go on");
    bed.server.end();
    bed.server.start_again();
    block_in_place(|| bed.server.wait_for_end());
    let log = bed.server.log();
    assert!(log.contains("Read-only file system"), "{log}");
    disk.mount_again();
    bed.server.start_again();
    block_in_place(|| bed.server.wait());
    bed.judged(told).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_server_and_acknowledges_nothing() {
    if let Err(skip) = failed_sync().await {
        skip.report();
    }
}

async fn failed_sync() -> Result<(), Skip> {
    let disk = Disk::ext4(MIB, MIB / 4)?;
    let mut bed = Bed::on(&disk).await?;
    disk.below().fill();
    block_in_place(|| bed.server.wait_for_end());
    let log = bed.server.log();
    assert!(log.contains("the store takes no further write"), "{log}");
    assert!(log.contains("this process ends"), "{log}");
    // The kernel still shows pages that never came to the disk, and would not write them again.
    disk.below().empty();
    bed.server.start_again();
    block_in_place(|| bed.server.wait());
    bed.field.until_written(WRITES).await;
    bed.server.end();
    disk.mount_again();
    bed.server.start_again();
    block_in_place(|| bed.server.wait());
    bed.field.until_written(WRITES).await;
    let told = bed.field.told(std::mem::take(&mut bed.clients)).await;
    bed.judged(told).await;
    Ok(())
}
