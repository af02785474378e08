//! What an evaluation may do: each round of a loop is counted with the steps in it, and it ends when none is left.
//!
//! The library evaluates an expression to its end. So each loop is made to ask before a round whether there may be one,
//! and what makes values longer asks, too. The steps are about those that kube-apiserver counts, without what it adds for
//! long texts; what they leave open is bounded by time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use super::TYPES;
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use kube::core::cel::cel::extractors::{Arguments, This};
use kube::core::cel::cel::{Context, ExecutionError, Value};
use rustix::time::{ClockId, clock_gettime};

/// The most steps of one evaluation, and of all for one object, as in Kubernetes.
const CALL_STEPS_MAX: u64 = 1_000_000;
const OBJECT_STEPS_MAX: u64 = 10_000_000;
/// The longest time of them on a processor. No rule that is meant well comes near.
const CALL_LASTS_MAX: Duration = Duration::from_secs(5);
const OBJECT_LASTS_MAX: Duration = Duration::from_secs(20);
/// After how many steps the time is looked at.
const STEPS_PER_LOOK: u64 = 1024;
/// The longest text that may be made, in bytes, and the longest list.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
const LIST_ITEMS_MAX: usize = 1024 * 1024;
/// Names that nobody can write.
const STEPS: &str = "@steps";
const JOIN: &str = "@join";

thread_local! {
    /// What the evaluation that runs on this thread may still do.
    static LEFT: Cell<Left> = const { Cell::new(Left { steps: 0, until: Duration::ZERO }) };
}

#[derive(Clone, Copy)]
struct Left {
    steps: u64,
    /// By the time that this thread had on a processor.
    until: Duration,
}

/// What is left for the evaluations about one object.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    lasts: Duration,
}

/// Why an evaluation was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// It did too much.
    Call,
    /// All about the object together did.
    Object,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(OBJECT_STEPS_MAX)
    }
}

impl Budget {
    /// So many steps.
    pub(super) fn of(steps: u64) -> Self {
        Self {
            steps,
            lasts: OBJECT_LASTS_MAX,
        }
    }

    /// Evaluates something, and takes what it cost.
    pub(super) fn spend<T>(&mut self, evaluate: impl FnOnce() -> T) -> Result<T, Spent> {
        let begun = processor_time();
        let steps = self.steps.min(CALL_STEPS_MAX);
        LEFT.set(Left {
            steps,
            until: begun + self.lasts.min(CALL_LASTS_MAX),
        });
        let value = evaluate();
        let left = LEFT.get().steps;
        self.steps -= steps - left;
        self.lasts = self
            .lasts
            .saturating_sub(processor_time().saturating_sub(begun));
        match left {
            0 if self.steps == 0 || self.lasts.is_zero() => Err(Spent::Object),
            0 => Err(Spent::Call),
            _ => Ok(value),
        }
    }
}

/// Makes an expression count what it does; answers with the names that it does not define itself.
///
/// # Errors
/// What the library cannot evaluate.
pub(super) fn install(tree: &mut IdedExpr) -> Result<BTreeSet<String>, String> {
    let mut installing = Installing::default();
    let steps = installing.walk(tree)?;
    let whole = mem::take(tree);
    *tree = after(steps, whole);
    Ok(installing.free)
}

#[derive(Default)]
struct Installing {
    /// What the loops around a part define.
    bound: Vec<String>,
    free: BTreeSet<String>,
}

