//! A store of a million objects: how long a server takes to start on it, what it needs then, and how long its backup
//! takes.
//!
//! The store is filled through the storage port, a thousand objects in each batch: what is measured is what comes after.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use apiserver::store::redb::Redb;
use apiserver::store::{self, Batch, Storage, Write};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::bench::objects;
use crate::bench::side::Side;
use crate::figures::Figure;
use crate::groma;
use crate::usage::Used;

/// Objects of one batch.
const BATCH: usize = 1_000;
/// Batches that wait at once.
const BATCHES: usize = 16;

/// Measures with so many objects.
///
/// # Errors
/// When the server does not start on them.
pub async fn run(n: usize, rounds: usize) -> Result<Vec<Figure>> {
    let mut server = Side::ours().await?.into_groma()?;
    server.end();
    let begun = Instant::now();
    fill(&server.folder().join("store.redb"), n)?;
    let took = begun.elapsed().as_secs_f64();
    eprintln!("{n} objects stored in {took:.1} s");
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    let (mut backups, mut restores) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        server.restart();
        starts.push(begun.elapsed().as_secs_f64());
        memory.push(Used::of_all(&[server.pid()]).memory);
        let elsewhere = tempfile::tempdir()?;
        let file = elsewhere.path().join("backup");
        let state = elsewhere.path().join("state");
        let kubeconfig = server.kubeconfig();
        let took = |words: &[&OsStr]| {
            let begun = Instant::now();
            let done = Command::new(groma::program().map_err(|skip| anyhow::anyhow!(skip.0))?)
                .args(words)
                .status()?;
            ensure!(done.success(), "groma {words:?}: {done}");
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let word = OsStr::new;
        backups.push(took(&[
            word("--kubeconfig"),
            kubeconfig.as_os_str(),
            word("backup"),
            file.as_os_str(),
        ])?);
        restores.push(took(&[
            word("restore"),
            file.as_os_str(),
            word("--state"),
            state.as_os_str(),
        ])?);
    }
    let of = |what: &str| format!("{what}, {n} objects of 1 kB");
    Ok(vec![
        Figure::alone(&of("restart to serving"), "s", starts),
        Figure::alone(&of("memory after a restart"), "MB", memory),
        Figure::alone(&of("backup"), "s", backups),
        Figure::alone(&of("restore"), "s", restores),
    ])
}

/// Stores objects after what is there.
fn fill(path: &Path, n: usize) -> Result<()> {
    let storage = Redb::open(path).map_err(told)?;
    let mut after = storage.load().map_err(told)?.revision;
    let (answer, answers) = channel();
    let numbers: Vec<usize> = (0..n).collect();
    let mut unanswered = 0;
    for numbers in numbers.chunks(BATCH) {
        let writes: Vec<Write> = (after + 1..)
            .zip(numbers)
            .map(|(revision, at)| stored(*at, revision))
            .collect::<Result<_>>()?;
        let revision = after + writes.len() as u64;
        let batch = Batch {
            after,
            revision,
            writes,
            forget: revision,
        };
        let answer = answer.clone();
        storage.commit(batch, Box::new(move |done| drop(answer.send(done))));
        (after, unanswered) = (revision, unanswered + 1);
        if unanswered > BATCHES {
            answers.recv()?.map_err(told)?;
            unanswered -= 1;
        }
    }
    drop((answer, storage));
    answers.iter().try_for_each(|done| done.map_err(told))
}

/// An object as a server stores it.
fn stored(at: usize, revision: u64) -> Result<Write> {
    let mut object: Value = serde_json::from_str(&objects::small(at))?;
    // As its schema fills it.
    object["spec"]["replicas"] = 1.into();
    let metadata = object["metadata"].as_object_mut().context("it has one")?;
    let more = json!({
        "namespace": "default", "uid": format!("00000000-0000-4000-8000-{at:012}"), "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": revision.to_string(),
    });
    metadata.extend(more.as_object().cloned().unwrap_or_default());
    Ok(Write {
        revision,
        key: format!("{}/things/default/{}", objects::GROUP, objects::name(at)),
        value: Some(Bytes::from(object.to_string())),
    })
}

fn told(error: store::Error) -> anyhow::Error {
    anyhow::anyhow!(api::chain(&error))
}
