//! What every storage must keep, as one function that each implementation's test calls.
//!
//! It covers order, wholeness and reopening. Surviving a power cut needs a faulty disk and is tested by the
//! implementations that have one.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Batch, Loaded, Storage, Write};

/// How long one acknowledgement may take before the contract counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any implementation is expected to put into one sync.
const MANY: u64 = 2_000;

/// Checks the contract; `open` opens the same place again each time, after the previous one was dropped.
pub(crate) fn check<S: Storage>(open: impl Fn() -> S) {
    starts_empty(&open());
    acknowledges_in_order(&open());
    keeps_what_was_acknowledged(&open());
    replaces_and_removes(&open());
    takes_a_batch_whole(&open());
    keeps_batches_after_reopening(&open);
}

fn starts_empty(storage: &impl Storage) {
    assert_eq!(
        storage.load().expect("an empty place loads"),
        Loaded::default()
    );
}

fn acknowledges_in_order(storage: &impl Storage) {
    storage.load().expect("loads");
    let (acknowledged, answers) = channel();
    for revision in 1..=MANY {
        let write = set(
            &format!("/things//n{:04}", revision % 100),
            &revision.to_string(),
        );
        submit(storage, revision, vec![write], &acknowledged);
    }
    let order: Vec<u64> = (0..MANY).map(|_| receive(&answers)).collect();
    assert!(
        order.is_sorted(),
        "batches are acknowledged in the order of their revisions"
    );
}

fn keeps_what_was_acknowledged(storage: &impl Storage) {
    let loaded = storage.load().expect("loads");
    assert_eq!(loaded.revision, MANY);
    assert_eq!(loaded.entries.len(), 100);
    assert!(loaded.entries.is_sorted(), "entries come in key order");
    assert_eq!(
        loaded.entries[1],
        ("/things//n0001".to_owned(), Bytes::from("1901")),
        "the last write of a key counts"
    );
}

fn replaces_and_removes(storage: &impl Storage) {
    let (acknowledged, answers) = channel();
    for n in 2..100 {
        submit(
            storage,
            MANY + n,
            vec![remove(&format!("/things//n{n:04}"))],
            &acknowledged,
        );
        receive(&answers);
    }
    submit(
        storage,
        MANY + 100,
        vec![remove("/things//never-there"), set("/things//n0001", "new")],
        &acknowledged,
    );
    receive(&answers);
    let left = storage.load().expect("loads").entries;
    assert_eq!(
        left,
        [
            ("/things//n0000".to_owned(), Bytes::from("2000")),
            ("/things//n0001".to_owned(), Bytes::from("new"))
        ]
    );
}

fn takes_a_batch_whole(storage: &impl Storage) {
    let (acknowledged, answers) = channel();
    let writes = vec![
        set("a/b/c/d", "1"),
        set("a/b/c/e", "1"),
        remove("a/b/c/d"),
        set("a/b/c/e", "2"),
        remove("/things//n0000"),
    ];
    submit(storage, MANY + 200, writes, &acknowledged);
    receive(&answers);
}

fn keeps_batches_after_reopening<S: Storage>(open: &impl Fn() -> S) {
    let loaded = open().load().expect("loads");
    assert_eq!(loaded.revision, MANY + 200);
    let expected = [
        ("/things//n0001".to_owned(), Bytes::from("new")),
        ("a/b/c/e".to_owned(), Bytes::from("2")),
    ];
    assert_eq!(loaded.entries, expected);
    let large = Bytes::from(vec![b'x'; crate::store::VALUE_BYTES_MAX]);
    let key = "k".repeat(crate::store::KEY_BYTES_MAX);
    {
        let storage = open();
        storage.load().expect("loads");
        let (acknowledged, answers) = channel();
        submit(
            &storage,
            MANY + 201,
            vec![Write {
                key: key.clone(),
                value: Some(large.clone()),
            }],
            &acknowledged,
        );
        receive(&answers);
    }
    assert!(
        open()
            .load()
            .expect("loads")
            .entries
            .contains(&(key, large)),
        "the largest key and value are kept"
    );
}

fn submit(storage: &impl Storage, revision: u64, writes: Vec<Write>, acknowledged: &Sender<u64>) {
    let acknowledged = acknowledged.clone();
    let done = Box::new(move |result: Result<(), _>| {
        result.expect("a healthy place commits");
        acknowledged.send(revision).expect("the test waits");
    });
    storage.commit(Batch { revision, writes }, done);
}

fn receive(answers: &Receiver<u64>) -> u64 {
    answers
        .recv_timeout(PATIENCE)
        .expect("each batch is acknowledged once")
}

fn set(key: &str, value: &str) -> Write {
    Write {
        key: key.to_owned(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn remove(key: &str) -> Write {
    Write {
        key: key.to_owned(),
        value: None,
    }
}