impl Installing {
    /// Returns the steps of a part outside of its loops.
    fn walk(&mut self, part: &mut IdedExpr) -> Result<u64, String> {
        let below = match &mut part.expr {
            Expr::Comprehension(it) => self.walk_loop(it)?,
            Expr::Struct(it) => return Err(format!("there is no message type {:?}", it.type_name)),
            Expr::Call(call) => self.walk_call(call)?,
            Expr::Select(select) => self.walk(&mut select.operand)?,
            Expr::List(list) => self.walk_all(&mut list.elements)?,
            Expr::Map(map) => {
                let mut steps = 0;
                for entry in &mut map.entries {
                    steps += match &mut entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.walk(&mut entry.key)? + self.walk(&mut entry.value)?
                        }
                        EntryExpr::StructField(field) => self.walk(&mut field.value)?,
                    };
                }
                steps
            }
            Expr::Ident(name) => {
                if !self.bound.contains(name) && !TYPES.contains(&name.as_str()) {
                    self.free.insert(name.clone());
                }
                0
            }
            Expr::Literal(_) | Expr::Unspecified => 0,
        };
        Ok(below + 1)
    }

    fn walk_all(&mut self, parts: &mut [IdedExpr]) -> Result<u64, String> {
        parts.iter_mut().map(|part| self.walk(part)).sum()
    }

    fn walk_call(&mut self, call: &mut CallExpr) -> Result<u64, String> {
        let mut steps = self.walk_all(&mut call.args)?;
        match &mut call.target {
            // The first part of a longer name, as in `math.least`.
            Some(target) if matches!(&target.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str())) =>
                {}
            Some(target) => steps += self.walk(target)?,
            None => {}
        }
        let grows =
            |left: &IdedExpr| !matches!(&left.expr, Expr::Ident(name) if name.starts_with('@'));
        // What a loop gathers grows by one in each round, which is counted.
        if call.func_name == operators::ADD && call.args.first().is_some_and(grows) {
            JOIN.clone_into(&mut call.func_name);
        }
        Ok(steps)
    }

    fn walk_loop(&mut self, it: &mut ComprehensionExpr) -> Result<u64, String> {
        let outside = self.walk(&mut it.iter_range)? + self.walk(&mut it.accu_init)?;
        let around = self.bound.len();
        self.bound
            .extend([it.iter_var.clone(), it.accu_var.clone()]);
        let inside = self.walk(&mut it.loop_cond)? + self.walk(&mut it.loop_step)?;
        let outside = outside + self.walk(&mut it.result)?;
        self.bound.truncate(around);
        it.loop_cond = after(inside, mem::take(&mut it.loop_cond));
        Ok(outside)
    }
}

/// First parts of the names of functions.
const NAMESPACES: [&str; 7] = [
    "base64",
    "format",
    "jsonpatch",
    "math",
    "optional",
    "sets",
    "strings",
];

/// A part that is evaluated if so many steps may be done.
fn after(steps: u64, part: IdedExpr) -> IdedExpr {
    let steps = i64::try_from(steps).unwrap_or(i64::MAX);
    let steps = node(Expr::Literal(LiteralValue::Int(steps.into())));
    let asked = node(call(STEPS, vec![steps]));
    let never = node(Expr::Literal(LiteralValue::Boolean(false.into())));
    node(call(operators::CONDITIONAL, vec![asked, part, never]))
}

fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    })
}

fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// Gives a context what counts.
pub(super) fn register(context: &mut Context<'_>) {
    context.add_function(STEPS, |steps: i64| {
        take(steps.unsigned_abs()).map(|()| true)
    });
    context.add_function(JOIN, joined);
    context.add_function("replace", replaced);
}

/// Takes steps from what the evaluation may do.
fn take(steps: u64) -> Result<(), ExecutionError> {
    let mut left = LEFT.get();
    let after = left.steps.saturating_sub(steps);
    let looks = left.steps / STEPS_PER_LOOK != after / STEPS_PER_LOOK;
    left.steps = match looks && processor_time() > left.until {
        true => 0,
        false => after,
    };
    LEFT.set(left);
    match left.steps {
        0 => Err(refused("too many steps")),
        _ => Ok(()),
    }
}

/// How long this thread has been on a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn refused(why: &str) -> ExecutionError {
    ExecutionError::function_error("expression", why)
}

/// Ends the evaluation because a value would be too long.
fn too_long() -> ExecutionError {
    LEFT.set(Left {
        steps: 0,
        until: Duration::ZERO,
    });
    refused("a value would be too long")
}

/// The sum of two values.
fn joined(left: Value, right: Value) -> Result<Value, ExecutionError> {
    let fits = match (&left, &right) {
        (Value::String(left), Value::String(right)) => left.len() + right.len() <= TEXT_BYTES_MAX,
        (Value::List(left), Value::List(right)) => left.len() + right.len() <= LIST_ITEMS_MAX,
        (Value::Bytes(left), Value::Bytes(right)) => left.len() + right.len() <= TEXT_BYTES_MAX,
        _ => true,
    };
    match fits {
        true => left + right,
        false => Err(too_long()),
    }
}

/// A text with another in place of a third: everywhere, or so many times.
fn replaced(This(text): This<Value>, Arguments(args): Arguments) -> Result<Value, ExecutionError> {
    let (Value::String(text), [Value::String(old), Value::String(new), most @ ..]) =
        (&text, args.as_slice())
    else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let most = match most {
        [] => usize::MAX,
        [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let times = text.matches(old.as_str()).count().min(most);
    let added = times.saturating_mul(new.len());
    if text.len().saturating_add(added) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(Value::String(
        text.replacen(old.as_str(), new, times).into(),
    ))
}
