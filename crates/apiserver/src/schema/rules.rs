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
use crate::schema::{Kind, PROBLEMS_MAX, Schema};

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
fn compiled(text: &str) -> Result<Program, String> {
    let program = Program::compile(text)?;
    checked(&program)?;
    Ok(program)
}

/// Refuses an expression that names what there is not.
pub(super) fn checked(program: &Program) -> Result<(), String> {
    let unknown = |name: &&String| ![SELF, OLD_SELF].contains(&name.as_str());
    match program.variables().iter().find(unknown) {
        Some(name) => Err(format!(
            "compilation failed: ERROR: undeclared reference to '{name}'"
        )),
        None => Ok(()),
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
                let earlier = schema.list.earlier(old);
                for (index, item) in list.iter().enumerate() {
                    let old = earlier.of(item);
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
        // A rule may have come later: what is as it was must not keep an object from its end.
        let same = old == Some(value);
        let applies = |rule: &&Rule| rule.applies(old.is_some()) && (rule.transition || !same);
        let rules: Vec<&Rule> = schema.rules.iter().filter(applies).collect();
        if rules.is_empty() {
            return Ok(());
        }
        let parts = n_parts(value) + old.map_or(0, n_parts);
        if let Err(spent) = self.budget.take(parts) {
            self.spent(spent, schema, (value, path));
            return Err(spent);
        }
        let read = |json: &Value| values::value(Some(schema), json);
        let before = old.map(read);
        let mut scope = self.functions.new_inner_scope();
        scope.add_variable_from_value(SELF, read(value));
        if let Some(before) = &before {
            scope.add_variable_from_value(OLD_SELF, before.clone());
        }
        for rule in rules {
            let judged = match rule.optional_old {
                true => {
                    let mut scope = scope.new_inner_scope();
                    scope.add_variable_from_value(OLD_SELF, optional(before.clone()));
                    self.judge(rule, &scope, schema, (value, path))
                }
                false => self.judge(rule, &scope, schema, (value, path)),
            };
            if let Err(spent) = judged {
                self.spent(spent, schema, (value, path));
                return Err(spent);
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        rule: &Rule,
        scope: &Context<'_>,
        schema: &Schema,
        (value, path): (&Value, &str),
    ) -> Result<(), Spent> {
        let why = match rule.holds.evaluate(scope, &mut self.budget) {
            Ok(Ok(cel::Value::Bool(true))) => return Ok(()),
            Ok(Ok(cel::Value::Bool(false))) => {
                let said = self.said(rule, scope);
                let message = said.as_ref().ok().and_then(Clone::clone);
                let message = message.unwrap_or_else(|| rule.message());
                self.causes.push(broken(rule, value, path, &message));
                return said.map(drop);
            }
            Ok(Ok(_)) => format!("rule does not evaluate to bool: {}", rule.text),
            Ok(Err(error)) => unclear(&error, &rule.text),
            Err(Spent::Call) => {
                let why = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    Spent::Call,
                    rule.text
                );
                self.causes
                    .push(Cause::invalid(path, &kind(schema, value), &why));
                return Err(Spent::Call);
            }
            Err(Spent::Object) => return Err(Spent::Object),
        };
        self.causes
            .push(Cause::invalid(path, &kind(schema, value), &why));
        Ok(())
    }

    /// Tells that all rules together cost too much; of a single one that has been told.
    fn spent(&mut self, spent: Spent, schema: &Schema, (value, path): (&Value, &str)) {
        if spent == Spent::Object {
            let why = spent.to_string();
            self.causes
                .push(Cause::invalid(path, &kind(schema, value), &why));
        }
    }

    /// What the rule's own expression says about a value that breaks it, if it has one that can be used.
    fn said(&mut self, rule: &Rule, scope: &Context<'_>) -> Result<Option<String>, Spent> {
        let Some(says) = &rule.says else {
            return Ok(None);
        };
        let said = match says.evaluate(scope, &mut self.budget)? {
            Ok(cel::Value::String(text)) => text.trim().to_owned(),
            _ => String::new(),
        };
        Ok((!said.is_empty() && !said.contains('\n')).then_some(said))
    }
}

impl Rule {
    /// What is said about a value that breaks it.
    fn message(&self) -> String {
        let message = self.message.as_deref().unwrap_or_default().trim();
        match message.is_empty() {
            true => format!("failed rule: {}", self.text.trim()),
            false => message.to_owned(),
        }
    }
}

/// The type that a value is shown as which cannot be judged.
fn kind(schema: &Schema, value: &Value) -> Value {
    schema
        .kind
        .or(Kind::of(value))
        .map_or("", Kind::name)
        .into()
}

/// How many parts a value has, itself among them.
fn n_parts(value: &Value) -> u64 {
    1 + match value {
        Value::Array(list) => list.iter().map(n_parts).sum(),
        Value::Object(fields) => fields.values().map(n_parts).sum(),
        _ => 0,
    }
}

/// What the previous value is to a rule that also applies where there is none.
fn optional(before: Option<cel::Value>) -> cel::Value {
    let optional = before.map_or_else(OptionalValue::none, OptionalValue::of);
    cel::Value::Opaque(Arc::new(optional))
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
