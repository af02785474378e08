//! What this storage promises beyond the contract: shared syncs, refusals, and silence after a failed disk.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use rustix::io::Errno;
use serde_json::json;

use super::*;
use crate::server::Server;
use crate::store::{Lack, Write, contract};

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::check(|| Redb::open(&folder.path().join("store")).expect("opens"));
}

#[test]
fn only_the_owner_reads_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(Redb::open(&path).unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        FILE_MODE
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left behind"
    );
}

#[test]
fn refuses_a_second_opener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let _open = Redb::open(&path).unwrap();
    assert!(
        refusal(&path).contains("in use by another process"),
        "{}",
        refusal(&path)
    );
}

#[test]
fn refuses_a_newer_format_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(Redb::open(&path).unwrap());
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write
        .open_table(META)
        .unwrap()
        .insert(META_FORMAT, FORMAT + 1)
        .unwrap();
    write.commit().unwrap();
    drop(db);
    assert!(
        refusal(&path)
            .contains("has format 3, written by a newer version; this one reads format 2")
    );
}

#[test]
fn a_store_of_the_first_format_goes_on_without_a_past() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let storage = Redb::open(&path).unwrap();
    (1..=3).for_each(|n| commit(&storage, n, "x").unwrap());
    let expected = storage.load().unwrap().entries;
    drop(storage);
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.delete_table(CHANGES).unwrap();
    let mut meta = write.open_table(META).unwrap();
    meta.insert(META_FORMAT, FORMAT_WITHOUT_CHANGES).unwrap();
    drop(meta);
    write.commit().unwrap();
    drop(db);
    let loaded = Redb::open(&path).unwrap().load().unwrap();
    assert_eq!((loaded.entries, loaded.revision), (expected, 3));
    assert_eq!((loaded.forgotten, loaded.changes), (3, Vec::new()));
}

#[test]
fn a_store_is_made_with_its_content_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let storage = Redb::open(&path).unwrap();
    (1..=3).for_each(|n| commit(&storage, n, "x").unwrap());
    let content = storage.load().unwrap();
    let refused = Redb::create(&path, &content).unwrap_err();
    assert!(api::chain(&refused).contains("File exists"), "{refused:?}");
    let copy = folder.path().join("copy");
    Redb::create(&copy, &content).unwrap();
    assert_eq!(Redb::open(&copy).unwrap().load().unwrap(), content);
}

#[test]
fn refuses_what_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    for content in [&b""[..], b"hello", &[0; 100_000]] {
        fs::write(&path, content).unwrap();
        assert!(
            refusal(&path).contains("damaged or is not a store"),
            "{}",
            refusal(&path)
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            content,
            "a refused file is left as it was"
        );
    }
}

#[test]
fn shows_what_was_written_or_refuses_after_any_flipped_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let storage = Redb::open(&path).unwrap();
    (1..=40).for_each(|n| commit(&storage, n, &"v".repeat(500)).unwrap());
    let expected = storage.load().unwrap();
    drop(storage);
    let good = fs::read(&path).unwrap();
    let mut refused = 0;
    // A prime step visits headers, branches, leaves and free pages at changing offsets.
    for at in (0..good.len()).step_by(good.len() / 151) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(&path, &bad).unwrap();
        match Redb::open(&path) {
            Ok(storage) => assert_eq!(
                storage.load().unwrap(),
                expected,
                "byte {at} changed what is read"
            ),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no flipped byte was noticed");
}

#[test]
fn a_store_that_was_half_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fs::write(path.with_extension("new"), b"half").unwrap();
    assert_eq!(
        Redb::open(&path).unwrap().load().unwrap(),
        Loaded::default()
    );
    assert!(!path.with_extension("new").exists());
}

#[test]
fn waiting_batches_share_one_commit() {
    let disk = Disk::default();
    let storage = disk.storage();
    let (answer, answers) = channel();
    let before = disk.syncs();
    disk.hold(true);
    for revision in 1..=500 {
        let answer = answer.clone();
        storage.commit(
            batch(revision, "x"),
            Box::new(move |done| answer.send((revision, done.is_ok())).unwrap()),
        );
    }
    disk.hold(false);
    let acknowledged: Vec<_> = answers.iter().take(500).collect();
    assert_eq!(
        acknowledged,
        (1..=500)
            .map(|revision| (revision, true))
            .collect::<Vec<_>>()
    );
    // One commit was held, the 499 others went together; a commit syncs twice, and a few more for growing the file.
    assert!(
        disk.syncs() - before <= 8,
        "{} syncs",
        disk.syncs() - before
    );
}

#[test]
fn acknowledges_nothing_after_a_failed_sync() {
    // Some disks find out only then that they are full.
    for errno in [Errno::IO, Errno::NOSPC] {
        let disk = Disk::default();
        let storage = disk.storage();
        commit(&storage, 1, "kept").unwrap();
        disk.fail(Some(Fault::Sync(errno)));
        let error = commit(&storage, 2, "lost").unwrap_err();
        assert_eq!(error.lack(), None, "what is on the disk is not known");
        disk.fail(None);
        assert!(
            commit(&storage, 3, "after").is_err(),
            "a hole in the order would be worse than a stop"
        );
        assert!(
            commit(&storage, 2, "again").is_err(),
            "nor is it tried again"
        );
    }
}

