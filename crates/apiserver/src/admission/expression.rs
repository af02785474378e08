//! CEL expressions about requests: what they may name, and what comes of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kube::core::cel::cel::objects::{Key, Map};
use kube::core::cel::cel::{self, Context, ExecutionError};
use serde_json::Value;

use crate::expression::{self, Budget, Program};
use crate::schema;

/// What an expression may name.
const VARIABLES: [&str; 6] = [
    "object",
    "oldObject",
    "request",
    "params",
    "namespaceObject",
    "variables",
];
/// What Kubernetes has too and this server has not.
const AUTHORIZER: [&str; 2] = ["authorizer", "authorizer.requestResource"];

/// An expression, compiled when it is first needed.
pub(crate) struct Expression {
    text: String,
    program: OnceLock<Result<Program, String>>,
}

/// What the names in expressions stand for.
pub(crate) struct Names {
    context: Context<'static>,
    /// Variables that could not be evaluated, with the reasons.
    failed: BTreeMap<String, String>,
    /// What all expressions together may still do.
    left: Mutex<Budget>,
}

impl Expression {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            program: OnceLock::new(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the expression itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.program().map(|_| ())
    }

    fn program(&self) -> Result<&Program, String> {
        let program = self.program.get_or_init(|| compiled(&self.text));
        program.as_ref().map_err(Clone::clone)
    }

    /// Its value.
    fn value(&self, names: &Names) -> Result<cel::Value, String> {
        let value = self.evaluated(names);
        value.map_err(|why| format!("expression '{}' resulted in error: {why}", self.text))
    }

    fn evaluated(&self, names: &Names) -> Result<cel::Value, String> {
        let program = self.program()?;
        let mut left = names.left.lock().unwrap_or_else(PoisonError::into_inner);
        match program.evaluate(&names.context, &mut left) {
            Ok(value) => value.map_err(|error| names.explained(&error)),
            Err(spent) => Err(spent.to_string()),
        }
    }

    /// Whether it is true.
    pub(crate) fn holds(&self, names: &Names) -> Result<bool, String> {
        match self.value(names)? {
            cel::Value::Bool(holds) => Ok(holds),
            other => Err(format!(
                "expression '{}' resulted in {}, not in bool",
                self.text,
                other.type_of()
            )),
        }
    }

    /// Its text.
    pub(crate) fn said(&self, names: &Names) -> Result<String, String> {
        match self.value(names)? {
            cel::Value::String(text) => Ok(text.to_string()),
            other => Err(format!(
                "expression '{}' resulted in {}, not in string",
                self.text,
                other.type_of()
            )),
        }
    }
}

fn compiled(text: &str) -> Result<Program, String> {
    let program = Program::compile(text)?;
    for name in program.variables() {
        if AUTHORIZER.contains(&name.as_str()) {
            return Err(format!("compilation failed: {name} is not served here"));
        }
        if !VARIABLES.contains(&name.as_str()) {
            let known = VARIABLES.join(", ");
            return Err(format!(
                "compilation failed: undeclared reference to '{name}', there are {known}"
            ));
        }
    }
    Ok(program)
}

impl Names {
    /// Names and what they stand for.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut context = expression::functions();
        for (name, value) in values {
            context.add_variable_from_value(name, schema::value(None, value));
        }
        Self {
            context,
            failed: BTreeMap::new(),
            left: Mutex::default(),
        }
    }

    /// Adds the variables of a policy, each of which may build on those before. One that fails is missing to who uses it,
    /// and to nobody else.
    pub(crate) fn define(&mut self, variables: &[(String, Expression)]) {
        let mut values = HashMap::new();
        for (name, expression) in variables {
            match expression.evaluated(self) {
                Ok(value) => drop(values.insert(Key::from(name.as_str()), value)),
                Err(why) => drop(self.failed.insert(name.clone(), why)),
            }
            let map = Arc::new(values.clone());
            let variables = cel::Value::Map(Map { map });
            // They are copied each time.
            let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
            if left.copies(expression::written(&variables)).is_err() {
                return;
            }
            self.context.add_variable_from_value("variables", variables);
        }
    }

    /// Why an expression failed that used a variable that had failed.
    fn explained(&self, error: &ExecutionError) -> String {
        if let ExecutionError::NoSuchKey(name) = error
            && let Some(why) = self.failed.get(name.as_str())
        {
            return format!("composited variable {name:?} fails to evaluate: {why}");
        }
        match error {
            ExecutionError::NoSuchKey(name) => format!("no such key: {name}"),
            // What follows the colon may show what is in an object, a Secret perhaps.
            error => {
                let text = error.to_string();
                text.split(':').next().unwrap_or_default().to_owned()
            }
        }
    }
}
