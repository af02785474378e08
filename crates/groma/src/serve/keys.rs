//! The keys that seal Secrets: where they come from, and how others take their place without a stop.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use apiserver::Server;
use apiserver::store::sealed::Sealer;
use tokio::process::Command;
use tokio::signal::unix::Signal;

/// Where keys come from.
#[derive(Debug)]
pub enum Keys {
    /// A file of ours, made when it is not there.
    Own(PathBuf),
    /// A file of the operator's.
    File(PathBuf),
    /// A command of the operator's that prints them.
    Command(String),
}

impl Keys {
    /// What seals by them.
    pub async fn sealer(&self) -> anyhow::Result<Sealer> {
        let sealer = match self {
            Self::Own(path) => Sealer::open(path),
            Self::File(_) | Self::Command(_) => Sealer::parse(&self.text().await?),
        };
        sealer.map_err(|error| self.refused(&error))
    }

    /// Seals everything by the first key whenever the process is told that keys have changed (SIGHUP). Keys that cannot be
    /// read change nothing.
    pub async fn follow(&self, told: &mut Signal, server: &Server, sealer: &Sealer) {
        while told.recv().await.is_some() {
            let replaced = match self.text().await {
                Ok(text) => sealer.replace(&text).map_err(|error| self.refused(&error)),
                Err(error) => Err(error),
            };
            match replaced {
                Ok(()) => reseal(server, sealer).await,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "keys stay as they were")
                }
            }
        }
    }

    async fn text(&self) -> anyhow::Result<String> {
        match self {
            Self::Own(path) | Self::File(path) => read(path),
            Self::Command(command) => printed(command).await,
        }
    }

    fn refused(&self, error: &apiserver::store::Error) -> anyhow::Error {
        let source = match self {
            Self::Own(path) | Self::File(path) => path.display().to_string(),
            Self::Command(_) => "what the command for them prints".to_owned(),
        };
        let why = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
        anyhow::anyhow!("cannot take the keys of Secrets from {source}: {why}")
    }
}

/// Stores every Secret anew, sealed by the key that seals now.
pub async fn reseal(server: &Server, sealer: &Sealer) {
    let key = sealer.key_name();
    match server.reseal().await {
        Ok(secrets) => tracing::info!(secrets, key, "secrets are sealed anew"),
        Err(failure) => tracing::error!(%failure, key, "cannot seal secrets anew"),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the keys of Secrets in {}", path.display()))
}

/// What a command prints; what it says besides goes where our own messages go.
async fn printed(command: &str) -> anyhow::Result<String> {
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", command])
        .stderr(std::process::Stdio::inherit())
        .output()
        .await
        .context("cannot run the command for the keys of Secrets")?;
    if !output.status.success() {
        bail!(
            "the command for the keys of Secrets failed: {}",
            output.status
        );
    }
    String::from_utf8(output.stdout)
        .map_err(|_| anyhow::anyhow!("the command for the keys of Secrets printed no text"))
}
