//! CEL rules (`x-kubernetes-validations`): evaluated at the node of the schema that has them, parents first.
//!
//! `oldSelf` is the value at the same place before, where "same" follows map keys and the keys of list maps; in other
//! lists there is no such place, and rules about transitions do not apply there.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};
use kube::core::cel::cel::objects::OptionalValue;
use kube::core::cel::cel::{self, Context, ExecutionError};
use serde_json::Value;

use crate::expression::{self, Budget, Program, Spent};
use crate::failure::{Cause, shown};
use crate::schema::prune::join;
use crate::schema::values;
use crate::schema::{Kind, List, PROBLEMS_MAX, Schema};

/// What rules may name.
const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";

/// One rule.
pub(super) struct Rule {
    text: String,
    holds: Program,
    message: Option<String>,
    says: Option<Program>,
    reason: Option<String>,
    /// The part of the value that it is about.
    field: Option<String>,
    /// Whether it is about how a value changes.
    transition: bool,
    /// Whether it applies to new values, too.
    optional_old: bool,
}

thread_local! {
    /// Registering the functions of CEL takes longer than most rules.
    static FUNCTIONS: Context<'static> = expression::functions();
}

/// Compiles the rules of a node.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn parse(props: &JSONSchemaProps, path: &str) -> Result<Vec<Rule>, String> {
    let rules = props.x_kubernetes_validations.iter().flatten();
    rules
        .map(Rule::parse)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("{path}.x-kubernetes-validations: {why}"))
}

impl Rule {
    fn parse(given: &ValidationRule) -> Result<Self, String> {
        let holds = compiled(&given.rule)?;
        let says = given.message_expression.as_deref().map(compiled);
        Ok(Self {
            transition: holds.variables().contains(OLD_SELF),
            optional_old: given.optional_old_self == Some(true),
            text: given.rule.clone(),
            holds,
            message: given.message.clone(),
            says: says.transpose()?,
            reason: given.reason.clone(),
            field: given.field_path.clone(),
        })
    }

    /// Whether it says something about a value that has a previous state, or none.
    fn applies(&self, changes: bool) -> bool {
        changes || self.optional_old || !self.transition
    }
}

/// An expression of a rule.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compiled(text: &str) -> Result<Program, String> {
    let program = Program::compile(text)?;
    let unknown = |name: &&String| ![SELF, OLD_SELF].contains(&name.as_str());
    match program.variables().iter().find(unknown) {
        Some(name) => Err(format!(
            "compilation failed: ERROR: undeclared reference to '{name}'"
        )),
        None => Ok(program),
    }
}

/// What of a document breaks the rules of its schema.
pub(super) fn problems(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    let budget = Budget::default();
    FUNCTIONS.with(|functions| {
        let mut judge = Judge {
            functions,
            budget,
            causes,
        };
        // Nothing more is judged once one rule has cost too much.
        let _: Result<(), Spent> = judge.walk(schema, value, old, "");
    });
}

struct Judge<'a> {
    functions: &'a Context<'static>,
    budget: Budget,
    causes: &'a mut Vec<Cause>,
}

