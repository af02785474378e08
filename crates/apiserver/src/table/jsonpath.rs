//! The JSONPath of printer columns: fields, indices, `[*]` and filters with one comparison.
//!
//! That is what definitions may use (`apiextensions` allows simple paths only); unions, slices, recursion and
//! functions are refused when a path is parsed.

use serde_json::Value;

/// Longest path that is parsed, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Negative from the end.
    Index(i64),
    /// Every item or field.
    All,
    Filter(Filter),
}

/// `[?(@.type=="Ready")]`
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    path: JsonPath,
    equal: bool,
    literal: Value,
}

impl JsonPath {
    /// Parses `.spec.nodes[0].name`, with or without braces and `$`.
    ///
    /// # Errors
    /// What is wrong, with the rest of the path that was not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_BYTES_MAX {
            return Err(format!("is longer than {PATH_BYTES_MAX} bytes"));
        }
        let inner = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(text);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) =
                step(rest).ok_or_else(|| format!("cannot be read from {rest:?} on"))?;
            steps.extend(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found
                .into_iter()
                .flat_map(|value| step.follow(value))
                .collect();
        }
        found.first().copied()
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => at(value, *index).into_iter().collect(),
            Self::All => children(value),
            Self::Filter(filter) => children(value)
                .into_iter()
                .filter(|item| filter.takes(item))
                .collect(),
        }
    }
}

impl Filter {
    fn takes(&self, item: &Value) -> bool {
        let found = self.path.first(item);
        found.is_some_and(|found| (*found == self.literal) == self.equal)
    }
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let from_start = match index {
        0.. => usize::try_from(index).ok(),
        _ => items
            .len()
            .checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    };
    items.get(from_start?)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// One step and what comes after it; `.` before a bracket is no step.
fn step(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(inside) = text.strip_prefix("[?(") {
        let end = inside.find(")]")?;
        return Some((
            Some(Step::Filter(filter(&inside[..end])?)),
            &inside[end + 2..],
        ));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (inside, after) = inside.split_once(']')?;
        return Some((Some(bracket(inside)?), after));
    }
    match text.strip_prefix('.')? {
        after if after.starts_with('[') => Some((None, after)),
        "" => None,
        after => field(after),
    }
}

/// What stands in brackets: an index, `*` or a quoted name.
fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(name) = quoted(inside) {
        return Some(Step::Field(name));
    }
    inside.parse().ok().map(Step::Index)
}

/// A name up to the next `.` or `[`; a backslash makes either part of the name.
fn field(text: &str) -> Option<(Option<Step>, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            ' ' | '(' | ')' | '{' | '}' | ',' => return None,
            char => name.push(char),
        }
    }
    let step = match name.as_str() {
        "" => return None,
        "*" => Step::All,
        _ => Step::Field(name),
    };
    Some((Some(step), &text[end..]))
}

fn filter(text: &str) -> Option<Filter> {
    let (path, equal, literal) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((path, literal)), _) => (path, true, literal),
        (None, Some((path, literal))) => (path, false, literal),
        (None, None) => return None,
    };
    let path = JsonPath::parse(path.trim().strip_prefix('@')?).ok()?;
    let literal = literal.trim();
    let literal = match quoted(literal) {
        Some(text) => Value::String(text),
        None => serde_json::from_str(literal).ok()?,
    };
    Some(Filter {
        path,
        equal,
        literal,
    })
}

/// The text between two equal quotes, without the backslashes that protect its characters.
fn quoted(text: &str) -> Option<String> {
    let inside = ['"', '\'']
        .iter()
        .find_map(|&q| text.strip_prefix(q)?.strip_suffix(q))?;
    let mut plain = String::new();
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        plain.push(if char == '\\' { chars.next()? } else { char });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leads_to_the_first_value() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "dotted"}},
            "spec": {"nodes": [{"name": "a", "zone": 1}, {"name": "b", "zone": 2}], "on": true},
            "status": {"conditions": [
                {"type": "Placed", "status": "False"},
                {"type": "Ready", "status": "True"},
            ]},
        });
        let cases = [
            (".spec.nodes[0].name", json!("a")),
            (".spec.nodes[-1].name", json!("b")),
            (".spec.nodes[*].zone", json!(1)),
            ("{.spec.on}", json!(true)),
            ("$.spec.on", json!(true)),
            (
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!("True"),
            ),
            (
                r".status.conditions[?(@.type=='Placed')].status",
                json!("False"),
            ),
            (
                r#".status.conditions[?(@.type != "Placed")].type"#,
                json!("Ready"),
            ),
            (".spec.nodes[?(@.zone==2)].name", json!("b")),
            (r".metadata.annotations.a\.b/c", json!("dotted")),
            (r".metadata.annotations['a\.b/c']", json!("dotted")),
            (".spec['nodes'][1].name", json!("b")),
        ];
        for (path, expected) in cases {
            let parsed = JsonPath::parse(path).expect(path);
            assert_eq!(parsed.first(&object), Some(&expected), "{path}");
        }
        for absent in [
            ".spec.none",
            ".spec.nodes[2]",
            ".spec.nodes[-3]",
            ".spec.on.x",
        ] {
            assert_eq!(
                JsonPath::parse(absent).expect(absent).first(&object),
                None,
                "{absent}"
            );
        }
    }

    #[test]
    fn refuses_what_it_would_not_follow() {
        let bad = [
            "spec",
            ".",
            "..spec",
            ".a[",
            ".a[x]",
            ".a[0:2]",
            ".a[?(@.b)]",
            ".a[?(b==1)]",
            ".a b",
            ".a[",
        ];
        for path in bad {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert!(JsonPath::parse(&".a".repeat(PATH_BYTES_MAX)).is_err());
    }
}
