//! What the rules of a definition may cost, found from the sizes that its schemas allow, when the definition is written.
//!
//! kube-apiserver estimates each step of a rule. Here only the rounds of its loops are counted, so the estimate is lower,
//! and no definition is refused that Kubernetes takes. What a rule does when it runs is counted by
//! [`crate::expression`].

use kube::core::cel::cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};
use serde_json::Value;

use crate::expression::{self, Program};
use crate::failure::Cause;
use crate::schema::OBJECT_FIELDS;
use crate::schema::rules;
use crate::schema::values::escaped;

/// The most that one rule may cost with all values of an object.
const RULE_COST_MAX: u64 = 10_000_000;
/// The most that all rules of a schema may cost.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// Longest object that the sizes of lists without a limit are estimated for, in bytes.
const OBJECT_BYTES: u64 = 3 * 1024 * 1024;
const RULES: &str = "x-kubernetes-validations";

/// Which rules of a schema are none, may cost too much, or name fields that there are not.
pub(super) fn problems(schema: &Value, path: &str) -> Vec<Cause> {
    let mut estimate = Estimate::default();
    estimate.walk(schema, path, 1, true);
    if estimate.total > SCHEMA_COST_MAX {
        let why = exceeded(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema",
            estimate.total,
            SCHEMA_COST_MAX,
        );
        estimate.causes.push(Cause::forbidden(path, &why));
    }
    estimate.causes
}

#[derive(Default)]
struct Estimate {
    causes: Vec<Cause>,
    total: u64,
}

impl Estimate {
    /// `often` is how many values of the schema one object may have.
    fn walk(&mut self, schema: &Value, path: &str, often: u64, root: bool) {
        let rules = schema[RULES].as_array().into_iter().flatten();
        let names = vec![("self", Some(schema)), ("oldSelf", Some(schema))];
        for (n, rule) in rules.enumerate() {
            let at = format!("{path}.{RULES}[{n}]");
            for part in ["rule", "messageExpression"] {
                if let Some(text) = rule[part].as_str()
                    && let Err(why) =
                        self.expression(text, &names, &format!("{at}.{part}"), (often, root))
                {
                    self.causes
                        .push(Cause::invalid(format!("{at}.{part}"), rule, &why));
                }
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.walk(
                property,
                &format!("{path}.properties[{name}]"),
                often,
                false,
            );
        }
        for below in ["items", "additionalProperties"] {
            if schema[below].is_object() {
                let often = often.saturating_mul(most(Some(schema)));
                self.walk(&schema[below], &format!("{path}.{below}"), often, false);
            }
        }
    }

    fn expression(
        &mut self,
        text: &str,
        names: &Names<'_>,
        at: &str,
        (often, root): (u64, bool),
    ) -> Result<(), String> {
        let tree = expression::parse(text)?;
        rules::checked(&Program::of(text, tree.clone())?)?;
        if let Some(field) = expression::with_room(|| undefined(&tree, names, root)) {
            return Err(format!(
                "compilation failed: ERROR: undefined field '{field}': {text}"
            ));
        }
        let cost = expression::with_room(|| rounds(&tree, names)).saturating_mul(often);
        self.total = self.total.saturating_add(cost);
        if cost > RULE_COST_MAX {
            let why = exceeded("estimated rule cost", cost, RULE_COST_MAX);
            self.causes.push(Cause::forbidden(at, &why));
        }
        Ok(())
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let tenths = cost.saturating_mul(10) / limit;
    let factor = match tenths > 1000 {
        true => "more than 100x".to_owned(),
        false => format!("{}.{}x", tenths / 10, tenths % 10),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// The schemas of the values that names stand for, as far as they are known; later ones hide earlier ones.
type Names<'a> = Vec<(&'a str, Option<&'a Value>)>;

/// How often the loops of an expression go round.
fn rounds(tree: &IdedExpr, names: &Names<'_>) -> u64 {
    let Expr::Comprehension(it) = &tree.expr else {
        let below = parts(&tree.expr).into_iter();
        return below.fold(0, |sum, part| sum.saturating_add(rounds(part, names)));
    };
    let inside = inside(it, names);
    let outside = [&it.iter_range, &it.accu_init, &it.result].map(|part| rounds(part, names));
    let body = [&it.loop_cond, &it.loop_step].map(|part| rounds(part, &inside));
    let body = body.into_iter().fold(1, u64::saturating_add);
    let range = reach(&it.iter_range, names);
    let outside = outside.into_iter().fold(0, u64::saturating_add);
    outside.saturating_add(most(range).saturating_mul(body))
}

/// The names inside of a loop.
fn inside<'a>(it: &'a ComprehensionExpr, names: &Names<'a>) -> Names<'a> {
    let mut inside = names.clone();
    // A loop over an object goes over its keys.
    let items = reach(&it.iter_range, names).and_then(|range| range.get("items"));
    inside.extend([(it.iter_var.as_str(), items), (it.accu_var.as_str(), None)]);
    inside
}

/// The parts of an expression that is no loop.
fn parts(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => {
            let target = call.target.iter().map(AsRef::as_ref);
            target.chain(&call.args).collect()
        }
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => {
            let parts = map.entries.iter().flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            });
            parts.collect()
        }
        _ => Vec::new(),
    }
}

/// The schema of what a path leads to.
fn reach<'a>(path: &IdedExpr, names: &Names<'a>) -> Option<&'a Value> {
    match &path.expr {
        Expr::Ident(name) => {
            let mut known = names.iter().rev();
            known.find(|(known, _)| known == name)?.1
        }
        Expr::Select(select) if !select.test => {
            let schema = reach(&select.operand, names)?;
            field(schema, &select.field)
        }
        _ => None,
    }
}

