//! CEL rules (`x-kubernetes-validations`): evaluated at the node of the schema that has them, parents first.
//!
//! `oldSelf` is the value at the same place before, where "same" follows map keys and the keys of list maps; in other
//! lists there is no such place, and rules about transitions do not apply there.

use std::cell::OnceCell;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::core::cel::{CompiledSchema, ValidationError, Validator, compile_schema};
use serde_json::Value;

use crate::expression::{self, Size};
use crate::failure::Cause;
use crate::schema::prune::join;
use crate::schema::{Kind, List, PROBLEMS_MAX, Schema};

/// The rules of one node.
pub(super) struct Rules(CompiledSchema, Size);

thread_local! {
    /// Registering the functions of CEL takes longer than most rules.
    static VALIDATOR: OnceCell<Validator> = const { OnceCell::new() };
}

impl Rules {
    /// Compiles the rules of a node, if it has some.
    pub(super) fn parse(props: &JSONSchemaProps, path: &str) -> Result<Option<Self>, String> {
        if props
            .x_kubernetes_validations
            .as_ref()
            .is_none_or(Vec::is_empty)
        {
            return Ok(None);
        }
        let mut size = Size::Small;
        for rule in props.x_kubernetes_validations.iter().flatten() {
            for text in [Some(&rule.rule), rule.message_expression.as_ref()] {
                let given = text.map_or(Ok(Size::Small), |text| Size::of(text));
                let given = given.map_err(|why| format!("{path}.x-kubernetes-validations: {why}"));
                size = size.max(given?);
            }
        }
        let mut schema = serde_json::to_value(props).map_err(|error| format!("{path}: {error}"))?;
        for part in schema
            .as_object_mut()
            .into_iter()
            .flat_map(|fields| fields.values_mut())
        {
            strip(part, 0);
        }
        let compiled = expression::parse(|| compile_schema(&schema));
        match compiled.compilation_errors().first() {
            Some(error) => Err(format!("{path}.x-kubernetes-validations: {error}")),
            None => Ok(Some(Self(compiled, size))),
        }
    }
}

/// Takes the rules out of everything below a node: each node evaluates its own.
fn strip(value: &mut Value, depth: usize) {
    match value {
        Value::Object(fields) => {
            // A list under this key holds rules; a schema under it describes a field of that name.
            if fields
                .get("x-kubernetes-validations")
                .is_some_and(Value::is_array)
            {
                fields.remove("x-kubernetes-validations");
            }
            fields
                .values_mut()
                .for_each(|field| strip(field, depth + 1));
        }
        Value::Array(list) if depth > 0 => list.iter_mut().for_each(|item| strip(item, depth + 1)),
        _ => {}
    }
}

pub(super) fn problems(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    walk(schema, value, old, "", causes);
}

fn walk(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    if causes.len() > PROBLEMS_MAX {
        return;
    }
    if let Some(rules) = &schema.rules {
        causes.extend(
            evaluate(rules, value, old)
                .iter()
                .map(|error| cause(error, value, path)),
        );
    }
    match value {
        Value::Object(map) => {
            for (name, content) in map {
                let Some(known) = schema.field(name) else {
                    continue;
                };
                walk(
                    known,
                    content,
                    old.and_then(|old| old.get(name)),
                    &join(path, name),
                    causes,
                );
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, item) in list.iter().enumerate() {
                let old = old.and_then(|old| counterpart(&schema.list, item, old));
                walk(items, item, old, &format!("{path}[{index}]"), causes);
            }
        }
        _ => {}
    }
}

/// The item of the old list that has the same keys.
fn counterpart<'a>(list: &List, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let List::Map(keys) = list else { return None };
    let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
    old.as_array()?.iter().find(same)
}

fn evaluate(rules: &Rules, value: &Value, old: Option<&Value>) -> Vec<ValidationError> {
    VALIDATOR.with(|validator| {
        let validator = validator.get_or_init(Validator::new);
        let result = rules
            .1
            .evaluate(|| validator.validate_compiled(&rules.0, value, old));
        result
            .err()
            .map(|errors| errors.into_vec())
            .unwrap_or_default()
    })
}

fn cause(error: &ValidationError, value: &Value, path: &str) -> Cause {
    let field = match error.field_path.trim_start_matches('.') {
        "" => path.to_owned(),
        below => join(path, below),
    };
    let kind = Kind::of(value).map_or("null", Kind::name);
    match error.reason.as_deref() {
        Some("FieldValueRequired") => Cause::required(field, &error.message),
        Some("FieldValueForbidden") => Cause::forbidden(field, &error.message),
        Some("FieldValueDuplicate") => Cause::new(
            "FieldValueDuplicate",
            field,
            format!("Duplicate value: {kind:?}"),
        ),
        _ => Cause::invalid(field, &kind.into(), &error.message),
    }
}
