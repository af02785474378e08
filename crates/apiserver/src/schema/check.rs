//! Checking values against a schema, with the messages of kube-apiserver, in its order (`kube-openapi/pkg/validation/validate`).
//!
//! A value of a wrong type is still checked by all that does not ask for a type. What is said of several schemas at once,
//! or of a number as such, is said of no field. On purpose otherwise: a list is no text, even where a format is asked for.

mod number;

use serde_json::{Map, Value};

use crate::failure::{Cause, quoted, shown};
use crate::schema::prune::{indexed, join};
use crate::schema::{Kind, OBJECT_FIELDS, PROBLEMS_MAX, Schema};

/// How a cause names the field if there is none.
pub(super) const NO_FIELD: &str = "<nil>";
const STATUS: &str = "status";

/// What is wrong with an object, beyond what was so before; `apart` says that its status is checked by itself.
pub(super) fn problems(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    apart: bool,
) -> Vec<Cause> {
    let whole = Checker { part: "", apart };
    let mut causes = whole.check(schema, Given { value, old }, "", true).causes;
    if apart
        && let Some(schema) = schema.properties.get(STATUS)
        && let Some(value) = value.get(STATUS)
    {
        let old = old.and_then(|old| old.get(STATUS));
        let status = Checker {
            part: STATUS,
            apart: false,
        };
        let found = status.check(schema, Given { value, old }, "", false);
        causes.extend(found.causes);
    }
    causes
}

/// A value, and what was in its place before if that is known.
#[derive(Clone, Copy)]
struct Given<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
}

/// What was found, and how much was looked at: of several schemas, the one that fits best is told.
#[derive(Default)]
struct Found {
    causes: Vec<Cause>,
    matched: usize,
}

struct Checker {
    /// The part of the object that is checked, which texts do not name.
    part: &'static str,
    /// The status is left to another.
    apart: bool,
}

impl Checker {
    fn check(&self, schema: &Schema, given: Given<'_>, path: &str, framed: bool) -> Found {
        let value = given.value;
        let mut found = self.kind(schema, value, path);
        if value.is_null() {
            self.choices(schema, value, path, &mut found);
            return found;
        }
        self.combined(schema, given, (path, framed), &mut found);
        match value {
            Value::String(text) => self.text(schema, text, path, &mut found),
            Value::Number(number) => self.number(schema, number, path, &mut found),
            Value::Array(list) => self.array(schema, (list, given.old), path, &mut found),
            Value::Object(_) | Value::Bool(_) | Value::Null => {}
        }
        self.choices(schema, value, path, &mut found);
        if let Value::Object(map) = value {
            let framed = framed || schema.embedded;
            self.object(schema, (map, given.old), (path, framed), &mut found);
        }
        // What is as it was may break what a newer schema says, and must not keep an object from its end.
        if given.old == Some(value) {
            found.causes.clear();
        }
        found
    }

    fn kind(&self, schema: &Schema, value: &Value, path: &str) -> Found {
        let mut found = Found::default();
        let wanted = match schema.kind {
            _ if schema.int_or_string => "integer,string",
            Some(kind) => kind.name(),
            None => return found,
        };
        let given = Kind::of(value);
        if fits_kind(schema, given) || given.is_none() && schema.nullable {
            found.matched += 1;
            return found;
        }
        // Where there is a format, it is that which other kinds of values lack.
        let (wanted, given) = match (schema.limits.format, given) {
            (_, None) => (wanted, "null"),
            (Some(format), Some(Kind::Integer)) => (format.name(), "int64"),
            (Some(format), Some(Kind::Number)) => (format.name(), "float64"),
            (Some(format), Some(Kind::Boolean | Kind::Object)) => (format.name(), ""),
            (_, Some(given)) => (wanted, given.name()),
        };
        self.mistyped(path, wanted, given, &mut found);
        found
    }

    fn mistyped(&self, path: &str, wanted: &str, given: &str, found: &mut Found) {
        let given = quoted(given);
        let message =
            format!("Invalid value: {given}: {path} in body must be of type {wanted}: {given}");
        found.add("FieldValueTypeInvalid", self.field(path), message);
    }

