//! The forms in which objects are shown.

use clap::ValueEnum;
use serde::Serialize;

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
pub fn print(value: &impl Serialize, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(value)?),
        _ => print!("{}", serde_saphyr::to_string(value)?),
    }
    Ok(())
}
