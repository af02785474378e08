//! `groma backup` and `groma restore`: everything that a server keeps, as a file, and a server that goes on from it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use apiserver::store::backup;
use apiserver::store::redb::Redb;
use clap::Args;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;

use crate::lock::Lock;
use crate::places;

/// Where a server answers with a backup.
const PATH: &str = "/backup";
/// Only the owner reads a backup, as the store.
const FILE_MODE: u32 = 0o600;

/// Options of `groma backup`.
#[derive(Debug, Args)]
pub struct Taking {
    /// Where it goes; a file that is there is replaced once the new one is whole
    file: PathBuf,
}

/// Options of `groma restore`.
#[derive(Debug, Args)]
pub struct Restoring {
    /// The backup
    file: PathBuf,
    /// State folder of the server that goes on from it; without objects
    #[arg(long, default_value = cli::SERVER_STATE, env = "GROMA_STATE")]
    state: PathBuf,
    /// Go back to how it was at this revision, which the backup must have kept
    #[arg(long)]
    revision: Option<u64>,
}

/// Takes a backup of a server that serves.
pub async fn take(options: &Taking, access: &cli::Access) -> anyhow::Result<()> {
    let server = access.server().await?;
    let request = http::Request::get(PATH).body(Body::empty())?;
    let response = server.client.send(request).await?;
    let code = response.status();
    let mut body = response.into_body();
    if !code.is_success() {
        let said = body.collect().await?.to_bytes();
        bail!("cannot take a backup: {}", explained(&said));
    }
    let unfinished = with_suffix(&options.file, ".new");
    let mut file = private(&unfinished)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the backup broke off")?;
        file.write_all(&frame.into_data().unwrap_or_default())?;
    }
    file.sync_all()?;
    // What broke off looks like a file, too.
    let head = backup::verify(BufReader::new(File::open(&unfinished)?)).map_err(told)?;
    fs::rename(&unfinished, &options.file)
        .with_context(|| format!("cannot make {}", options.file.display()))?;
    println!(
        "{} has everything as of revision {}, and what was since revision {}",
        options.file.display(),
        head.revision,
        head.forgotten
    );
    Ok(())
}

/// Makes the store of a server from a backup.
pub fn restore(options: &Restoring) -> anyhow::Result<()> {
    let state = &options.state;
    let store = places::store(state);
    let _lock = Lock::take(&places::lock(state))?;
    if store.exists() {
        bail!(
            "{} has objects already: move it away, or give another folder with --state",
            store.display()
        );
    }
    let what = || format!("cannot restore {}", options.file.display());
    let source = BufReader::new(File::open(&options.file).with_context(what)?);
    let (head, backup) = backup::read(source).map_err(told).with_context(what)?;
    let content = backup::restored(backup, options.revision, Timestamp::now())
        .map_err(told)
        .with_context(what)?;
    Redb::create(&store, &content).map_err(told)?;
    println!(
        "{} has {} objects as of revision {}, from the backup of {}",
        state.display(),
        content.entries.len(),
        options.revision.unwrap_or(head.revision),
        head.taken
    );
    Ok(())
}

/// Makes a file that nobody else reads.
fn private(path: &Path) -> anyhow::Result<File> {
    let what = || format!("cannot make {}", path.display());
    if path.exists() {
        fs::remove_file(path).with_context(what)?;
    }
    let mut new = OpenOptions::new();
    let file = new.write(true).create_new(true).mode(FILE_MODE).open(path);
    file.with_context(what)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The message of a Status, or the text itself.
fn explained(said: &[u8]) -> String {
    let status: serde_json::Value = serde_json::from_slice(said).unwrap_or_default();
    match status["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(said).into_owned(),
    }
}

fn told(error: apiserver::store::Error) -> anyhow::Error {
    anyhow::anyhow!(api::chain(&error))
}