    fn choices(&self, schema: &Schema, value: &Value, path: &str, found: &mut Found) {
        let Some(choices) = &schema.choices else {
            return;
        };
        // Null is never one of them.
        if !value.is_null() && choices.contains(value) {
            return;
        }
        let supported = choices.iter().map(|choice| match choice {
            Value::String(text) => quoted(text),
            other => quoted(&other.to_string()),
        });
        let supported: Vec<String> = supported.collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            supported.join(", ")
        );
        found.add("FieldValueNotSupported", self.field(path), message);
    }

    fn object(
        &self,
        schema: &Schema,
        (map, old): (&Map<String, Value>, Option<&Value>),
        (path, framed): (&str, bool),
        found: &mut Found,
    ) {
        let what = "properties";
        self.count(schema.limits.properties, map.len(), (path, what), found);
        for (name, value) in map {
            let is_frame = framed && OBJECT_FIELDS.contains(&name.as_str());
            let is_apart = self.apart && path.is_empty() && name == STATUS;
            if is_frame || is_apart || found.is_full() {
                continue;
            }
            if let Some(known) = schema.field(name) {
                let old = old.and_then(|old| old.get(name));
                found.merge(self.check(known, Given { value, old }, &join(path, name), false));
            }
        }
        for name in &schema.required {
            if !map.contains_key(name) {
                found.push(Cause::required(self.field(&join(path, name)), ""));
            }
        }
    }

    fn array(
        &self,
        schema: &Schema,
        (list, old): (&[Value], Option<&Value>),
        path: &str,
        found: &mut Found,
    ) {
        let earlier = schema.list.earlier(old);
        for (index, value) in list.iter().enumerate() {
            let Some(items) = &schema.items else { break };
            if found.is_full() {
                break;
            }
            let old = earlier.of(value);
            found.merge(self.check(items, Given { value, old }, &indexed(path, index), false));
        }
        let what = "items";
        self.count(schema.limits.items, list.len(), (path, what), found);
    }

    /// Of a text only the first problem is told, besides that of its format.
    fn text(&self, schema: &Schema, text: &str, path: &str, found: &mut Found) {
        let limits = &schema.limits;
        let n = text.chars().count();
        let (least, most) = limits.chars;
        let pattern = limits.pattern.as_ref();
        if let Some(most) = most.filter(|most| above(n, *most)) {
            let bytes = if most == 1 { "byte" } else { "bytes" };
            let message = format!("Too long: may not be more than {most} {bytes}");
            found.add("FieldValueTooLong", self.field(path), message);
        } else if let Some(least) = least.filter(|least| below(n, *least)) {
            let rule = format!("should be at least {least} chars long");
            self.invalid(path, &text.into(), &rule, found);
        } else if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(text)) {
            let rule = format!("should match '{pattern}'");
            self.invalid(path, &text.into(), &rule, found);
        }
        if let Some(format) = limits.format {
            found.matched += 1;
            if !format.fits(text) {
                self.mistyped(path, format.name(), text, found);
            }
        }
    }

    /// Schemas of which all, some, one or none must fit.
    fn combined(
        &self,
        schema: &Schema,
        given: Given<'_>,
        (path, framed): (&str, bool),
        found: &mut Found,
    ) {
        // Alternatives are judged whole: what of one is as it was does not make it fit.
        let given = Given { old: None, ..given };
        let all = |parts: &[Schema]| {
            let all = parts.iter();
            let all = all.map(|part| self.check(part, given, path, framed));
            all.collect::<Vec<Found>>()
        };
        if !schema.any_of.is_empty() {
            let each = all(&schema.any_of);
            if each.iter().all(|one| !one.fits()) {
                self.combination(path, "must validate at least one schema (anyOf)", found);
            }
            found.merge_best(each);
        }
        if !schema.one_of.is_empty() {
            let each = all(&schema.one_of);
            let why = match each.iter().filter(|one| one.fits()).count() {
                0 => "Found none valid".to_owned(),
                n => format!("Found {n} valid alternatives"),
            };
            if each.iter().filter(|one| one.fits()).count() != 1 {
                let why = format!("must validate one and only one schema (oneOf). {why}");
                self.combination(path, &why, found);
            }
            found.merge_best(each);
        }
        if !schema.all_of.is_empty() {
            let each = all(&schema.all_of);
            let n_fitting = each.iter().filter(|one| one.fits()).count();
            let n_all = each.len();
            each.into_iter().for_each(|one| found.merge(one));
            if n_fitting < n_all {
                let none = if n_fitting == 0 {
                    ". None validated"
                } else {
                    ""
                };
                let why = format!("must validate all the schemas (allOf){none}");
                self.combination(path, &why, found);
            }
        }
        if let Some(not) = &schema.not
            && self.check(not, given, path, framed).fits()
        {
            self.combination(path, "must not validate the schema (not)", found);
        }
    }

    fn combination(&self, path: &str, why: &str, found: &mut Found) {
        self.of_no_field(&format!("{} {why}", quoted(path)), found);
    }

    fn count(
        &self,
        (least, most): (Option<i64>, Option<i64>),
        n: usize,
        (path, what): (&str, &str),
        found: &mut Found,
    ) {
        if let Some(least) = least.filter(|least| below(n, *least)) {
            let rule = format!("should have at least {least} {what}");
            self.invalid(path, &n.into(), &rule, found);
        }
        if let Some(most) = most.filter(|most| above(n, *most)) {
            let items = if most == 1 { "item" } else { "items" };
            let message = format!("Too many: {n}: must have at most {most} {items}");
            found.add("FieldValueTooMany", self.field(path), message);
        }
    }

    fn invalid(&self, path: &str, value: &Value, rule: &str, found: &mut Found) {
        let rule = format!("{path} in body {rule}");
        found.push(Cause::invalid(self.field(path), value, &rule));
    }

    fn of_no_field(&self, why: &str, found: &mut Found) {
        found.push(Cause::invalid(self.field(""), &"".into(), why));
    }

    /// How a cause names what is at a path.
    fn field(&self, path: &str) -> String {
        match (self.part, path) {
            ("", "") => NO_FIELD.to_owned(),
            (part, "") => part.to_owned(),
            (part, path) => join(part, path),
        }
    }
}

