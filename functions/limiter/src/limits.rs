//! The limits file: one limit a line; each source must keep all that apply to it.
//!
//! ```text
//! # comments and empty lines are skipped
//! limit connections 50 per second burst 20 from left
//! limit packets 10000 per second burst 2000 from left
//! limit kbytes 2000 per second burst 500 from right
//! ```
//!
//! A limit counts `connections` (new ones), `packets` or `kbytes`; `burst` is the size of the bucket, `from` the side that
//! is limited. All problems of a file are reported at once, by line.

use std::fmt;
use std::str::SplitWhitespace;

/// The most limits one file may have.
const LIMITS_MAX: usize = 64;

/// The largest rate and burst: what the kernel can hold of either, in bytes, is far above.
const AMOUNT_MAX: u32 = 100_000_000;

/// A whole limits file; never empty once read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits(pub(crate) Vec<Limit>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) what: What,
    pub(crate) rate: u32,
    pub(crate) per: Per,
    pub(crate) burst: u32,
    pub(crate) from: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Connections,
    Packets,
    Kbytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    Second,
    Minute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Limits {
    /// Reads a limits file.
    ///
    /// # Errors
    /// With every problem found, each naming its line.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut limits = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            match limit(&mut line.split_whitespace()) {
                Ok(limit) => limits.push(limit),
                Err(problem) => problems.push(format!("line {}: {problem}", index + 1)),
            }
        }
        if problems.is_empty() && !(1..=LIMITS_MAX).contains(&limits.len()) {
            problems.push(format!(
                "{} limits, expected 1 to {LIMITS_MAX}",
                limits.len()
            ));
        }
        if problems.is_empty() {
            Ok(Self(limits))
        } else {
            Err(problems)
        }
    }
}

fn limit(words: &mut SplitWhitespace<'_>) -> Result<Limit, String> {
    choice(words, "the line", &[("limit", ())])?;
    let kinds = [
        ("connections", What::Connections),
        ("packets", What::Packets),
        ("kbytes", What::Kbytes),
    ];
    let what = choice(words, "what is limited", &kinds)?;
    let rate = amount(words, "the rate")?;
    choice(words, "what follows the rate", &[("per", ())])?;
    let per = choice(
        words,
        "the time",
        &[("second", Per::Second), ("minute", Per::Minute)],
    )?;
    choice(words, "what follows the time", &[("burst", ())])?;
    let burst = amount(words, "the burst")?;
    choice(words, "what follows the burst", &[("from", ())])?;
    let from = choice(
        words,
        "from",
        &[("left", Side::Left), ("right", Side::Right)],
    )?;
    match words.next() {
        None => Ok(Limit {
            what,
            rate,
            per,
            burst,
            from,
        }),
        Some(word) => Err(format!("{word:?} is one word too many")),
    }
}

/// The value that belongs to the next word.
fn choice<T: Copy>(
    words: &mut SplitWhitespace<'_>,
    what: &str,
    choices: &[(&str, T)],
) -> Result<T, String> {
    let word = words.next().unwrap_or_default();
    let found = choices.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("{what} is {word:?}, expected {}", names.join(" or "))
    })
}

fn amount(words: &mut SplitWhitespace<'_>, what: &str) -> Result<u32, String> {
    let word = words.next().unwrap_or_default();
    match word.parse() {
        Ok(amount @ 1..=AMOUNT_MAX) => Ok(amount),
        _ => Err(format!("{what} is {word:?}, expected 1 to {AMOUNT_MAX}")),
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Packets => "packets",
            Self::Kbytes => "kbytes",
        })
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            rate,
            per,
            burst,
            from,
        } = self;
        write!(f, "limit {what} {rate} per {per} burst {burst} from {from}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let text = "limit connections 50 per second burst 20 from left\nlimit kbytes 2000 per minute burst 500 from right";
        let limits = Limits::parse(&format!("# edge\n\n{text} # last")).unwrap();
        let lines: Vec<_> = limits.0.iter().map(ToString::to_string).collect();
        assert_eq!(lines.join("\n"), text);
    }

    #[test]
    fn refusals_name_the_line_the_value_and_what_would_be_right() {
        for (line, said) in [
            ("allow all", "the line is \"allow\", expected limit"),
            (
                "limit bits 1",
                "what is limited is \"bits\", expected connections or packets or kbytes",
            ),
            ("limit packets 0", "the rate is \"0\", expected 1 to"),
            ("limit packets 100000001", "the rate is \"100000001\""),
            ("limit packets ten", "the rate is \"ten\""),
            ("limit packets 5 second", "expected per"),
            (
                "limit packets 5 per day",
                "the time is \"day\", expected second or minute",
            ),
            ("limit packets 5 per second from left", "expected burst"),
            ("limit packets 5 per second burst 5", "expected from"),
            (
                "limit packets 5 per second burst 5 from top",
                "from is \"top\", expected left or right",
            ),
            (
                "limit packets 5 per second burst 5 from left now",
                "\"now\" is one word too many",
            ),
        ] {
            let problems = Limits::parse(line).unwrap_err();
            assert_eq!(problems.len(), 1, "{line}: {problems:?}");
            assert!(problems[0].starts_with("line 1: "), "{line}: {problems:?}");
            assert!(problems[0].contains(said), "{line}: {problems:?}");
        }
    }

    #[test]
    fn number_of_limits_is_from_one_to_its_maximum() {
        let file = |n| "limit packets 5 per second burst 5 from left\n".repeat(n);
        assert_eq!(
            Limits::parse(&file(LIMITS_MAX)).unwrap().0.len(),
            LIMITS_MAX
        );
        assert!(Limits::parse(&file(LIMITS_MAX + 1)).unwrap_err()[0].contains("65 limits"));
        assert!(Limits::parse("# nothing").unwrap_err()[0].contains("0 limits"));
    }
}
