//! What the network functions here share: a configuration file in force, a status page, signals and a clean end.
//!
//! A function implements [`Function`] and hands itself to [`main`], which gives it `/healthz`, `/config`, reload by
//! `POST /config` or SIGHUP, and an end within a second of SIGTERM.
//! Nothing here knows of Groma: these programs stand for the software of others.

pub mod client;
mod command;
mod configuration;
mod error;
pub mod forwarding;
pub mod nft;
mod server;

pub use command::main;
pub use configuration::Refusal;
pub use error::Error;

use axum::Router;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;

/// One network function: how its configuration is put in force, and what it serves besides the common pages.
pub trait Function: Send + Sync + 'static {
    /// The program's name, as it is called on the command line.
    const NAME: &'static str;
    /// The TCP port of its pages where the variable `PORT` names no other.
    const PORT: u16;
    /// Its configuration file where the variable `CONFIG_FILE` names no other.
    const CONFIG_FILE: &'static str;
    /// What an absent configuration file stands for; `None` when the function must not run without one.
    const ABSENT: Option<&'static str>;

    /// Puts the text of a configuration file in force, wholly or not at all.
    fn apply(&self, text: &str) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// The pages of this function alone.
    fn routes(self: Arc<Self>) -> Router;
}

/// A variable of the environment, or what stands for it when it is not set.
pub fn variable(name: &str, absent: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| absent.to_owned())
}

/// Writes one line to standard output, which is the function's log.
///
/// A reader that went away must not stop a function that carries traffic, so the result is let go.
pub fn log(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
