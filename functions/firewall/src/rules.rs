//! The rule file: one rule a line, the first that matches decides, the default decides about the rest.
//!
//! ```text
//! # comments and empty lines are skipped
//! default drop
//! allow tcp 8080 from left
//! allow udp 5000-5010 from right source 2001:db8:1::/48
//! drop any from left destination 2001:db8:bad::/64
//! allow icmp
//! ```
//!
//! A rule is `allow` or `drop`; a protocol: `tcp`, `udp`, `icmp` (ICMPv6 echo) or `any`; for `tcp` and `udp` a port or a
//! range if wanted; then, each at most once, `from left|right`, `source PREFIX`, `destination PREFIX` (IPv6).
//! All problems of a file are reported at once, by line. What a rule means to the kernel is in [`crate::ruleset`].

use std::fmt;
use std::net::Ipv6Addr;
use std::str::{FromStr, SplitWhitespace};

/// The most rules one file may have.
const RULES_MAX: usize = 1_024;

/// A whole rule file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) default: Action,
    pub(crate) list: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    #[default]
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Any,
    Icmp,
    Tcp(Option<Ports>),
    Udp(Option<Ports>),
}

/// Ports from the first to the last, both included; the first is never above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// An IPv6 prefix; the length is at most 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    address: Ipv6Addr,
    length: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    pub(crate) protocol: Protocol,
    pub(crate) from: Option<Side>,
    pub(crate) source: Option<Prefix>,
    pub(crate) destination: Option<Prefix>,
}

impl Rules {
    /// Reads a rule file.
    ///
    /// # Errors
    /// With every problem found, each naming its line.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut default = None;
        let mut list = Vec::new();
        for (index, line) in text.lines().enumerate() {
            match Line::parse(line) {
                Ok(Line::Empty) => {}
                Ok(Line::Default(_)) if default.is_some() => {
                    problems.push(format!("line {}: default is given twice", index + 1));
                }
                Ok(Line::Default(action)) => default = Some(action),
                Ok(Line::Rule(rule)) => list.push(rule),
                Err(problem) => problems.push(format!("line {}: {problem}", index + 1)),
            }
        }
        if list.len() > RULES_MAX {
            problems.push(format!(
                "{} rules, expected at most {RULES_MAX}",
                list.len()
            ));
        }
        let Some(default) = default else {
            problems
                .push("no default, expected a line `default drop` or `default allow`".to_owned());
            return Err(problems);
        };
        if problems.is_empty() {
            Ok(Self { default, list })
        } else {
            Err(problems)
        }
    }
}

enum Line {
    Empty,
    Default(Action),
    Rule(Rule),
}

impl Line {
    fn parse(line: &str) -> Result<Self, String> {
        let text = line.split('#').next().unwrap_or_default();
        let mut words = text.split_whitespace();
        let parsed = match words.next() {
            None => Self::Empty,
            Some("default") => Self::Default(next(&mut words, "default")?),
            Some(action) => Self::Rule(rule(action.parse()?, &mut words)?),
        };
        match words.next() {
            None => Ok(parsed),
            Some(word) => Err(format!("{word:?} is one word too many")),
        }
    }
}

fn rule(action: Action, words: &mut SplitWhitespace<'_>) -> Result<Rule, String> {
    let protocol = protocol(words)?;
    let mut rule = Rule {
        action,
        protocol,
        from: None,
        source: None,
        destination: None,
    };
    while let Some(word) = words.next() {
        match word {
            "from" => once(&mut rule.from, word, next(words, word)?)?,
            "source" => once(&mut rule.source, word, next(words, word)?)?,
            "destination" => once(&mut rule.destination, word, next(words, word)?)?,
            _ => {
                return Err(format!(
                    "{word:?} is not known, expected from, source or destination"
                ));
            }
        }
    }
    Ok(rule)
}

fn protocol(words: &mut SplitWhitespace<'_>) -> Result<Protocol, String> {
    match words.next() {
        Some("any") => Ok(Protocol::Any),
        Some("icmp") => Ok(Protocol::Icmp),
        Some("tcp") => ports(words).map(Protocol::Tcp),
        Some("udp") => ports(words).map(Protocol::Udp),
        Some(word) => Err(format!(
            "protocol is {word:?}, expected tcp, udp, icmp or any"
        )),
        None => Err("the protocol is missing, expected tcp, udp, icmp or any".to_owned()),
    }
}

/// Takes a word that begins with a digit as ports and leaves any other where it is.
fn ports(words: &mut SplitWhitespace<'_>) -> Result<Option<Ports>, String> {
    let ahead = words.clone().next().unwrap_or_default();
    if !ahead.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    next(words, "port").map(Some)
}

fn next<T: FromStr<Err = String>>(
    words: &mut SplitWhitespace<'_>,
    what: &str,
) -> Result<T, String> {
    words
        .next()
        .ok_or_else(|| format!("nothing follows {what}"))?
        .parse()
}

fn once<T>(place: &mut Option<T>, what: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{what} is given twice")),
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "allow" => Ok(Self::Allow),
            "drop" => Ok(Self::Drop),
            _ => Err(format!(
                "{word:?} is not known, expected allow, drop or default"
            )),
        }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "left" => Ok(Self::Left),
            "right" => Ok(Self::Right),
            _ => Err(format!("from is {word:?}, expected left or right")),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || format!("port is {word:?}, expected 1 to 65535 or a range as 8000-8010");
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let first: u16 = first.parse().map_err(|_| wrong())?;
        let last: u16 = last.parse().map_err(|_| wrong())?;
        if first == 0 || first > last {
            Err(wrong())
        } else {
            Ok(Self { first, last })
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || format!("prefix is {word:?}, expected IPv6 as 2001:db8::/32");
        let (address, length) = word.split_once('/').unwrap_or((word, "128"));
        let address = address.parse().map_err(|_| wrong())?;
        let length = length.parse().map_err(|_| wrong())?;
        if length > 128 {
            Err(wrong())
        } else {
            Ok(Self { address, length })
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
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

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ports) = match self {
            Self::Any => ("any", None),
            Self::Icmp => ("icmp", None),
            Self::Tcp(ports) => ("tcp", *ports),
            Self::Udp(ports) => ("udp", *ports),
        };
        f.write_str(name)?;
        ports.map_or(Ok(()), |ports| write!(f, " {ports}"))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.protocol)?;
        self.from.map_or(Ok(()), |side| write!(f, " from {side}"))?;
        self.source
            .map_or(Ok(()), |prefix| write!(f, " source {prefix}"))?;
        self.destination
            .map_or(Ok(()), |prefix| write!(f, " destination {prefix}"))
    }
}

#[cfg(test)]
mod tests;