impl Found {
    fn fits(&self) -> bool {
        self.causes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.causes.len() > PROBLEMS_MAX
    }

    fn add(&mut self, reason: &'static str, field: String, message: String) {
        self.push(Cause::new(reason, field, message));
    }

    /// The same is told once.
    fn push(&mut self, cause: Cause) {
        if !self.is_full() && !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    fn merge(&mut self, other: Self) {
        self.matched += other.matched + 1;
        other.causes.into_iter().for_each(|cause| self.push(cause));
    }

    /// Takes over what says most about a value that fits none of several schemas; nothing if it fits one.
    fn merge_best(&mut self, each: Vec<Self>) {
        let fitting = each.iter().position(Self::fits);
        let best = fitting.or_else(|| {
            let most = each.iter().map(|one| one.matched).max();
            each.iter().position(|one| Some(one.matched) == most)
        });
        if let Some(best) = best.and_then(|best| each.into_iter().nth(best)) {
            self.merge(best);
        }
    }
}

fn below(n: usize, least: i64) -> bool {
    i64::try_from(n).is_ok_and(|n| n < least)
}

fn above(n: usize, most: i64) -> bool {
    i64::try_from(n).is_ok_and(|n| n > most)
}

fn fits_kind(schema: &Schema, given: Option<Kind>) -> bool {
    if schema.int_or_string {
        return matches!(given, Some(Kind::Integer | Kind::String));
    }
    match schema.kind {
        None => true,
        Some(Kind::Number) => matches!(given, Some(Kind::Number | Kind::Integer)),
        wanted => given == wanted,
    }
}
