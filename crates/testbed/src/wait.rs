//! Waiting for a condition, never for a time; and conditions for people.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::world::World;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take unless the scenario says so.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is waited for.
pub struct Wish<'a> {
    /// The kind in small letters.
    pub kind: &'a str,
    /// The object.
    pub name: &'a str,
    /// `Available`, `Ready=Unknown`, or `gone`.
    pub what: &'a str,
    /// How long it may take.
    pub within: Duration,
}

/// Waits and says how long it took, in whole seconds.
pub async fn wait(world: &World, wish: &Wish<'_>) -> Result<String> {
    let start = Instant::now();
    let (what, value) = wish.what.split_once('=').unwrap_or((wish.what, "True"));
    loop {
        let object = world.find(wish.kind, wish.name).await;
        let waited = start.elapsed();
        match (&object, what) {
            (None, "gone") => return Ok(format!("gone after {}\n", rounded(waited))),
            (Some(object), _) if status(object, what) == Some(value) => {
                return Ok(format!("{what}={value} after {}\n", rounded(waited)));
            }
            _ if world.control_plane.has_failed() => bail!("the control plane has failed"),
            _ if waited >= wish.within => {
                let state = object
                    .as_ref()
                    .map_or_else(|| "there is none\n".into(), conditions);
                bail!("not after {}:\n{state}", rounded(waited));
            }
            _ => sleep(LOOK).await,
        }
    }
}

/// The conditions of an object, one a line, those that say the same left out of their messages.
pub fn conditions(object: &Value) -> String {
    let mut text = String::new();
    for condition in all(object) {
        let field = |name: &str| condition[name].as_str().unwrap_or_default();
        let line = format!(
            "{}={} {}: {}",
            field("type"),
            field("status"),
            field("reason"),
            field("message")
        );
        text += line.trim_end_matches([':', ' ']);
        text.push('\n');
    }
    text
}

fn all(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
}

/// What a condition says of the generation that there is now; absent reads as Unknown.
fn status<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    let current = |condition: &&Value| {
        condition["type"] == type_
            && condition["observedGeneration"] == object["metadata"]["generation"]
    };
    all(object).find(current)?["status"].as_str()
}

/// Whole seconds, up.
fn rounded(time: Duration) -> String {
    format!("{}s", time.as_millis().div_ceil(1000))
}

/// Reads `500ms`, `10s` or `2m`.
pub fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .with_context(|| format!("`{text}` is no time"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => bail!("`{unit}` is no unit of time; use ms, s or m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("2").is_err() && duration("s").is_err());
    }
}
