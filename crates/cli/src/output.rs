//! The forms in which objects are shown, and where to.

use std::io;

use api::terminal::plain_json;
use clap::ValueEnum;
use serde::Serialize;

/// Where a command writes what it has to tell.
pub type Out<'a> = &'a mut (dyn io::Write + Send);

/// How to show what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people
    Table,
    /// A table with more columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// Only kinds and names
    Name,
}

/// Prints as YAML or JSON.
pub fn print(out: Out<'_>, value: &impl Serialize, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let json = serde_json::to_string_pretty(value)?;
            writeln!(out, "{}", plain_json(&json))?;
        }
        _ => write!(out, "{}", serde_saphyr::to_string(value)?)?,
    }
    Ok(())
}
