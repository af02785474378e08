//! What every storage must keep, as one function that each implementation's test calls.
//!
//! It covers order, wholeness, the past and reopening. Surviving a power cut needs a faulty disk and is tested by the
//! implementations that have one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Batch, KEY_BYTES_MAX, Loaded, Storage, Undo, VALUE_BYTES_MAX, Write};

/// How long one acknowledgement may take before the contract counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any implementation is expected to put into one sync.
const MANY: u64 = 2_000;

/// Checks the contract; `open` opens the same place again each time, after the previous one was dropped.
///
/// # Panics
/// With what is broken.
pub fn check<S: Storage>(open: impl Fn() -> S) {
    starts_empty(&open());
    acknowledges_in_order(&open());
    keeps_what_was_acknowledged(&open());
    replaces_and_removes(&open());
    takes_a_batch_whole(&open());
    keeps_batches_after_reopening(&open);
    keeps_what_was_replaced(&open);
    forgets_what_it_may(&open);
    refuses_what_does_not_follow(&open);
    keeps_the_largest(&open);
}

fn starts_empty(storage: &impl Storage) {
    let loaded = storage.load().expect("an empty place loads");
    assert_eq!(loaded, Loaded::default());
}

fn acknowledges_in_order(storage: &impl Storage) {
    storage.load().expect("loads");
    let (acknowledged, answers) = channel();
    for revision in 1..=MANY {
        let key = format!("/things//n{:04}", revision % 100);
        let write = set(&key, &revision.to_string());
        submit(storage, revision - 1, vec![write], 0, &acknowledged);
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
    let removed: Vec<String> = (2..100).map(|n| format!("/things//n{n:04}")).collect();
    for key in &removed {
        write(storage, vec![remove(key)], 0);
    }
    write(
        storage,
        vec![remove("/things//never-there"), set("/things//n0001", "new")],
        0,
    );
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
    let mut writes = vec![
        set("a/b/c/d", "1"),
        set("a/b/c/e", "1"),
        remove("a/b/c/d"),
        set("a/b/c/e", "2"),
        remove("/things//n0000"),
    ];
    if storage.limits().each_key_once {
        let later = writes.split_off(2);
        write(storage, writes, 0);
        writes = later;
    }
    write(storage, writes, 0);
}

fn keeps_batches_after_reopening<S: Storage>(open: &impl Fn() -> S) {
    let loaded = open().load().expect("loads");
    assert_eq!(loaded.revision, MANY + 105);
    let expected = [
        ("/things//n0001".to_owned(), Bytes::from("new")),
        ("a/b/c/e".to_owned(), Bytes::from("2")),
    ];
    assert_eq!(loaded.entries, expected);
}

/// From the newest change back, what it has replaced leads to every state that there ever was.
fn keeps_what_was_replaced<S: Storage>(open: &impl Fn() -> S) {
    let loaded = open().load().expect("loads");
    assert_eq!(loaded.forgotten, 0, "nobody said that it may forget");
    let revisions = loaded.changes.iter().map(|undo| undo.revision);
    assert!(revisions.eq(1..=loaded.revision), "every change, once");
    let mut state: BTreeMap<String, Bytes> = loaded.entries.into_iter().collect();
    for undo in loaded.changes.into_iter().rev() {
        if undo.revision == MANY {
            assert_eq!(state.len(), 100, "before any was removed");
            assert_eq!(state["/things//n0001"], "1901");
        }
        match undo.before {
            Some(before) => state.insert(undo.key, before),
            None => state.remove(&undo.key),
        };
    }
    assert_eq!(state, BTreeMap::new(), "there was nothing at the beginning");
}

fn forgets_what_it_may<S: Storage>(open: &impl Fn() -> S) {
    let before = open().load().expect("loads");
    {
        let storage = open();
        write(&storage, vec![set("a/b/c/f", "1")], MANY);
        // Forgetting less than before brings nothing back.
        write(&storage, vec![set("a/b/c/f", "2")], 10);
    }
    let after = open().load().expect("loads");
    assert_eq!(after.forgotten, MANY);
    let kept = before
        .changes
        .into_iter()
        .filter(|undo| undo.revision > MANY);
    let new = [
        undo(before.revision + 1, "a/b/c/f", None),
        undo(before.revision + 2, "a/b/c/f", Some("1")),
    ];
    assert!(kept.chain(new).eq(after.changes));
}

fn refuses_what_does_not_follow<S: Storage>(open: &impl Fn() -> S) {
    let before = open().load().expect("loads");
    for after in [before.revision - 1, before.revision + 1] {
        let storage = open();
        storage.load().expect("loads");
        let (answer, answers) = channel();
        let batch = batch(after, vec![set("a/b/c/g", "lost")], 0);
        storage.commit(
            batch,
            Box::new(move |done| answer.send(done).expect("the test waits")),
        );
        let refused = answers.recv_timeout(PATIENCE).expect("it is answered");
        assert!(refused.is_err_and(|error| error.is_superseded()));
    }
    assert_eq!(
        open().load().expect("loads"),
        before,
        "nothing of it is there"
    );
}

fn keeps_the_largest<S: Storage>(open: &impl Fn() -> S) {
    let large = "x".repeat(VALUE_BYTES_MAX.min(open().limits().bytes));
    let key = "k".repeat(KEY_BYTES_MAX);
    for _ in 0..2 {
        // The second time it is what is replaced, too.
        write(&open(), vec![set(&key, &large)], 0);
    }
    let loaded = open().load().expect("loads");
    let entry = (key.clone(), Bytes::from(large.clone()));
    assert!(loaded.entries.contains(&entry), "the largest key and value");
    let last = undo(loaded.revision, &key, Some(&large));
    assert_eq!(loaded.changes.last(), Some(&last));
}

/// Writes after what is there, and waits until it is durable.
fn write(storage: &impl Storage, writes: Vec<Write>, forget: u64) {
    let (acknowledged, answers) = channel();
    let after = storage.load().expect("loads").revision;
    submit(storage, after, writes, forget, &acknowledged);
    receive(&answers);
}

fn submit(
    storage: &impl Storage,
    after: u64,
    writes: Vec<Write>,
    forget: u64,
    acknowledged: &Sender<u64>,
) {
    let (batch, acknowledged) = (batch(after, writes, forget), acknowledged.clone());
    let revision = batch.revision;
    let done = Box::new(move |result: Result<(), _>| {
        result.expect("a healthy place commits");
        acknowledged.send(revision).expect("the test waits");
    });
    storage.commit(batch, done);
}

/// The writes, numbered from the revision that they follow.
fn batch(after: u64, mut writes: Vec<Write>, forget: u64) -> Batch {
    for (revision, write) in (after + 1..).zip(&mut writes) {
        write.revision = revision;
    }
    Batch {
        after,
        revision: after + writes.len() as u64,
        writes,
        forget,
    }
}

fn receive(answers: &Receiver<u64>) -> u64 {
    answers
        .recv_timeout(PATIENCE)
        .expect("each batch is acknowledged once")
}

fn set(key: &str, value: &str) -> Write {
    Write {
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..remove(key)
    }
}

fn remove(key: &str) -> Write {
    Write {
        revision: 0,
        key: key.to_owned(),
        value: None,
    }
}

fn undo(revision: u64, key: &str, before: Option<&str>) -> Undo {
    Undo {
        revision,
        key: key.to_owned(),
        before: before.map(|before| Bytes::copy_from_slice(before.as_bytes())),
    }
}
