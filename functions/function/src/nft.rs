//! The `nft` program that is packed beside a function: whole rulesets in, counters out.
//!
//! `nft -f` is one transaction: the kernel takes the whole ruleset or keeps the old one.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// One named counter of a table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Its name in the table.
    pub name: String,
    /// Packets counted since the ruleset was put in force.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

/// Applies a ruleset in one transaction.
///
/// # Errors
/// With what `nft` said when it refused; nothing is changed then.
pub async fn apply(ruleset: &str) -> Result<(), Error> {
    nft(&["-f", "-"], ruleset).await.map(drop)
}

/// The named counters of the table `inet NAME`, by name.
///
/// # Errors
/// When the table is missing or `nft` cannot be run.
pub async fn counters(table: &str) -> Result<Vec<Counter>, Error> {
    let text = nft(&["-j", "list", "counters", "table", "inet", table], "").await?;
    parse(&text)
}

async fn nft(arguments: &[&str], input: &str) -> Result<String, Error> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::system("run nft"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let writing = stdin.write_all(input.as_bytes()).await;
        writing.map_err(Error::system("write to nft"))?;
    }
    let ended = child.wait_with_output().await;
    let output = ended.map_err(Error::system("wait for nft"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program {
            program: "nft",
            said,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    counter: Option<Counter>,
}

fn parse(text: &str) -> Result<Vec<Counter>, Error> {
    let listing: Listing =
        serde_json::from_str(text).map_err(|e| Error::Answer(format!("nft: {e}")))?;
    let mut counters: Vec<_> = listing
        .nftables
        .into_iter()
        .filter_map(|item| item.counter)
        .collect();
    counters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_listing_in_order() {
        let text = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"counter": {"family": "inet", "name": "b", "table": "t", "handle": 2, "packets": 3, "bytes": 240}},
            {"counter": {"family": "inet", "name": "a", "table": "t", "handle": 1, "packets": 0, "bytes": 0}}]}"#;
        let read = parse(text).unwrap();
        let names: Vec<_> = read.iter().map(|counter| counter.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((read[1].packets, read[1].bytes), (3, 240));
    }

    #[test]
    fn listing_that_is_not_json_is_an_error() {
        assert!(parse("table inet t").is_err());
    }
}
