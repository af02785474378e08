//! The table of layers and crates in ARCHITECTURE.md, between its two marks.

use crate::cargo::{self, Package};
use crate::layers::Layers;
use anyhow::{Context, Result, bail};
use std::path::Path;

const BEGIN: &str = "<!-- layers: written by `cargo xtask gen` -->\n";
const END: &str = "<!-- layers: end -->";

/// ARCHITECTURE.md with the table as it should be.
pub(crate) fn page(root: &Path) -> Result<String> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md"))
        .context("cannot read ARCHITECTURE.md")?;
    let table = table(&Layers::read(root)?, &cargo::metadata()?.packages);
    replace(&text, &table)
}

fn replace(text: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(BEGIN) else {
        bail!("ARCHITECTURE.md has no line {}", BEGIN.trim());
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("ARCHITECTURE.md has no line {END}");
    };
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn table(layers: &Layers, packages: &[Package]) -> String {
    let mut lines = vec![
        "| layer | crate | what it is | uses |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
    ];
    for layer in &layers.layers {
        let inside = layers
            .crates
            .iter()
            .filter(|(_, place)| place.layer == *layer);
        for (name, place) in inside {
            let package = packages.iter().find(|package| package.name == *name);
            let what = package
                .and_then(|package| package.description.as_deref())
                .unwrap_or_default();
            lines.push(format!(
                "| {layer} | `{name}` | {what} | {} |",
                place.uses.join(", ")
            ));
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_goes_between_the_marks_and_nothing_else_changes() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        assert_eq!(
            replace(&text, "new\n").unwrap(),
            format!("before\n{BEGIN}new\n{END}\nafter\n")
        );
        assert!(replace("no marks", "new\n").is_err());
    }
}
