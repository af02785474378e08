//! Examples: every resource of ours that README.md, `docs/` or `examples/` shows is one the API takes.
//!
//! A field that the types do not know would be lost on the way through them, so it is found. What schema and CEL refuse
//! is left to the scenarios, which apply the examples to a server.

use crate::tidy::files::File;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All problems of the examples.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    files.iter().flat_map(file_problems).collect()
}

fn file_problems(file: &File) -> Vec<String> {
    let is_shown = file.path.starts_with("examples/")
        || file.path.starts_with("docs/")
        || file.path == "README.md";
    let texts: Vec<_> = match file.path.rsplit_once('.') {
        Some((_, "yaml")) if is_shown => vec![file.text.as_str()],
        Some((_, "md")) if is_shown => blocks(&file.text),
        _ => Vec::new(),
    };
    let documents = texts.into_iter().flat_map(documents);
    let problems =
        documents.flat_map(|document| document.map_or_else(|e| vec![e], |value| problems(&value)));
    problems
        .map(|problem| format!("{}: {problem}", file.path))
        .collect()
}

/// The YAML blocks of a Markdown text.
fn blocks(text: &str) -> Vec<&str> {
    let starts = text.split("\n```yaml\n").skip(1);
    starts
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

fn documents(text: &str) -> Vec<Result<Value, String>> {
    let parts = format!("\n{text}")
        .split("\n---")
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let parts = parts.iter().filter(|part| part.contains("\nkind:"));
    parts
        .map(|part| serde_saphyr::from_str(part).map_err(|e| e.to_string()))
        .collect()
}

fn problems(document: &Value) -> Vec<String> {
    let kind = document["kind"].as_str().unwrap_or_default();
    if document["apiVersion"] != format!("{}/{}", api::GROUP, api::VERSION) {
        return Vec::new();
    }
    match kind {
        "HostDatapath" => lost::<api::HostDatapath>(document),
        "Host" => lost::<api::Host>(document),
        "Instance" => lost::<api::Instance>(document),
        "Link" => lost::<api::Link>(document),
        "NetworkDomain" => lost::<api::NetworkDomain>(document),
        "Network" => lost::<api::Network>(document),
        "PlacementPolicy" => lost::<api::PlacementPolicy>(document),
        "Placement" => lost::<api::Placement>(document),
        "Provider" => lost::<api::Provider>(document),
        "ResourcePool" => lost::<api::ResourcePool>(document),
        "ServiceFunctionChain" => lost::<api::ServiceFunctionChain>(document),
        "Service" => lost::<api::Service>(document),
        "Site" => lost::<api::Site>(document),
        "VirtualisationStack" => lost::<api::VirtualisationStack>(document),
        "Workload" => lost::<api::Workload>(document),
        _ => vec![format!("nobody writes a {kind} by hand")],
    }
}

/// What of a document its type does not know.
fn lost<K: DeserializeOwned + Serialize>(document: &Value) -> Vec<String> {
    let name = format!("{} {}", document["kind"], document["metadata"]["name"]).replace('"', "");
    let read = serde_json::from_value::<K>(document.clone()).and_then(serde_json::to_value);
    match read {
        Err(e) => vec![format!("{name}: {e}")],
        Ok(known) => missing(document, &known, "")
            .iter()
            .map(|path| format!("{name}: {path} is not known"))
            .collect(),
    }
}

fn missing(wanted: &Value, known: &Value, path: &str) -> Vec<String> {
    match wanted {
        Value::Object(fields) => {
            let each = fields
                .iter()
                .map(|(key, value)| (format!("{path}.{key}"), value, known.get(key)));
            each.flat_map(|(path, value, known)| {
                known.map_or_else(|| vec![path.clone()], |known| missing(value, known, &path))
            })
            .collect()
        }
        Value::Array(items) => {
            let each = items
                .iter()
                .enumerate()
                .map(|(n, item)| (format!("{path}[{n}]"), item, known.get(n)));
            each.flat_map(|(path, item, known)| {
                known.map_or_else(Vec::new, |known| missing(item, known, &path))
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, text: &str) -> Vec<String> {
        file_problems(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    const NETWORK: &str =
        "apiVersion: groma.dev/v1alpha1\nkind: Network\nmetadata:\n  name: shop\nspec:\n";

    #[test]
    fn field_that_no_type_knows_is_found() {
        let problems = shown(
            "examples/x.yaml",
            &format!("{NETWORK}  domain: d\n  prefix: fd00:1::/64\n  prefixx: x\n"),
        );
        assert_eq!(
            problems,
            ["examples/x.yaml: Network shop: .spec.prefixx is not known"]
        );
    }

    #[test]
    fn blocks_of_a_page_are_read_and_other_kinds_left_alone() {
        let page =
            format!("Text\n\n```yaml\n{NETWORK}  prefix: 1\n```\n\n```yaml\nkind: Pod\n```\n");
        assert_eq!(shown("README.md", &page).len(), 1);
        assert_eq!(shown("crates/x/notes.md", &page).len(), 0);
    }
}
