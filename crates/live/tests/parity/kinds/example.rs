//! Documents that fit a schema, made from nothing but the schema.

use std::net::{IpAddr, Ipv6Addr};

use regex::Regex;
use serde_json::{Map, Value, json};

/// Texts of which at least one has the form that a schema asks for.
const TEXTS: [&str; 16] = [
    "mad",
    "bcn",
    "/srv/a",
    "/srv/b",
    "fd00:1::/48",
    "fd00:2::/48",
    "fd00:1::/64",
    "fd00:1::1",
    "2026-11-21T10:00:00Z",
    "ES",
    "1.5",
    "500m",
    "layout:web",
    "SIGHUP",
    "CAP_NET_ADMIN",
    "a0",
];
/// How many items a list has where its schema leaves the choice.
const ITEMS: u64 = 2;

/// A document with every field that a schema knows; another `n` makes another one, of the next alternatives.
pub fn whole(schema: &Value, n: usize) -> Value {
    make(schema, n, &|_, _| true)
}

/// A document with the fields that must be there.
pub fn least(schema: &Value) -> Value {
    let is_required = |schema: &Value, name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|all| all.iter().any(|it| it == name))
    };
    make(schema, 0, &is_required)
}

/// The most alternatives that one place of a schema has.
pub fn alternatives(schema: &Value) -> usize {
    let here = ["oneOf", "enum"].map(|it| schema[it].as_array().map_or(1, Vec::len));
    let fields = schema["properties"].as_object().into_iter().flatten();
    let below = fields.map(|(_, field)| field);
    let below = below.chain(schema.get("items"));
    let below = below.chain(schema.get("additionalProperties"));
    below
        .map(alternatives)
        .chain(here)
        .max()
        .unwrap_or_default()
}

/// The field by which each alternative of an object is told.
pub fn branches(schema: &Value) -> Vec<&str> {
    let all = schema["oneOf"].as_array().into_iter().flatten();
    all.filter_map(|one| one["required"][0].as_str()).collect()
}

fn make(schema: &Value, n: usize, has: &dyn Fn(&Value, &str) -> bool) -> Value {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&Value> = choices.iter().filter(|it| !it.is_null()).collect();
        return choices[n % choices.len()].clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return [json!("500m"), json!(2)][n % 2].clone();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, n, has),
        Some("array") => {
            let fewest = schema["minItems"].as_u64().unwrap_or_default();
            let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
            let items = ITEMS.clamp(fewest, most);
            let all = (n..).zip(0..items);
            all.map(|(n, _)| make(&schema["items"], n, has)).collect()
        }
        Some("string") => text(schema, n).into(),
        Some("boolean") => n.is_multiple_of(2).into(),
        Some("integer") => {
            let fewest = schema["minimum"].as_f64().unwrap_or_default();
            let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
            #[allow(clippy::cast_possible_truncation, reason = "bounds of whole numbers")]
            let number = 1_f64.clamp(fewest, most) as i64;
            number.into()
        }
        other => panic!("{other:?} is no type of ours: {schema}"),
    }
}

fn object(schema: &Value, n: usize, has: &dyn Fn(&Value, &str) -> bool) -> Value {
    let branches = branches(schema);
    let chosen = (!branches.is_empty()).then(|| branches[n % branches.len()]);
    let mut fields = Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_there = match branches.contains(&name.as_str()) {
            true => chosen == Some(name),
            false => has(schema, name),
        };
        if is_there {
            fields.insert(name.clone(), make(field, n, has));
        }
    }
    if let Some(values) = schema.get("additionalProperties") {
        fields.insert("cpu".to_owned(), make(values, n, has));
    }
    fields.into()
}

fn text(schema: &Value, n: usize) -> &'static str {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let pattern = Regex::new(pattern).expect("a pattern");
    let has_format = |text: &str| match schema["format"].as_str() {
        Some("ipv6") => text.parse::<Ipv6Addr>().is_ok(),
        Some("cidr") => {
            let address = text.split_once('/').map(|(address, _)| address);
            address.is_some_and(|it| it.parse::<IpAddr>().is_ok())
        }
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    };
    let fits = |text: &&str| pattern.is_match(text) && has_format(text);
    let fitting: Vec<&str> = TEXTS.into_iter().filter(fits).collect();
    assert!(!fitting.is_empty(), "no text fits {schema}");
    fitting[n % fitting.len()]
}
