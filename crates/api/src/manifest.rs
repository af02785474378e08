//! Manifests as people write them: YAML or JSON, several documents in one text.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The documents of a text; empty ones are left out, a `List` is taken apart.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("cannot read the manifest: {error}"),
        )
    })?;
    let mut documents = Vec::new();
    for mut document in all.into_iter().filter(|document| !document.is_null()) {
        match document["kind"].as_str() {
            None => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "cannot read the manifest: a document has no `kind`",
                ));
            }
            Some("List") => documents.extend(
                document["items"]
                    .as_array_mut()
                    .map(std::mem::take)
                    .unwrap_or_default(),
            ),
            Some(_) => documents.push(document),
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_and_lists_are_taken_apart() {
        let text = "kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        let kinds: Vec<_> = documents(text)
            .expect("it parses")
            .into_iter()
            .map(|document| document["kind"].clone())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn what_has_no_kind_is_refused() {
        assert!(
            documents("name: x")
                .expect_err("no kind")
                .what
                .contains("`kind`")
        );
        assert!(documents("a: [").is_err());
    }
}
