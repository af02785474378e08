//! Field selectors: `metadata.name=a,spec.host!=b`.
//!
//! Only equality exists, and only for the paths that a resource declares; an undeclared one is an error, because
//! ignoring it would show a client objects that it did not ask for.

use std::borrow::Cow;

use serde_json::Value;

use crate::object::at_path;
use crate::selection::REQUIREMENTS_MAX;

/// Requirements that all have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Parses a selector; `accept` turns a path as written into the path in stored objects, or refuses it.
    ///
    /// # Errors
    /// When the text is no selector or a path is not accepted.
    pub fn parse(text: &str, accept: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            let requirement = parse_term(&term, &accept)?;
            requirements.push(requirement);
            if requirements.len() > REQUIREMENTS_MAX {
                return Err(format!(
                    "a field selector has at most {REQUIREMENTS_MAX} terms"
                ));
            }
        }
        Ok(Self(requirements))
    }

    /// Requires one value at one path as well.
    #[must_use]
    pub fn and(mut self, path: &str, value: &str) -> Self {
        self.0.push(Requirement {
            path: path.to_owned(),
            value: value.to_owned(),
            equal: true,
        });
        self
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one value that a path must have, if it must have one.
    #[must_use]
    pub fn wanted(&self, path: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|r| r.equal && r.path == path)
            .map(|r| r.value.as_str())
    }

    /// The first equality on a path other than name and namespace.
    pub(crate) fn equality(&self) -> Option<(&str, &str)> {
        let indexed = |r: &&Requirement| r.equal && !r.path.starts_with("metadata.");
        self.0
            .iter()
            .find(indexed)
            .map(|r| (r.path.as_str(), r.value.as_str()))
    }

    /// Whether an object with that key matches; `None` if that is not enough to know.
    pub(crate) fn matches_key(&self, namespace: &str, name: &str) -> Option<bool> {
        let mut known = true;
        for requirement in &self.0 {
            let value = match requirement.path.as_str() {
                "metadata.name" => name,
                "metadata.namespace" => namespace,
                _ => {
                    known = false;
                    continue;
                }
            };
            if (value == requirement.value) != requirement.equal {
                return Some(false);
            }
        }
        known.then_some(true)
    }

    pub(crate) fn matches(&self, value: &Value) -> bool {
        self.0
            .iter()
            .all(|r| (text_at(value, &r.path) == r.value) == r.equal)
    }
}

/// The value at a path as field selectors see it: absent is the empty text.
pub(crate) fn text_at<'a>(value: &'a Value, path: &str) -> Cow<'a, str> {
    match at_path(value, path) {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        Some(Value::Bool(truth)) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        // Events: `source` selects by the reporting component, as in core/v1.
        Some(Value::Object(fields)) if path == "source" => Cow::Borrowed(
            fields
                .get("component")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        ),
        // What a Node and a Pod leave away means no, and is selected as such.
        None if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => Cow::Borrowed("false"),
        _ => Cow::Borrowed(""),
    }
}

/// Splits at commas that are not escaped; empty terms mean nothing.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            ',' if !escaped => terms.push(String::new()),
            c => terms.last_mut().expect("there is always one term").push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn parse_term(term: &str, accept: impl Fn(&str) -> Option<String>) -> Result<Requirement, String> {
    let split = |operator: &'static str, equal| {
        let (path, value) = term.split_once(operator)?;
        Some((path, value, equal))
    };
    let parts = split("!=", false)
        .or_else(|| split("==", true))
        .or_else(|| split("=", true));
    let (path, value, equal) =
        parts.ok_or_else(|| format!("invalid selector: '{term}'; can't understand '{term}'"))?;
    let stored = accept(path).ok_or_else(|| format!("field label not supported: {path}"))?;
    Ok(Requirement {
        path: stored,
        value: unescape(value)?,
        equal,
    })
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                _ => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence in '{value}'"
                    ));
                }
            },
            '=' => {
                return Err(format!(
                    "invalid field selector: unescaped '=' in '{value}'"
                ));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(selector: &str, object: &Value, expected: bool) {
        let parsed = FieldSelector::parse(selector, |path| Some(path.to_owned())).expect(selector);
        assert_eq!(parsed.matches(object), expected, "{selector}");
    }

    #[test]
    fn selects_by_equality() {
        let object =
            json!({"metadata": {"name": "a"}, "spec": {"host": "h=1,2", "port": 80, "on": true}});
        check("", &object, true);
        check("metadata.name=a", &object, true);
        check("metadata.name==a,spec.port=80", &object, true);
        check("metadata.name!=a", &object, false);
        check("spec.on=true,spec.port!=81", &object, true);
        check("spec.absent=", &object, true);
        check(r"spec.host=h\=1\,2", &object, true);
    }

    #[test]
    fn refuses_what_it_cannot_honour() {
        let accept = |path: &str| (path == "metadata.name").then(|| path.to_owned());
        for bad in [
            "spec.x=1",
            "metadata.name",
            r"metadata.name=\x",
            "metadata.name=a=b",
        ] {
            FieldSelector::parse(bad, accept).expect_err(bad);
        }
        let long = "metadata.name=a,".repeat(REQUIREMENTS_MAX + 1);
        FieldSelector::parse(&long, accept).expect_err("too many terms");
    }
}
