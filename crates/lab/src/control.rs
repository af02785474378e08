//! How commands reach the daemon of a laboratory: one JSON line there, one back, on a socket in its folder.

use std::path::Path;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The longest line of either side.
pub const LINE_MAX: u64 = 1 << 20;
/// How long the daemon may take to carry a command out.
const ANSWER: Duration = Duration::from_secs(120);

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// How things are.
    Status {},
    /// Cuts the power of a site.
    Stop {
        /// The site.
        site: String,
    },
    /// Gives a site its power again.
    Start {
        /// The site.
        site: String,
    },
    /// Builds what the topology file in the folder says now.
    Reload {},
    /// Ends the daemon; the programs go on.
    Quit {},
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It was done.
    Done {},
    /// How things are.
    Status(Status),
    /// It was not done.
    Refused {
        /// Why, and what would be right.
        why: String,
    },
}

/// How a laboratory is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The server's address for clients of this machine.
    pub server: Option<String>,
    /// The sites.
    pub sites: Vec<SiteStatus>,
    /// Namespaces and what each is.
    pub nodes: Vec<NodeStatus>,
}

/// How a site is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// Whether it has power.
    pub running: bool,
    /// Its hosts, each with whether its agent runs.
    pub hosts: Vec<(String, bool)>,
}

/// A namespace and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name on this machine.
    pub namespace: String,
    /// The site that it is part of.
    pub site: String,
    /// What it is, for people.
    pub what: String,
}

/// Sends a command to the daemon of a laboratory.
pub async fn ask(socket: &Path, request: &Request) -> Result<Answer> {
    let fail = |error: std::io::Error| {
        Error::caused(
            ErrorKind::Unavailable,
            format!("cannot reach the laboratory at {}", socket.display()),
            error,
        )
    };
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_MAX))
            .read_line(&mut answer)
            .await?;
        Ok(serde_json::from_str(&answer)?)
    };
    timeout(ANSWER, exchange)
        .await
        .map_err(|_| fail(std::io::ErrorKind::TimedOut.into()))?
        .map_err(fail)
}

/// Reads one command of a client.
pub(crate) async fn read(stream: &mut UnixStream) -> std::io::Result<Request> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX))
        .read_line(&mut line)
        .await?;
    Ok(serde_json::from_str(&line)?)
}

/// Answers it.
pub(crate) async fn write(stream: &mut UnixStream, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
