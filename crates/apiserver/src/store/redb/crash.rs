//! Power cuts: what the store writes is recorded, and opened again as a disk may hold it after every single write.
//!
//! Of what was written since the last sync any part may be there: nothing, all, some of the writes in any order, and of
//! a write some of its sectors. Then everything that was acknowledged must be there, each batch whole or not at all, and
//! so must the past that leads there; and the store must go on. `cargo test` cuts a sample, `GROMA_CRASHES=n` n times.
//! That a file's name is there after a crash is another matter ([`create`](super::create)).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use redb::{Builder, Database, StorageBackend};

use super::transaction::commit;
use super::{CACHE_BYTES, initialise, loaded, understood};
use crate::chance::Chance;
use crate::store::{Batch, Error, Loaded, Write};

/// Power cuts of a standard run.
const CRASHES: usize = 2_000;
/// Groups of batches that one recorded life commits.
const GROUPS: u64 = 40;
/// How many changes a life keeps.
const KEPT: u64 = 12;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Longest value.
const VALUE_BYTES: usize = 3_000;
/// The key of what is written after a power cut, to see that the store goes on.
const GOES_ON: &str = "goes/on//";
/// How many ways to lose what is not synced are tried at each point.
const WAYS: u64 = 12;
/// Every which power cut is followed by another one while the store is opened again.
const TWICE: u64 = 8;

/// What the store asks of its file.
#[derive(Clone, Debug)]
enum Operation {
    Write(usize, Arc<[u8]>),
    Resize(usize),
    Sync,
}

/// A file in memory that remembers what was asked of it.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug, Default)]
struct Recording {
    file: Vec<u8>,
    operations: Vec<Operation>,
}

impl Recorder {
    fn over(file: Vec<u8>) -> Self {
        let operations = Vec::new();
        Self(Arc::new(Mutex::new(Recording { file, operations })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Recording) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self) -> Result<Database, Error> {
        let disk = self.clone();
        understood(Path::new("recorded"), |builder| {
            builder
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(disk)
        })
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|recording| recording.file.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|recording| {
            let part = recording.file.get(at..at + out.len());
            out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|recording| recording.record(Operation::Resize(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|recording| recording.record(Operation::Sync));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|recording| recording.record(Operation::Write(at, data.into())));
        Ok(())
    }
}

impl Recording {
    fn record(&mut self, operation: Operation) {
        apply(&mut self.file, &operation);
        self.operations.push(operation);
    }
}

fn apply(file: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write(at, data) => put(file, *at, data),
        Operation::Resize(len) => file.resize(*len, 0),
        Operation::Sync => {}
    }
}

fn put(file: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(data);
}

type Entries = BTreeMap<String, Bytes>;

/// A life of a store: what it asked of its file, and what there was at each revision.
struct Life {
    start: Vec<u8>,
    operations: Vec<Operation>,
    /// What is there at each revision that ends a batch.
    states: BTreeMap<u64, Entries>,
    /// After how many operations which revision was acknowledged.
    acknowledged: Vec<(usize, u64)>,
}

impl Life {
    /// Lives one: groups of batches that set, replace and remove, and forget.
    fn lived(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let disk = Recorder::default();
        let db = Builder::new()
            .create_with_backend(disk.clone())
            .expect("memory takes it");
        initialise(&db, &Loaded::default()).expect("memory takes it");
        drop(db);
        let start = disk.with(|recording| {
            recording.operations.clear();
            recording.file.clone()
        });
        let db = disk.open().expect("it was just made");
        let mut life = Self {
            start,
            operations: Vec::new(),
            states: BTreeMap::from([(0, Entries::new())]),
            acknowledged: Vec::new(),
        };
        for _ in 0..GROUPS {
            let batches: Vec<Batch> = (0..=chance.below(3))
                .map(|_| life.decide(&mut chance))
                .collect();
            commit(&db, &batches).expect("memory takes it");
            let done = disk.with(|recording| recording.operations.len());
            life.acknowledged.push((done, life.revision()));
        }
        drop(db);
        life.operations = disk.with(|recording| recording.operations.clone());
        life
    }

