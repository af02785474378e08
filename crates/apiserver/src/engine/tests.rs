//! Durable before visible: with a storage that answers when the test wants.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::server::Server;
use crate::store::{BATCHES_MAX, Batch, Done, Error, Lack, Loaded, Storage};

/// Keeps answers back, except for those to what the server writes at its start.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    holding: bool,
    batches: Vec<(Batch, Done)>,
}

impl Storage for Held {
    fn load(&self) -> Result<Loaded, Error> {
        Ok(Loaded::default())
    }

    fn commit(&self, batch: Batch, done: Done) {
        let mut kept = self.0.lock().expect("no test panics with it");
        if kept.holding {
            kept.batches.push((batch, done));
            return;
        }
        drop(kept);
        done(Ok(()));
    }
}

impl Held {
    /// Answers what was submitted, oldest first; answers with the revisions.
    fn release(&self, result: &Result<(), Error>) -> Vec<u64> {
        let batches = std::mem::take(&mut self.0.lock().expect("no test panics with it").batches);
        let answer = |(batch, done): (Batch, Done)| {
            done(result.clone());
            batch.revision
        };
        batches.into_iter().map(answer).collect()
    }
}

fn server() -> (Server, Held) {
    let held = Held::default();
    let server = Server::builder()
        .storage(held.clone())
        .seed(1)
        .build()
        .expect("a server");
    held.0.lock().expect("no test panics with it").holding = true;
    (server, held)
}

async fn call(
    server: Server,
    method: &'static str,
    path: &'static str,
    body: Value,
) -> (u16, Value) {
    let content_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let body = Full::new(Bytes::from(body.to_string()));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type);
    let response = server
        .serve(
            &Identity::admin("test"),
            request.body(body).expect("a request"),
        )
        .await;
    let code = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .expect("a body")
        .to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const A: &str = "/api/v1/namespaces/default/configmaps/a";

fn map() -> Value {
    json!({"metadata": {"name": "a"}, "data": {"n": "1"}})
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_durable() {
    let (server, held) = server();
    let before = server.revision();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!(
        (&mut create).now_or_never().is_none(),
        "not durable, so not answered"
    );
    assert_eq!(call(server.clone(), "GET", A, Value::Null).await.0, 404);
    let mut patch = Box::pin(call(
        server.clone(),
        "PATCH",
        A,
        json!({"data": {"n": "2"}}),
    ));
    assert!(
        (&mut patch).now_or_never().is_none(),
        "it builds on what is not durable"
    );
    let mut no_op = Box::pin(call(
        server.clone(),
        "PATCH",
        A,
        json!({"data": {"n": "2"}}),
    ));
    assert!(
        (&mut no_op).now_or_never().is_none(),
        "even what changes nothing waits for what it saw"
    );
    let mut taken = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!(
        (&mut taken).now_or_never().is_none(),
        "and so does a refusal"
    );
    assert_eq!(
        (
            server.revision(),
            server.events_since(before).expect("kept").len()
        ),
        (before, 0)
    );
    assert_eq!(held.release(&Ok(())), [before + 1, before + 2]);
    assert_eq!(create.await.1["data"]["n"], "1");
    assert_eq!(patch.await.1["data"]["n"], "2");
    assert_eq!(taken.await.0, 409);
    assert_eq!(
        no_op.await.1["metadata"]["resourceVersion"],
        (before + 2).to_string()
    );
    assert_eq!(
        call(server.clone(), "GET", A, Value::Null).await.1["data"]["n"],
        "2"
    );
    assert_eq!(server.events_since(before).expect("kept").len(), 2);
}

#[tokio::test]
async fn a_collection_is_gone_once_all_of_it_is_durable() {
    let (server, held) = server();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&Ok(()));
    let mut one = Box::pin(call(server.clone(), "DELETE", A, json!({})));
    assert!((&mut one).now_or_never().is_none());
    let mut all = Box::pin(call(server.clone(), "DELETE", MAPS, json!({})));
    assert!(
        (&mut all).now_or_never().is_none(),
        "what somebody else deletes is not gone either"
    );
    held.release(&Ok(()));
    assert_eq!(all.await.0, 200);
}

#[test]
fn storage_is_given_no_more_than_it_has_room_for() {
    let (server, held) = server();
    let before = server.revision();
    for n in 0..BATCHES_MAX + 5 {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}});
        server.apply(&map).expect("a map");
    }
    assert_eq!(held.release(&Ok(())).len(), BATCHES_MAX);
    let last = before + BATCHES_MAX as u64 + 5;
    assert_eq!(held.release(&Ok(())), [last], "the rest comes at once");
    assert_eq!(server.revision(), last);
}