/// The schema of a field by its name in expressions.
fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let properties = schema["properties"].as_object();
    let found = match name.contains("__") {
        // Written in another way than it is called.
        true => {
            let mut all = properties.into_iter().flatten();
            all.find(|(known, _)| escaped(known) == name)
                .map(|(_, property)| property)
        }
        false => properties.and_then(|all| all.get(name)),
    };
    let other = schema.get("additionalProperties");
    found.or(other.filter(|other| other.is_object()))
}

/// A field that a rule names and its schema does not.
fn undefined(tree: &IdedExpr, names: &Names<'_>, root: bool) -> Option<String> {
    if let Expr::Comprehension(it) = &tree.expr {
        let inside = inside(it, names);
        let outside = [&it.iter_range, &it.accu_init];
        let mut outside = outside.into_iter();
        let found = outside.find_map(|part| undefined(part, names, root));
        let mut body = [&it.loop_cond, &it.loop_step].into_iter();
        return found.or_else(|| body.find_map(|part| undefined(part, &inside, root)));
    }
    if let Expr::Select(select) = &tree.expr
        && let Some(schema) = reach(&select.operand, names)
        && is_closed(schema)
        && field(schema, &select.field).is_none()
        && !(root && OBJECT_FIELDS.contains(&select.field.as_str()))
    {
        return Some(select.field.clone());
    }
    let mut parts = parts(&tree.expr).into_iter();
    parts.find_map(|part| undefined(part, names, root))
}

/// Whether a schema names all fields that there are.
fn is_closed(schema: &Value) -> bool {
    let open = [
        "additionalProperties",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ];
    schema["properties"].is_object() && open.iter().all(|field| schema.get(*field).is_none())
}

/// The most elements that a value may have.
fn most(schema: Option<&Value>) -> u64 {
    let Some(schema) = schema else { return 1 };
    let limit = |field: &str| schema.get(field).and_then(Value::as_u64);
    match (schema.get("items"), schema.get("additionalProperties")) {
        (Some(items), _) => limit("maxItems").unwrap_or(OBJECT_BYTES / (least_bytes(items) + 1)),
        (None, Some(others)) => {
            limit("maxProperties").unwrap_or(OBJECT_BYTES / (least_bytes(others) + 6))
        }
        (None, None) => 1,
    }
}

/// The length of the shortest text of a value.
fn least_bytes(schema: &Value) -> u64 {
    match schema["type"].as_str() {
        Some("boolean") => 4,
        Some("string" | "array") => 2,
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let required = required.filter_map(Value::as_str);
            let least = required.map(|name| {
                let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
                6 + length + least_bytes(&schema["properties"][name])
            });
            2 + least.sum::<u64>()
        }
        _ => 1,
    }
}