    fn revision(&self) -> u64 {
        self.states
            .last_key_value()
            .map_or(0, |(revision, _)| *revision)
    }

    /// The next batch.
    fn decide(&mut self, chance: &mut Chance) -> Batch {
        let after = self.revision();
        let mut state = self.states[&after].clone();
        let n_writes = 1 + chance.below(3);
        let write = |n| {
            let key = format!("group/things/ns/name-{}", chance.below(30));
            let value = (chance.below(4) > 0).then(|| {
                let letter = b'a' + u8::try_from(n).expect("there are few");
                Bytes::from(vec![letter; 1 + chance.index(VALUE_BYTES)])
            });
            match &value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(&key),
            };
            Write {
                revision: after + 1 + n,
                key,
                value,
            }
        };
        let writes: Vec<Write> = (0..n_writes).map(write).collect();
        let revision = after + writes.len() as u64;
        self.states.insert(revision, state);
        Batch {
            after,
            revision,
            writes,
            forget: after.saturating_sub(KEPT),
        }
    }

    /// The revision that was acknowledged by then.
    fn promised(&self, operations: usize) -> u64 {
        let before = self
            .acknowledged
            .partition_point(|(done, _)| *done <= operations);
        before
            .checked_sub(1)
            .map_or(0, |last| self.acknowledged[last].1)
    }

    /// What is wrong with what is found after a power cut.
    fn check(&self, found: Loaded, promised: u64) -> Result<(), String> {
        if found.revision < promised {
            return Err(format!(
                "revision {promised} was acknowledged, and {} is there",
                found.revision
            ));
        }
        let expected = self
            .states
            .get(&found.revision)
            .ok_or_else(|| format!("revision {} is in the midst of a batch", found.revision))?;
        let mut state: Entries = found.entries.into_iter().collect();
        if state != *expected {
            return Err(format!("at revision {} is something else", found.revision));
        }
        let kept = found.changes.iter().map(|undo| undo.revision);
        if !kept.eq(found.forgotten + 1..=found.revision) {
            return Err(format!("the past of revision {} has holes", found.revision));
        }
        if found.forgotten > found.revision.saturating_sub(KEPT) {
            return Err(format!(
                "too much is forgotten at revision {}",
                found.revision
            ));
        }
        for undo in found.changes.into_iter().rev() {
            match undo.before {
                Some(before) => state.insert(undo.key, before),
                None => state.remove(&undo.key),
            };
            if let Some(expected) = self.states.get(&(undo.revision - 1))
                && state != *expected
            {
                return Err(format!("undoing {} leads elsewhere", undo.revision));
            }
        }
        Ok(())
    }
}

/// What the disk holds after a power cut, by a way of losing what is not synced.
fn cut(durable: &[u8], unsynced: &[Operation], way: u64) -> Vec<u8> {
    let mut file = durable.to_vec();
    let mut chance = Chance(way ^ ((unsynced.len() as u64) << 8) ^ ((file.len() as u64) << 24));
    lose(&mut file, unsynced, way, &mut chance);
    file
}

fn is_sync(operation: &Operation) -> bool {
    matches!(operation, Operation::Sync)
}

/// Applies some of what is not synced: nothing, all, or by chance some of it, in any order, some of it torn.
fn lose(file: &mut Vec<u8>, unsynced: &[Operation], way: u64, chance: &mut Chance) {
    let mut unsynced: Vec<&Operation> = match way {
        0 => return,
        1 => unsynced.iter().collect(),
        _ => unsynced.iter().filter(|_| chance.below(2) == 0).collect(),
    };
    if way.is_multiple_of(3) {
        chance.shuffle(&mut unsynced);
    }
    for operation in unsynced {
        match operation {
            Operation::Write(at, data) if way > 1 && way.is_multiple_of(2) => {
                let sectors = data.chunks(SECTOR).enumerate();
                for (n, sector) in sectors.filter(|_| chance.below(3) > 0) {
                    put(file, at + n * SECTOR, sector);
                }
            }
            operation => apply(file, operation),
        }
    }
}

