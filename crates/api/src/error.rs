//! The one error type that crosses crates: what was attempted, what class of failure it was, and the cause underneath.
//!
//! The class decides the HTTP code at the edges, the condition a reconciler shows and when it tries again.
//! A crate that matches on finer differences keeps its own error inside and converts at its border.

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::sync::Arc;

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The spec cannot work; tried again when an input changes.
    Invalid,
    /// The caller may not.
    Forbidden,
    /// It, or something it needs, is missing.
    NotFound,
    /// Someone wrote first; tried again at once from a fresh read.
    Conflict,
    /// No capacity is left.
    Exhausted,
    /// The other side does not answer.
    Unavailable,
    /// A bug of ours.
    Internal,
}

/// A failure that crosses a crate's border.
#[derive(Clone, Debug)]
pub struct Error {
    /// The class, for code.
    pub kind: ErrorKind,
    /// What was attempted and on which object, for people: lower case, no final dot.
    pub what: String,
    /// The cause; it goes to logs and to [`chain`], never to a client.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// A result with the workspace's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure without a cause underneath.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            source: None,
        }
    }

    /// A failure with its cause.
    pub fn caused(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            source: Some(Arc::new(source)),
        }
    }
}

impl ErrorKind {
    /// The class of an HTTP answer; a code that says nothing of the cause is `Unavailable`.
    pub fn of_http(code: i32) -> Self {
        match code {
            400 | 422 => Self::Invalid,
            401 | 403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            507 => Self::Exhausted,
            _ => Self::Unavailable,
        }
    }

    /// The HTTP code with which an edge answers this class.
    pub fn http(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Exhausted => 507,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// The whole chain of an error in one line, for logs and messages: `cannot a: cannot b: refused`.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = Error::new(ErrorKind::Unavailable, "connection refused");
        let outer = Error::caused(ErrorKind::Unavailable, "cannot read host mad-1", inner);
        assert_eq!(outer.to_string(), "cannot read host mad-1");
        assert_eq!(chain(&outer), "cannot read host mad-1: connection refused");
    }
}
