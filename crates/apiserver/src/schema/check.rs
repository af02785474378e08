//! Checking values against a schema, with the messages of kube-apiserver.

use serde_json::{Map, Value};

use crate::failure::{Cause, shown};
use crate::schema::prune::join;
use crate::schema::{Kind, List, OBJECT_FIELDS, PROBLEMS_MAX, Schema};

pub(super) fn problems(schema: &Schema, value: &Value) -> Vec<Cause> {
    let mut checker = Checker { causes: Vec::new() };
    checker.check(schema, value, "", true);
    checker.causes
}

struct Checker {
    causes: Vec<Cause>,
}

impl Checker {
    fn check(&mut self, schema: &Schema, value: &Value, path: &str, framed: bool) {
        if self.causes.len() > PROBLEMS_MAX || (value.is_null() && schema.nullable) {
            return;
        }
        if !fits_kind(schema, value) {
            self.wrong_kind(schema, value, path);
            return;
        }
        self.choices(schema, value, path);
        match value {
            Value::Object(map) => self.object(schema, map, path, framed || schema.embedded),
            Value::Array(list) => self.array(schema, list, path),
            Value::String(text) => self.text(schema, text, value, path),
            Value::Number(number) => {
                self.number(schema, number.as_f64().unwrap_or(0.0), value, path)
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.format(schema, value, path);
        self.combined(schema, value, path, framed);
    }

    fn wrong_kind(&mut self, schema: &Schema, value: &Value, path: &str) {
        let wanted = match schema.kind {
            _ if schema.int_or_string => "integer,string",
            Some(kind) => kind.name(),
            None => return,
        };
        let given = Kind::of(value).map_or("null", Kind::name);
        let message = format!(
            "Invalid value: \"{given}\": {path} in body must be of type {wanted}: \"{given}\""
        );
        self.causes
            .push(Cause::new("FieldValueTypeInvalid", path, message));
    }

    fn choices(&mut self, schema: &Schema, value: &Value, path: &str) {
        let Some(choices) = schema
            .choices
            .as_ref()
            .filter(|choices| !choices.contains(value))
        else {
            return;
        };
        let supported: Vec<String> = choices.iter().map(Value::to_string).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            supported.join(", ")
        );
        self.causes
            .push(Cause::new("FieldValueNotSupported", path, message));
    }

    fn object(&mut self, schema: &Schema, map: &Map<String, Value>, path: &str, framed: bool) {
        for name in schema
            .required
            .iter()
            .filter(|name| !map.contains_key(*name))
        {
            self.causes.push(Cause::required(join(path, name), ""));
        }
        self.count(
            schema.limits.properties,
            map.len(),
            path,
            "properties",
            value_of_object,
        );
        for (name, content) in map
            .iter()
            .filter(|(name, _)| !(framed && OBJECT_FIELDS.contains(&name.as_str())))
        {
            if let Some(known) = schema.field(name) {
                self.check(known, content, &join(path, name), false);
            }
        }
    }

    fn array(&mut self, schema: &Schema, list: &[Value], path: &str) {
        self.count(schema.limits.items, list.len(), path, "items", || {
            Value::from(list)
        });
        self.duplicates(schema, list, path);
        let Some(items) = &schema.items else { return };
        for (index, item) in list.iter().enumerate() {
            self.check(items, item, &format!("{path}[{index}]"), false);
        }
    }

    fn duplicates(&mut self, schema: &Schema, list: &[Value], path: &str) {
        let identity = |item: &Value| match &schema.list {
            List::Atomic => None,
            List::Set => Some(item.clone()),
            List::Map(keys) => {
                let given = keys
                    .iter()
                    .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Some(Value::Object(given.collect()))
            }
        };
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let Some(identity) = identity(item) else {
                return;
            };
            if !seen.insert(identity.to_string()) {
                let message = format!("Duplicate value: {}", shown(&identity));
                self.causes.push(Cause::new(
                    "FieldValueDuplicate",
                    format!("{path}[{index}]"),
                    message,
                ));
            }
        }
    }

    fn text(&mut self, schema: &Schema, text: &str, value: &Value, path: &str) {
        let limits = &schema.limits;
        if let (Some(_), _) | (_, Some(_)) = limits.chars {
            let n = text.chars().count();
            if limits.chars.0.is_some_and(|least| below(n, least)) {
                let least = limits.chars.0.unwrap_or_default();
                self.invalid(
                    path,
                    value,
                    &format!("should be at least {least} chars long"),
                );
            }
            if let Some(most) = limits.chars.1.filter(|most| above(n, *most)) {
                let message = format!("Too long: may not be more than {most} bytes");
                self.causes
                    .push(Cause::new("FieldValueTooLong", path, message));
            }
        }
        if let Some(pattern) = limits
            .pattern
            .as_ref()
            .filter(|pattern| !pattern.is_match(text))
        {
            self.invalid(path, value, &format!("should match '{pattern}'"));
        }
    }

