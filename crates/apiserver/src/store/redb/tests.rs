//! What this storage promises beyond the contract: shared syncs, refusals, and silence after a failed disk.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;
use crate::store::{Write, contract};

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
    let disk = Disk::default();
    let storage = disk.storage();
    commit(&storage, 1, "kept").unwrap();
    disk.fail(true);
    assert!(commit(&storage, 2, "lost").is_err());
    disk.fail(false);
    assert!(
        commit(&storage, 3, "after").is_err(),
        "a hole in the order would be worse than a stop"
    );
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
    failing: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl Disk {
    fn storage(&self) -> Redb {
        let db = Builder::new().create_with_backend(self.clone()).unwrap();
        initialise(&db, &Loaded::default()).unwrap();
        Redb::over(db)
    }

    fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    fn fail(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::SeqCst);
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
        if self.0.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.bytes.write(offset, data)
    }
}
