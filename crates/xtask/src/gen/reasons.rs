//! `docs/reasons.md`: every reason that a condition or a decision can show, with what the operator does about it.
//!
//! Reasons are the variants of enums whose name ends with `Reason`; their doc comments are the text. They are read from
//! the sources, so that no crate has to register anything.

use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

const HEADER: &str = "\
# Reasons

Written by `cargo xtask gen` from the doc comments; do not edit.
A reason stands in a condition (`kubectl get -o yaml`, `groma describe`) or in the explanation of a placement (`groma why`).
";

/// How far the variants of an enum stand in; what stands further in are their fields.
const VARIANT: &str = "    ";

/// One enum of reasons.
struct Reasons {
    name: String,
    /// Variant and text.
    list: Vec<(String, String)>,
}

pub(crate) fn page(root: &Path) -> Result<String> {
    let mut page = HEADER.to_owned();
    let crates = sorted(&root.join("crates"))?;
    for folder in crates {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let sources = folder.join("src");
        if sources.is_dir() {
            walk(&name, &sources, &mut page)?;
        }
    }
    Ok(page)
}

fn walk(of: &str, folder: &Path, page: &mut String) -> Result<()> {
    for path in sorted(folder)? {
        if path.is_dir() {
            walk(of, &path, page)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            read(&text)
                .iter()
                .for_each(|reasons| print(of, reasons, page));
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let reading =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = reading
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort_unstable();
    Ok(paths)
}

fn read(text: &str) -> Vec<Reasons> {
    let begins = |line: &str| {
        Some(
            line.strip_prefix("pub enum ")?
                .strip_suffix("Reason {")?
                .to_owned(),
        )
    };
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(name) = begins(line) {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "}").collect();
            all.push(Reasons {
                name: format!("{name}Reason"),
                list: variants(&body),
            });
        }
    }
    all
}

fn variants(body: &[&str]) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut text = Vec::new();
    for line in body.iter().filter_map(|line| line.strip_prefix(VARIANT)) {
        if let Some(part) = line.strip_prefix("///") {
            text.push(part.trim());
        } else if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            let end = line
                .find(|letter: char| !letter.is_ascii_alphanumeric())
                .unwrap_or(line.len());
            list.push((line[..end].to_owned(), text.join(" ")));
            text.clear();
        }
    }
    list
}

fn print(of: &str, reasons: &Reasons, page: &mut String) {
    let rows = reasons
        .list
        .iter()
        .map(|(name, text)| format!("| `{name}` | {text} |\n"));
    let rows: String = rows.collect();
    let table = format!(
        "\n## {of}: {}\n\n| reason | what it means and what to do |\n| --- | --- |\n{rows}",
        reasons.name
    );
    page.write_str(&table)
        .expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_and_their_texts_are_read() {
        let text = "use x;\npub enum SampleReason {\n    /// One thing\n    /// goes wrong. Do this.\n    OneThing,\n    #[serde(other)]\n    /// Another.\n    Other {\n        /// A field.\n        x: u8,\n    },\n    /// The last.\n    Last,\n}\npub enum Unrelated {\n    A,\n}\n";
        let all = read(text);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].name, "SampleReason");
        let expected = [
            ("OneThing", "One thing goes wrong. Do this."),
            ("Other", "Another."),
            ("Last", "The last."),
        ];
        assert_eq!(
            all[0].list,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }
}