#[tokio::test]
async fn a_client_that_goes_away_loses_nothing() {
    let (server, held) = server();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    drop(create);
    held.release(&Ok(()));
    assert_eq!(call(server.clone(), "GET", A, Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_storage_that_fails_ends_writing_and_not_reading() {
    let (server, held) = server();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&Err(Error::new("the disk is gone")));
    let (code, status) = create.await;
    assert_eq!(code, 500);
    assert!(
        !status["message"]
            .as_str()
            .expect("a message")
            .contains("disk"),
        "the cause is for the log"
    );
    assert_eq!(call(server.clone(), "GET", A, Value::Null).await.0, 404);
    assert_eq!(call(server.clone(), "POST", MAPS, map()).await.0, 500);
    assert_eq!(
        call(
            server.clone(),
            "GET",
            "/api/v1/namespaces/default",
            Value::Null
        )
        .await
        .0,
        200
    );
    assert_eq!(
        call(server.clone(), "GET", "/readyz", Value::Null).await.0,
        500
    );
    assert_eq!(call(server, "GET", "/livez", Value::Null).await.0, 200);
}

async fn code(server: &Server, method: &'static str, path: &'static str, body: Value) -> u16 {
    call(server.clone(), method, path, body).await.0
}

fn full() -> Result<(), Error> {
    Err(Error::lacking(Lack::Room, "the disk is full"))
}

#[tokio::test]
async fn a_storage_that_lacks_room_takes_writes_again_once_there_is_some() {
    let (server, held) = server();
    let before = server.revision();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&full());
    let (refused, status) = create.await;
    assert_eq!(
        (refused, status["reason"].as_str()),
        (507, Some("InsufficientStorage"))
    );
    assert_eq!(
        status["message"],
        "the store has no room left; nothing was written"
    );
    assert!(!server.is_broken());
    assert_eq!(code(&server, "GET", A, Value::Null).await, 404);
    assert_eq!(code(&server, "GET", "/readyz", Value::Null).await, 500);
    let meanwhile = code(&server, "POST", MAPS, map()).await;
    assert_eq!(
        meanwhile, 507,
        "whoever asked for health has let it be tried"
    );
    held.release(&full());
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!(
        (&mut create).now_or_never().is_none(),
        "a write tries it, too"
    );
    held.release(&Ok(()));
    let (created, map) = create.await;
    assert_eq!(created, 201);
    let revision: u64 = map["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(revision > before + 1, "no revision is used twice");
    assert_eq!(code(&server, "GET", "/readyz", Value::Null).await, 200);
    assert_eq!(server.events_since(before).expect("kept").len(), 1);
}

#[tokio::test]
async fn a_refusal_and_what_changes_nothing_do_not_wait_for_writes_that_failed() {
    let (server, held) = server();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&full());
    assert_eq!(create.await.0, 507);
    let gone = call(server.clone(), "DELETE", A, json!({})).now_or_never();
    assert_eq!(gone.expect("there is nothing to wait for").0, 404);
}

#[tokio::test]
async fn what_waits_behind_a_batch_without_room_goes_with_it() {
    let (server, held) = server();
    let before = server.revision();
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    let mut patch = Box::pin(call(
        server.clone(),
        "PATCH",
        A,
        json!({"data": {"n": "2"}}),
    ));
    assert!((&mut patch).now_or_never().is_none());
    let batches = std::mem::take(&mut held.0.lock().unwrap().batches);
    let mut batches = batches.into_iter();
    batches.next().unwrap().1(full());
    assert_eq!(create.await.0, 507);
    let early = code(&server, "POST", MAPS, map()).await;
    assert_eq!(early, 507, "not before all is answered");
    batches.next().unwrap().1(full());
    assert_eq!(patch.await.0, 507);
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    assert_eq!(held.0.lock().unwrap().batches[0].0.after, before);
    held.release(&Ok(()));
    assert_eq!(create.await.0, 201);
}

#[tokio::test]
async fn garbage_that_found_no_room_is_collected_later() {
    let (server, held) = server();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = server.apply(&owner).expect("a map");
    held.release(&Ok(()));
    let tie = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    server
        .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default", "ownerReferences": [tie]}}))
        .expect("a map");
    held.release(&Ok(()));
    let path = "/api/v1/namespaces/default/configmaps/owner";
    let mut delete = Box::pin(call(server.clone(), "DELETE", path, json!({})));
    assert!((&mut delete).now_or_never().is_none());
    held.release(&Ok(()));
    assert_eq!(delete.await.0, 200);
    assert_eq!(
        held.release(&full()).len(),
        1,
        "what it owned is decided to go"
    );
    assert_eq!(code(&server, "GET", "/readyz", Value::Null).await, 500);
    held.release(&Ok(()));
    held.release(&Ok(()));
    assert_eq!(code(&server, "GET", A, Value::Null).await, 404);
}

#[tokio::test]
async fn what_found_no_room_counts_for_no_quota() {
    let (server, held) = server();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "one", "namespace": "default"}, "spec": {"hard": {"count/configmaps": "1"}}});
    server.apply(&quota).expect("a quota");
    while !held.release(&Ok(())).is_empty() {}
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&full());
    assert_eq!(create.await.0, 507);
    let mut create = Box::pin(call(server.clone(), "POST", MAPS, map()));
    assert!((&mut create).now_or_never().is_none());
    held.release(&Ok(()));
    assert_eq!(create.await.0, 201);
    while !held.release(&Ok(())).is_empty() {}
    let mut other = map();
    other["metadata"]["name"] = "b".into();
    assert_eq!(code(&server, "POST", MAPS, other).await, 403);
}
