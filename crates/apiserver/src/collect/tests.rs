//! What goes with what, over in-memory storage: a cascade is over when the call returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Server;

fn server() -> Server {
    Server::builder()
        .seed(1)
        .build()
        .expect("a server without definitions")
}

fn map(name: &str, owners: &[(&Value, bool)]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(owner, blocks)| {
            json!({
                "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks,
            })
        })
        .collect();
    let metadata = json!({"name": name, "namespace": "default", "ownerReferences": owners});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

fn names(server: &Server) -> Vec<String> {
    let maps = server
        .objects()
        .into_iter()
        .filter(|object| object["kind"] == "ConfigMap");
    maps.map(|object| {
        object["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned()
    })
    .collect()
}

/// The names of what changed how, in order.
fn history(server: &Server, since: u64) -> Vec<String> {
    let events = server.events_since(since).expect("nothing was compacted");
    let maps = events
        .iter()
        .filter(|event| event.new.key.home.plural == "configmaps");
    maps.map(|event| format!("{} {}", event.change.name(), event.new.key.name))
        .collect()
}

fn delete(server: &Server, object: &Value, propagation: &str) {
    server.delete_with(object, propagation).expect("it may go");
}

#[test]
fn dependents_follow_their_last_owner() {
    let server = server();
    let a = server.apply(&map("a", &[])).unwrap();
    let b = server.apply(&map("b", &[(&a, false)])).unwrap();
    server.apply(&map("c", &[(&b, false)])).unwrap();
    let other = server.apply(&map("other", &[])).unwrap();
    server
        .apply(&map("shared", &[(&a, false), (&other, false)]))
        .unwrap();
    let since = server.revision();
    delete(&server, &a, "Background");
    assert_eq!(names(&server), ["other", "shared"]);
    assert_eq!(
        history(&server, since),
        ["DELETED a", "DELETED b", "MODIFIED shared", "DELETED c"]
    );
    let shared = server
        .objects()
        .into_iter()
        .find(|o| o["metadata"]["name"] == "shared")
        .unwrap();
    assert_eq!(
        shared["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn in_the_foreground_owners_go_last() {
    let server = server();
    let a = server.apply(&map("a", &[])).unwrap();
    let b = server.apply(&map("b", &[(&a, true)])).unwrap();
    server.apply(&map("c", &[(&b, true)])).unwrap();
    let since = server.revision();
    delete(&server, &a, "Foreground");
    assert_eq!(names(&server), Vec::<String>::new());
    let order = [
        "MODIFIED a",
        "MODIFIED b",
        "DELETED c",
        "DELETED b",
        "DELETED a",
    ];
    assert_eq!(history(&server, since), order);
}

#[test]
fn orphans_stay() {
    let server = server();
    let a = server.apply(&map("a", &[])).unwrap();
    for n in 0..300 {
        server.apply(&map(&format!("b{n}"), &[(&a, true)])).unwrap();
    }
    delete(&server, &a, "Orphan");
    assert_eq!(names(&server).len(), 300);
    assert!(
        server
            .objects()
            .iter()
            .all(|object| object["metadata"].get("ownerReferences").is_none())
    );
}

#[test]
fn a_dependent_with_a_finalizer_holds_its_owner_in_the_foreground() {
    let server = server();
    let a = server.apply(&map("a", &[])).unwrap();
    let mut b = map("b", &[(&a, true)]);
    b["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.apply(&b).unwrap();
    delete(&server, &a, "Foreground");
    assert_eq!(names(&server), ["a", "b"]);
    b["metadata"]["finalizers"] = Value::Null;
    server.apply(&b).unwrap();
    assert_eq!(names(&server), Vec::<String>::new());
}

#[test]
fn a_dependent_of_nobody_does_not_stay() {
    let server = server();
    let a = server.apply(&map("a", &[])).unwrap();
    delete(&server, &a, "Background");
    server.apply(&map("late", &[(&a, false)])).unwrap();
    assert_eq!(names(&server), Vec::<String>::new());
    let stranger =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"}});
    server
        .apply(&map("strange", &[(&stranger, false)]))
        .unwrap();
    assert_eq!(
        names(&server),
        ["strange"],
        "nobody here knows whether a Pod exists"
    );
}

#[test]
fn a_namespace_goes_after_its_content() {
    let server = server();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    server.apply(&namespace).unwrap();
    let mut held = map("held", &[]);
    held["metadata"]["namespace"] = "team".into();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.apply(&held).unwrap();
    for n in 0..300 {
        let mut map = map(&format!("m{n}"), &[]);
        map["metadata"]["namespace"] = "team".into();
        server.apply(&map).unwrap();
    }
    server.delete(&namespace).unwrap();
    assert_eq!(names(&server), ["held"]);
    let mut late = map("late", &[]);
    late["metadata"]["namespace"] = "team".into();
    let refused = server.apply(&late).unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"));
    let phase = |server: &Server| {
        let found = server
            .objects()
            .into_iter()
            .find(|o| o["metadata"]["name"] == "team")?;
        Some(found["status"]["phase"].clone())
    };
    assert_eq!(phase(&server), Some("Terminating".into()));
    held["metadata"]["finalizers"] = Value::Null;
    server.apply(&held).unwrap();
    assert_eq!(phase(&server), None);
    assert_eq!(
        server
            .delete(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
            )
            .unwrap_err()
            .code,
        403
    );
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let storage = crate::store::memory::Memory::default();
    let build = || {
        Server::builder()
            .storage(storage.clone())
            .seed(1)
            .build()
            .unwrap()
    };
    let server = build();
    let a = server.apply(&map("a", &[])).unwrap();
    server.apply(&map("b", &[(&a, false)])).unwrap();
    // As if the process had died after the owner's deletion was stored and before its dependents were looked at.
    let key = "/configmaps/default/a".to_owned();
    let revision = server.revision() + 1;
    let write = crate::store::Write {
        revision,
        key,
        value: None,
    };
    let batch = crate::store::Batch {
        after: server.revision(),
        revision,
        writes: vec![write],
        forget: 0,
    };
    crate::store::Storage::commit(&storage, batch, Box::new(|_| ()));
    assert_eq!(names(&build()), Vec::<String>::new());
}

/// A server whose time is the test's.
fn timed() -> (Server, Arc<AtomicI64>) {
    let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    let clock = seconds.clone();
    let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).expect("a time");
    let server = Server::builder().seed(1).clock(Arc::new(now));
    (server.build().unwrap(), seconds)
}

fn event(name: &str, count: i64) -> Value {
    let involved = json!({"kind": "X", "name": "x"});
    let metadata = json!({"name": name, "namespace": "default"});
    json!({"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": involved, "count": count})
}

fn left(server: &Server) -> usize {
    let objects = server.objects();
    let events = objects.iter().filter(|object| object["kind"] == "Event");
    events.count()
}

#[test]
fn events_go_after_an_hour() {
    let (server, seconds) = timed();
    server.apply(&event("once", 1)).unwrap();
    server.apply(&event("again", 1)).unwrap();
    seconds.fetch_add(1800, Ordering::Relaxed);
    server.apply(&event("again", 2)).unwrap();
    assert_eq!(left(&server), 2);
    seconds.fetch_add(1801, Ordering::Relaxed);
    server.apply(&map("any-write", &[])).unwrap();
    assert_eq!(left(&server), 1);
    seconds.fetch_add(1800, Ordering::Relaxed);
    server.apply(&map("any-write-2", &[])).unwrap();
    assert_eq!(left(&server), 0);
}

#[test]
fn events_written_before_the_clock_went_back_keep_no_others() {
    let (server, seconds) = timed();
    seconds.fetch_add(6 * 3600, Ordering::Relaxed);
    server.apply(&event("too-early", 1)).unwrap();
    seconds.fetch_sub(6 * 3600, Ordering::Relaxed);
    server.apply(&event("after", 1)).unwrap();
    seconds.fetch_add(3601, Ordering::Relaxed);
    server.apply(&map("any-write", &[])).unwrap();
    assert_eq!(left(&server), 0);
}