impl Judge<'_> {
    fn walk(
        &mut self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) -> Result<(), Spent> {
        if self.causes.len() > PROBLEMS_MAX {
            return Ok(());
        }
        if !schema.rules.is_empty() && !value.is_null() {
            self.node(schema, value, old, path)?;
        }
        match value {
            Value::Object(map) => {
                for (name, content) in map {
                    let Some(known) = schema.field(name) else {
                        continue;
                    };
                    let old = old.and_then(|old| old.get(name));
                    self.walk(known, content, old, &join(path, name))?;
                }
            }
            Value::Array(list) => {
                let Some(items) = &schema.items else {
                    return Ok(());
                };
                for (index, item) in list.iter().enumerate() {
                    let old = old.and_then(|old| counterpart(&schema.list, item, old));
                    self.walk(items, item, old, &format!("{path}[{index}]"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The rules of one node.
    fn node(
        &mut self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) -> Result<(), Spent> {
        let old = old.filter(|old| !old.is_null());
        let read = |json: &Value| values::value(Some(schema), json, self.functions);
        let (now, before) = (read(value), old.map(read));
        let kind = schema.kind.or(Kind::of(value)).map_or("", Kind::name);
        for rule in schema
            .rules
            .iter()
            .filter(|rule| rule.applies(old.is_some()))
        {
            let mut scope = self.functions.new_inner_scope();
            scope.add_variable_from_value(SELF, now.clone());
            if let Some(before) = before_of(rule, before.as_ref()) {
                scope.add_variable_from_value(OLD_SELF, before);
            }
            let evaluated = rule.holds.evaluate(&scope, &mut self.budget);
            let why = match evaluated {
                Ok(Ok(cel::Value::Bool(true))) => continue,
                Ok(Ok(cel::Value::Bool(false))) => {
                    let message = self.message(rule, &scope)?;
                    self.causes.push(broken(rule, value, path, &message));
                    continue;
                }
                Ok(Ok(_)) => format!("rule does not evaluate to bool: {}", rule.text),
                Ok(Err(ref error)) => unclear(error, &rule.text),
                Err(Spent::Call) => format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.text
                ),
                Err(Spent::Object) => {
                    "validation failed due to running out of cost budget, no further validation rules will be run"
                        .to_owned()
                }
            };
            self.causes.push(Cause::invalid(path, &kind.into(), &why));
            evaluated.map(drop)?;
        }
        Ok(())
    }

    /// What is said about a broken rule.
    fn message(&mut self, rule: &Rule, scope: &Context<'_>) -> Result<String, Spent> {
        if let Some(says) = &rule.says
            && let Ok(cel::Value::String(text)) = says.evaluate(scope, &mut self.budget)?
            && !text.trim().is_empty()
            && !text.contains('\n')
        {
            return Ok(text.trim().to_owned());
        }
        let message = rule.message.as_deref().unwrap_or_default().trim();
        match message.is_empty() {
            true => Ok(format!("failed rule: {}", rule.text.trim())),
            false => Ok(message.to_owned()),
        }
    }
}

/// What the previous value is to a rule.
fn before_of(rule: &Rule, before: Option<&cel::Value>) -> Option<cel::Value> {
    if !rule.optional_old {
        return before.cloned();
    }
    let before = before.cloned();
    let optional = before.map_or_else(OptionalValue::none, OptionalValue::of);
    Some(cel::Value::Opaque(Arc::new(optional)))
}

/// The item of the old list that has the same keys.
fn counterpart<'a>(list: &List, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let List::Map(keys) = list else { return None };
    let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
    old.as_array()?.iter().find(same)
}

/// Why a rule has no value.
fn unclear(error: &ExecutionError, rule: &str) -> String {
    match error {
        ExecutionError::NoSuchOverload => format!(
            "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
        ),
        ExecutionError::NoSuchKey(key) => format!("no such key: {key} evaluating rule: {rule}"),
        error => format!("{error} evaluating rule: {rule}"),
    }
}

fn broken(rule: &Rule, value: &Value, path: &str, message: &str) -> Cause {
    let field = match &rule.field {
        Some(below) => join(path, below.trim_start_matches('.')),
        None => path.to_owned(),
    };
    // What has parts is not shown.
    let is_single = !value.is_object() && !value.is_array();
    match (rule.reason.as_deref(), is_single) {
        (Some("FieldValueRequired"), _) => Cause::required(field, message),
        (Some("FieldValueForbidden"), _) => Cause::forbidden(field, message),
        (Some("FieldValueDuplicate"), _) => {
            let message = match is_single {
                true => format!("Duplicate value: {}", shown(value)),
                false => "Duplicate value".to_owned(),
            };
            Cause::new("FieldValueDuplicate", field, message)
        }
        (_, true) => Cause::invalid(field, value, message),
        (_, false) => {
            let message = format!("Invalid value: {message}");
            Cause::new("FieldValueInvalid", field, message)
        }
    }
}
