//! Manifests: versions stand in the workspace file alone, and every crate takes the workspace's lints.

use crate::tidy::files::File;
use toml::{Table, Value};

const SECTIONS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// All problems of the members' manifests.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let members = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"));
    members
        .flat_map(|file| manifest_problems(&file.path, &file.text))
        .collect()
}

fn manifest_problems(path: &str, text: &str) -> Vec<String> {
    let Ok(manifest) = text.parse::<Table>() else {
        return vec![format!("{path}: not TOML")];
    };
    let mut problems = Vec::new();
    for section in SECTIONS {
        let dependencies = manifest.get(*section).and_then(Value::as_table);
        let versioned = dependencies
            .into_iter()
            .flatten()
            .filter(|(_, value)| states_version(value));
        problems.extend(versioned.map(|(name, _)| {
            format!("{path}: the version of {name} belongs in the workspace's Cargo.toml")
        }));
    }
    let lints = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    if lints != Some(&Value::Boolean(true)) {
        problems.push(format!(
            "{path}: without `[lints] workspace = true` the workspace's lints do not hold"
        ));
    }
    problems
}

fn states_version(value: &Value) -> bool {
    value.is_str() || value.get("version").is_some() || value.get("git").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_outside_the_workspace_file_is_found() {
        let problems = |dependency: &str| {
            let text = format!("[lints]\nworkspace = true\n[dev-dependencies]\n{dependency}");
            manifest_problems("crates/x/Cargo.toml", &text).len()
        };
        assert_eq!(problems("serde.workspace = true"), 0);
        assert_eq!(problems("function = { path = \"../function\" }"), 0);
        assert_eq!(problems("serde = \"1\""), 1);
        assert_eq!(problems("serde = { version = \"1\", features = [] }"), 1);
        assert_eq!(problems("serde = { git = \"https://example.org\" }"), 1);
    }

    #[test]
    fn manifest_without_the_lints_is_found() {
        assert_eq!(
            manifest_problems("crates/x/Cargo.toml", "[package]\nname = \"x\"").len(),
            1
        );
    }
}
