//! Hides what says nothing to a reader and changes with every small difference in time: times become seconds since the
//! start, digests and versions of objects become a word.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::{Captures, Regex};

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z(?<gap>  )?")
        .expect("the pattern is fixed")
});
static DIGEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(sha256:)?[0-9a-f]{16,64}\b").expect("the pattern is fixed"));

static SECONDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\+|\bafter )\d+s\b").expect("the pattern is fixed"));
/// Columns are as wide as the times in them.
static SPACES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r" {2,}").expect("the pattern is fixed"));

static VERSION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"resourceVersion: "\d+""#).expect("the pattern is fixed"));

/// The text with times as seconds since `start`, without digests and versions.
pub fn masked(text: &str, start: Timestamp) -> String {
    let seconds = |found: &Captures<'_>| match found[0].trim_end().parse::<Timestamp>() {
        Ok(time) => format!(
            "{:width$}",
            format!("+{}s", time.duration_since(start).as_secs()),
            width = width(found)
        ),
        Err(_) => found[0].to_owned(),
    };
    let text = TIME.replace_all(text, seconds);
    let text = VERSION.replace_all(&text, "resourceVersion: VERSION");
    DIGEST.replace_all(&text, "DIGEST").into_owned()
}

/// The text without how long things took, for comparison with one that was played at another pace.
pub fn timeless(text: &str) -> String {
    let text = SECONDS.replace_all(text, "TIME");
    SPACES.replace_all(&text, " ").into_owned()
}

/// A time in a table keeps its width, or the columns would not line up.
fn width(found: &Captures<'_>) -> usize {
    match found.name("gap") {
        Some(_) => found[0].len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_hidden_and_words_stay() {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let text = "decided 2026-01-01T00:01:03.5Z on sha256:0123456789abcdef, defaced";
        assert_eq!(masked(text, start), "decided +63s on DIGEST, defaced");
        let text = "resourceVersion: \"12\", resourceVersionMatch";
        assert_eq!(
            masked(text, start),
            "resourceVersion: VERSION, resourceVersionMatch"
        );
    }
}