    fn number(&mut self, schema: &Schema, number: f64, value: &Value, path: &str) {
        let limits = &schema.limits;
        if let Some(least) = limits.minimum {
            match limits.exclusive_minimum {
                false if number < least => self.invalid(
                    path,
                    value,
                    &format!("should be greater than or equal to {least}"),
                ),
                true if number <= least => {
                    self.invalid(path, value, &format!("should be greater than {least}"))
                }
                _ => {}
            }
        }
        if let Some(most) = limits.maximum {
            match limits.exclusive_maximum {
                false if number > most => self.invalid(
                    path,
                    value,
                    &format!("should be less than or equal to {most}"),
                ),
                true if number >= most => {
                    self.invalid(path, value, &format!("should be less than {most}"))
                }
                _ => {}
            }
        }
        if let Some(factor) = limits
            .multiple_of
            .filter(|factor| (number / factor).fract() != 0.0)
        {
            self.invalid(path, value, &format!("should be a multiple of {factor}"));
        }
    }

    fn format(&mut self, schema: &Schema, value: &Value, path: &str) {
        if let Some(format) = schema.limits.format.filter(|format| !format.fits(value)) {
            let name = format.name();
            self.invalid(
                path,
                value,
                &format!("must be of type {name}: {}", shown(value)),
            );
        }
    }

    /// Schemas of which all, some, one or none must fit.
    fn combined(&mut self, schema: &Schema, value: &Value, path: &str, framed: bool) {
        for part in &schema.all_of {
            self.check(part, value, path, framed);
        }
        let fitting = |parts: &[Schema]| {
            parts
                .iter()
                .filter(|part| fits(part, value, framed))
                .count()
        };
        if !schema.any_of.is_empty() && fitting(&schema.any_of) == 0 {
            self.combination(path, "must validate at least one schema (anyOf)");
        }
        if !schema.one_of.is_empty() {
            match fitting(&schema.one_of) {
                1 => {}
                0 => self.combination(
                    path,
                    "must validate one and only one schema (oneOf). Found none valid",
                ),
                n => {
                    let why = format!(
                        "must validate one and only one schema (oneOf). Found {n} valid alternatives"
                    );
                    self.combination(path, &why);
                }
            }
        }
        if schema
            .not
            .as_ref()
            .is_some_and(|not| fits(not, value, framed))
        {
            self.combination(path, "must not validate the schema (not)");
        }
    }

    fn combination(&mut self, path: &str, why: &str) {
        self.causes
            .push(Cause::invalid(path, &"".into(), &format!("{path:?} {why}")));
    }

    fn count(
        &mut self,
        (least, most): (Option<i64>, Option<i64>),
        n: usize,
        path: &str,
        what: &str,
        value: impl Fn() -> Value,
    ) {
        if let Some(least) = least.filter(|least| below(n, *least)) {
            self.invalid(
                path,
                &value(),
                &format!("should have at least {least} {what}"),
            );
        }
        if let Some(most) = most.filter(|most| above(n, *most)) {
            let message = format!("Too many: {n}: must have at most {most} {what}");
            self.causes
                .push(Cause::new("FieldValueTooMany", path, message));
        }
    }

    fn invalid(&mut self, path: &str, value: &Value, rule: &str) {
        self.causes.push(Cause::invalid(
            path,
            value,
            &format!("{path} in body {rule}"),
        ));
    }
}

/// An object in a message about its size: its content would only hide the message.
fn value_of_object() -> Value {
    "object".into()
}

fn below(n: usize, least: i64) -> bool {
    i64::try_from(n).is_ok_and(|n| n < least)
}

fn above(n: usize, most: i64) -> bool {
    i64::try_from(n).is_ok_and(|n| n > most)
}

fn fits(schema: &Schema, value: &Value, framed: bool) -> bool {
    let mut checker = Checker { causes: Vec::new() };
    checker.check(schema, value, "", framed);
    checker.causes.is_empty()
}

fn fits_kind(schema: &Schema, value: &Value) -> bool {
    let given = Kind::of(value);
    if schema.int_or_string {
        return matches!(given, Some(Kind::Integer | Kind::String));
    }
    match schema.kind {
        None => true,
        Some(Kind::Number) => matches!(given, Some(Kind::Number | Kind::Integer)),
        wanted => given == wanted,
    }
}
