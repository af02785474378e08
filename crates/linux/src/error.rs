//! The error of this crate: what was attempted on which object, and the errno underneath.
//!
//! Callers match on [`Error::errno`]; they convert to their own error at their border.

use std::io;

use rustix::io::Errno;

/// A failed call to the kernel or to one of its tools.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What was attempted and on which object: lower case, no final dot.
    pub what: String,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `what` because of `source`.
    pub fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            what: what.into(),
            source: source.into(),
        }
    }

    /// A failure that only words describe.
    pub fn other(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, io::Error::other(why.into()))
    }

    /// The kernel's number of the error, if the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }

    /// Whether the object is already there.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// Whether the object, or what it refers to, is not there.
    pub fn is_missing(&self) -> bool {
        const MISSING: [Errno; 4] = [Errno::NOENT, Errno::NODEV, Errno::SRCH, Errno::ADDRNOTAVAIL];
        self.errno().is_some_and(|errno| MISSING.contains(&errno))
    }
}
