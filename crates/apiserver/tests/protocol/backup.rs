//! Backups of a server that serves, what is restored from them, and what Secrets look like in both.

use std::path::Path;

use apiserver::Server;
use apiserver::store::redb::Redb;
use apiserver::store::sealed::Sealer;
use apiserver::store::{Loaded, backup};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Api, MAPS, WIDGETS, crds, map, widget};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A server over the store in that folder.
fn open(folder: &TempDir, sealer: &Sealer) -> Api {
    let storage = Redb::open(&store(folder)).expect("a store");
    let server = Server::builder().crds(crds()).storage(storage);
    Api(server.sealer(sealer.clone()).build().expect("a server"))
}

/// A server that has been used.
async fn in_use(folder: &TempDir) -> (Api, Sealer) {
    let sealer = Sealer::parse(&Sealer::new_file("a")).expect("keys");
    let api = open(folder, &sealer);
    api.call("POST", WIDGETS, &widget("a", "h")).await;
    api.call("POST", SECRETS, &secret("s", "hunter2")).await;
    (api, sealer)
}

fn store(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("objects")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn secret(name: &str, password: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"password": password}})
}

/// What every object says, but for its version.
fn content(api: &Api) -> Vec<Value> {
    let mut objects = api.0.objects();
    for object in &mut objects {
        object["metadata"]["resourceVersion"].take();
    }
    objects
}

async fn taken(api: &Api) -> Vec<u8> {
    let response = api.send("GET", "/backup", &[], String::new()).await;
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a body");
    body.to_bytes().to_vec()
}

fn read(backup: &[u8]) -> Loaded {
    backup::read(backup).expect("a backup").1
}

fn has(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|part| part == needle.as_bytes())
}

#[tokio::test]
async fn what_was_backed_up_is_there_again() {
    let (here, there) = (folder(), folder());
    let (api, sealer) = in_use(&here).await;
    let (before, revision) = (content(&api), api.0.revision());
    // What is written while it is taken is not in it.
    let response = api.send("GET", "/backup", &[], String::new()).await;
    api.call("POST", MAPS, &map("late")).await;
    let backup = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let restored = backup::restored(read(&backup), None, Timestamp::now()).expect("all of it");
    Redb::create(&store(&there), &restored).expect("an empty folder");
    let api = open(&there, &sealer);
    assert_eq!(content(&api), before);
    // Whoever knows a version of the former server lists anew.
    let path = format!("{WIDGETS}?watch=true&resourceVersion={}", revision + 1);
    assert_eq!(api.watch(&path).await[0]["object"]["code"], 410);
    assert_eq!(api.call("POST", MAPS, &map("goes-on")).await.code, 201);
}

#[tokio::test]
async fn a_backup_leads_back_to_what_was_before() {
    let (here, there) = (folder(), folder());
    let (api, sealer) = in_use(&here).await;
    let (before, revision) = (content(&api), api.0.revision());
    api.call("DELETE", &format!("{WIDGETS}/a"), &Value::Null)
        .await;
    let patch = json!({"stringData": {"password": "hunter3"}});
    api.call("PATCH", &format!("{SECRETS}/s"), &patch).await;
    let backup = read(&taken(&api).await);
    let restored = backup::restored(backup, Some(revision), Timestamp::now()).expect("it is kept");
    Redb::create(&store(&there), &restored).expect("an empty folder");
    assert_eq!(content(&open(&there, &sealer)), before);
}

#[tokio::test]
async fn one_backup_is_taken_at_a_time() {
    let api = Api::new();
    let first = api.send("GET", "/backup", &[], String::new()).await;
    assert_eq!(api.get("/backup").await.code, 429);
    drop(first);
    assert_eq!(api.get("/backup").await.code, 200);
}

#[tokio::test]
async fn a_password_is_in_no_file_without_its_key() {
    let folder = folder();
    let (old, new) = (Sealer::new_file("old"), Sealer::new_file("new"));
    let sealer = Sealer::parse(&old).expect("keys");
    let api = open(&folder, &sealer);
    api.call("POST", SECRETS, &secret("s", "hunter2")).await;
    // As JSON has it: in base64.
    let words = ["hunter2", "aHVudGVyMg"];
    let in_file = |path: &Path| {
        let file = std::fs::read(path).expect("a file");
        words.iter().any(|word| has(&file, word))
    };
    assert!(!in_file(&store(&folder)));
    let backup = taken(&api).await;
    assert!(words.iter().all(|word| !has(&backup, word)));
    assert!(has(&backup, "/secrets/default/s"));
    // Another key, without a stop: everything is sealed by it once that is done.
    sealer.replace(&format!("{new}{old}")).expect("keys");
    assert_eq!(api.0.reseal().await.expect("it is stored"), 1);
    let backup = read(&taken(&api).await);
    let sealed = |(key, value): &(String, bytes::Bytes)| {
        !key.starts_with("/secrets/") || value.starts_with(b"sealed:1:new:")
    };
    assert!(backup.entries.iter().all(sealed));
    api.0.compact();
    api.call("POST", MAPS, &map("a")).await;
    drop(api);
    let newest = Sealer::parse(&new).expect("keys");
    let api = open(&folder, &newest);
    assert!(!newest.is_stale());
    let read = api.get(&format!("{SECRETS}/s")).await.body;
    assert_eq!(read["data"]["password"], "aHVudGVyMg==");
}
