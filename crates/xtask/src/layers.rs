//! `crates/layers.toml`: the layers, the crates in each, and the arrows that are allowed between them.
//!
//! It is read by the tidy check and by the generator of the table in ARCHITECTURE.md.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layers {
    /// From the bottom up.
    pub(crate) layers: Vec<String>,
    pub(crate) crates: BTreeMap<String, Place>,
}

/// Where a crate stands and what it may use; a name is a crate or a layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) layer: String,
    pub(crate) uses: Vec<String>,
    pub(crate) dev: Vec<String>,
}

impl Layers {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("crates/layers.toml");
        let text = std::fs::read_to_string(&path).context("cannot read crates/layers.toml")?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("crates/layers.toml makes no sense")
    }

    /// The crates that a list of crate and layer names stands for.
    pub(crate) fn expand(&self, names: &[String]) -> BTreeSet<&str> {
        let named = |(name, place): &(&String, &Place)| {
            names.contains(name) || names.contains(&place.layer)
        };
        self.crates
            .iter()
            .filter(named)
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The position of a crate's layer, counted from the bottom.
    pub(crate) fn height(&self, name: &str) -> Option<usize> {
        let layer = &self.crates.get(name)?.layer;
        self.layers.iter().position(|candidate| candidate == layer)
    }
}