#[test]
fn takes_writes_again_when_nothing_is_lacking_any_more() {
    for (errno, lack) in [
        (Errno::NOSPC, Lack::Room),
        (Errno::DQUOT, Lack::Room),
        (Errno::ROFS, Lack::Writing),
    ] {
        let disk = Disk::default();
        let storage = disk.storage();
        commit(&storage, 1, "kept").unwrap();
        let before = storage.load().unwrap();
        disk.fail(Some(Fault::Write(errno)));
        for revision in [2, 3, 2] {
            let error = commit(&storage, revision, "lost").unwrap_err();
            assert_eq!(error.lack(), Some(lack), "{error:?}");
        }
        disk.fail(None);
        assert_eq!(storage.load().unwrap(), before, "nothing is there of them");
        let follows = |revision| commit(&storage, revision, "after");
        assert!(follows(3).is_err(), "what it follows is not there");
        while follows(2).is_err() {
            thread::yield_now();
        }
        follows(3).unwrap();
        drop(storage);
        let entries = disk.reopened().load().unwrap().entries;
        let values: Vec<_> = entries.iter().map(|(_, value)| &value[..]).collect();
        assert_eq!(values, [&b"kept"[..], b"after", b"after"]);
    }
}

#[test]
fn any_other_failure_is_final() {
    let disk = Disk::default();
    let storage = disk.storage();
    commit(&storage, 1, "kept").unwrap();
    disk.fail(Some(Fault::Write(Errno::IO)));
    assert_eq!(commit(&storage, 2, "lost").unwrap_err().lack(), None);
    disk.fail(None);
    assert_eq!(commit(&storage, 2, "again").unwrap_err().lack(), None);
}

#[tokio::test]
async fn a_slow_disk_makes_writes_slow_and_nothing_else() {
    let disk = Disk::default();
    let server = Server::builder().storage(disk.storage()).build().unwrap();
    server.engine().settled().await.unwrap();
    let (before, syncs) = (server.revision(), disk.syncs());
    disk.slow(&[Duration::from_secs(5)], Duration::from_millis(200));
    let (submitted, clients) = (Instant::now(), 400);
    let map =
        |n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}});
    (0..clients).for_each(|n| drop(server.apply(&map(n)).unwrap()));
    assert!(
        submitted.elapsed() < Duration::from_secs(4),
        "they are decided while the disk is at it"
    );
    assert_eq!(server.revision(), before, "and not shown");
    assert_eq!(server.events_since(before).unwrap().len(), 0);
    server.engine().settled().await.unwrap();
    assert!(submitted.elapsed() > Duration::from_secs(5));
    assert_eq!(server.events_since(before).unwrap().len(), clients);
    let syncs = disk.syncs() - syncs;
    assert!(syncs <= 12, "{clients} writes shared {syncs} syncs");
}

fn refusal(path: &Path) -> String {
    match Redb::open(path) {
        Ok(_) => "opened".to_owned(),
        Err(error) => api::chain(&error),
    }
}

fn batch(revision: u64, value: &str) -> Batch {
    let write = Write {
        revision,
        key: format!("g/things//n{revision}"),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    Batch {
        after: revision - 1,
        revision,
        writes: vec![write],
        forget: 0,
    }
}

fn commit(storage: &Redb, revision: u64, value: &str) -> Result<(), Error> {
    let (answer, answers) = channel();
    storage.commit(
        batch(revision, value),
        Box::new(move |done| answer.send(done).unwrap()),
    );
    answers.recv().expect("each batch is answered")
}

/// A disk in memory that counts its syncs, can be held up and can fail.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<DiskState>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: InMemoryBackend,
    syncs: AtomicUsize,
    fault: Mutex<Option<Fault>>,
    /// How long the next syncs take, and all others.
    slow: Mutex<(VecDeque<Duration>, Duration)>,
    held: Mutex<bool>,
    released: Condvar,
}

/// What fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Write(Errno),
    Sync(Errno),
}

impl Disk {
    fn storage(&self) -> Redb {
        let db = Builder::new().create_with_backend(self.clone()).unwrap();
        initialise(&db, &Loaded::default()).unwrap();
        drop(db);
        self.reopened()
    }

    fn reopened(&self) -> Redb {
        let disk = self.clone();
        Redb::over(move |faults| {
            understood(Path::new("disk"), |builder| {
                builder.create_with_backend(Watched::new(disk.clone(), faults.clone()))
            })
        })
        .unwrap()
    }

    fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    fn fail(&self, fault: Option<Fault>) {
        *self.0.fault.lock().unwrap() = fault;
    }

    fn slow(&self, next: &[Duration], others: Duration) {
        *self.0.slow.lock().unwrap() = (next.iter().copied().collect(), others);
    }

    fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.released.notify_all();
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.0.held.lock().unwrap();
        drop(self.0.released.wait_while(held, |held| *held).unwrap());
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        let takes = {
            let (next, others) = &mut *self.0.slow.lock().unwrap();
            next.pop_front().unwrap_or(*others)
        };
        thread::sleep(takes);
        if let Some(Fault::Sync(errno)) = *self.0.fault.lock().unwrap() {
            return Err(errno.into());
        }
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(Fault::Write(errno)) = *self.0.fault.lock().unwrap() {
            return Err(errno.into());
        }
        self.0.bytes.write(offset, data)
    }
}