/// Opens what a power cut has left, and looks at it.
fn reopened(life: &Life, disk: &Recorder, promised: u64) -> Result<(), String> {
    let db = disk
        .open()
        .map_err(|error| format!("it does not open: {}", api::chain(&error)))?;
    let found = loaded(&db).map_err(|error| api::chain(&error))?;
    let after = found.revision;
    life.check(found, promised)?;
    let write = Write {
        revision: after + 1,
        key: GOES_ON.to_owned(),
        value: Some(Bytes::from("x")),
    };
    let batch = Batch {
        after,
        revision: after + 1,
        writes: vec![write],
        forget: 0,
    };
    commit(&db, &[batch]).map_err(|error| format!("it does not go on: {}", api::chain(&error)))
}

/// Cuts the power during a life in each way; counts how often. `honest` says whether the disk keeps what it synced.
fn crash(life: &Life, honest: bool, most: usize) -> Result<usize, String> {
    let (mut durable, mut synced) = (life.start.clone(), 0);
    let mut crashes = 0;
    for operations in 0..=life.operations.len() {
        let unsynced = &life.operations[synced..operations];
        if honest && unsynced.last().is_some_and(is_sync) {
            unsynced.iter().for_each(|it| apply(&mut durable, it));
            synced = operations;
        }
        let unsynced = &life.operations[synced..operations];
        let promised = life.promised(operations);
        // Where all is synced, nothing can be lost.
        let ways = if unsynced.is_empty() { 1 } else { WAYS };
        for way in 0..ways {
            let case = |why| format!("after {operations} operations, way {way}: {why}");
            let left = cut(&durable, unsynced, way);
            let disk = Recorder::over(left.clone());
            reopened(life, &disk, promised).map_err(case)?;
            crashes += 1;
            if (operations as u64 + way).is_multiple_of(TWICE) {
                crash_again(life, left, &disk, promised).map_err(case)?;
                crashes += 1;
            }
            if crashes >= most {
                return Ok(crashes);
            }
        }
    }
    Ok(crashes)
}

/// Cuts the power a second time, at one point of the opening after the first.
fn crash_again(
    life: &Life,
    mut durable: Vec<u8>,
    disk: &Recorder,
    promised: u64,
) -> Result<(), String> {
    let operations = disk.with(|recording| recording.operations.clone());
    let mut chance = Chance(promised ^ operations.len() as u64);
    let done = &operations[..chance.index(operations.len() + 1)];
    let synced = done.iter().rposition(is_sync).map_or(0, |sync| sync + 1);
    done[..synced].iter().for_each(|it| apply(&mut durable, it));
    let left = cut(&durable, &done[synced..], chance.below(WAYS));
    let found = Recorder::over(left)
        .open()
        .and_then(|db| loaded(&db).map_err(Error::new));
    let found = found.map_err(|error| format!("it does not open again: {}", api::chain(&error)))?;
    // What was written to see that it goes on may be there.
    if found.entries.iter().any(|(key, _)| key == GOES_ON) {
        return Ok(());
    }
    life.check(found, promised)
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let wanted = std::env::var("GROMA_CRASHES").ok();
    let wanted = wanted.map_or(CRASHES, |n| n.parse().expect("GROMA_CRASHES is a number"));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = |first: usize| {
        let mut crashes = 0;
        let mut seed = first;
        while crashes < wanted.div_ceil(threads) {
            let life = Life::lived(seed as u64);
            let left = wanted.div_ceil(threads) - crashes;
            crashes += crash(&life, true, left).unwrap_or_else(|why| panic!("life {seed}, {why}"));
            seed += threads;
        }
        crashes
    };
    let crashes: usize = thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        running
            .into_iter()
            .map(|running| running.join().expect("no crash loses anything"))
            .sum()
    });
    println!("{crashes} power cuts, 0 acknowledged writes lost");
    assert!(crashes >= wanted);
}

#[test]
fn a_disk_that_does_not_keep_what_it_synced_is_noticed() {
    let noticed = crash(&Life::lived(1), false, usize::MAX);
    let why = noticed.expect_err("what was acknowledged is not there");
    assert!(
        why.contains("was acknowledged") || why.contains("does not open"),
        "{why}"
    );
}
