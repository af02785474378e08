//! `groma backup` and `groma restore`: everything that a server keeps, as a file, and a server that goes on from it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use apiserver::store::Loaded;
use apiserver::store::backup;
use apiserver::store::redb::Redb;
use clap::Args;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;

use crate::lock::Lock;
use crate::places;
use crate::serve::etcd;

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
    #[command(flatten)]
    etcd: etcd::Place,
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
    let mut unfinished = Unfinished::new(&options.file)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the backup broke off")?;
        unfinished
            .file
            .write_all(&frame.into_data().unwrap_or_default())?;
    }
    let head = unfinished.finish()?;
    println!(
        "{} has everything as of revision {}, and what was since revision {}",
        options.file.display(),
        head.revision,
        head.forgotten
    );
    Ok(())
}

/// Makes the store of a server from a backup.
pub async fn restore(options: &Restoring) -> anyhow::Result<()> {
    let what = || format!("cannot restore {}", options.file.display());
    let source = BufReader::new(File::open(&options.file).with_context(what)?);
    let (head, backup) = backup::read(source).map_err(told).with_context(what)?;
    let content = backup::restored(backup, options.revision, Timestamp::now())
        .map_err(told)
        .with_context(what)?;
    let n = content.entries.len();
    let place = match options.etcd.is_given() {
        true => options.etcd.fill(content).await?,
        false => make(&options.state, &content)?,
    };
    println!(
        "{place} has {n} objects as of revision {}, from the backup of {}",
        options.revision.unwrap_or(head.revision),
        head.taken
    );
    Ok(())
}

/// Makes a file of it in a state folder.
fn make(state: &Path, content: &Loaded) -> anyhow::Result<String> {
    let store = places::store(state);
    let _lock = Lock::take(&places::lock(state))?;
    if store.exists() {
        bail!(
            "{} has objects already: move it away, or give another folder with --state",
            store.display()
        );
    }
    Redb::create(&store, content).map_err(told)?;
    Ok(state.display().to_string())
}

/// A backup that is being written, beside where it goes.
pub struct Unfinished {
    pub file: File,
    path: PathBuf,
    to: PathBuf,
}

impl Unfinished {
    /// Begins one that is to go there.
    pub fn new(to: &Path) -> anyhow::Result<Self> {
        let path = with_suffix(to, ".new");
        Ok(Self {
            file: private(&path)?,
            path,
            to: to.to_owned(),
        })
    }

    /// Puts it in its place, once it was seen that it is whole: what broke off looks like a file, too.
    pub fn finish(self) -> anyhow::Result<backup::Head> {
        self.file.sync_all()?;
        let head = backup::verify(BufReader::new(File::open(&self.path)?)).map_err(told)?;
        fs::rename(&self.path, &self.to)
            .with_context(|| format!("cannot make {}", self.to.display()))?;
        Ok(head)
    }
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
