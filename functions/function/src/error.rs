//! What ends a function: a variable that makes no sense, a refused first configuration, a port that is taken.
//!
//! A configuration refused later is a [`crate::Refusal`] and ends nothing.

use crate::Refusal;
use std::io;

/// Why a function could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of the environment has a value that cannot be used.
    #[error("variable {name} is {value:?}, expected {expected}")]
    Variable {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    /// The configuration file at start was refused.
    #[error("cannot start")]
    Configuration(#[source] Refusal),
    /// The namespace does not forward packets and may not be told to.
    #[error("cannot turn on forwarding: {path} holds 0 and cannot be written")]
    Forwarding {
        path: &'static str,
        source: io::Error,
    },
    /// A program that the function needs failed.
    #[error("{program} failed: {said}")]
    Program { program: &'static str, said: String },
    /// The answer of another side is not what it should be.
    #[error("no usable answer from {0}")]
    Answer(String),
    /// The operating system refused something.
    #[error("cannot {doing}")]
    System { doing: String, source: io::Error },
}

impl Error {
    /// Wraps an operating system error with what was being done.
    pub fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
