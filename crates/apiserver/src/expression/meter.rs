//! What an evaluation may do: each round of a loop is counted with the steps in it, and it ends when none is left.
//!
//! The library evaluates an expression to its end. So each loop is made to ask before a round whether there may be one,
//! and what makes long values of short ones asks, too. The steps are about those that kube-apiserver counts, without what
//! it adds for long texts; how long many of those take is bounded by time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::time::Duration;

use super::library::{BYTES_PER_STEP, GOOGLE, NAMESPACES, TYPES};
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use kube::core::cel::cel::{Context, ExecutionError};
use rustix::time::{ClockId, clock_gettime};

/// The most steps of one evaluation, and of all for one object, as in Kubernetes.
const CALL_STEPS_MAX: u64 = 1_000_000;
const OBJECT_STEPS_MAX: u64 = 10_000_000;
/// The longest time of them on a processor. No rule that is meant well comes near.
const CALL_LASTS_MAX: Duration = Duration::from_secs(5);
const OBJECT_LASTS_MAX: Duration = Duration::from_secs(20);
/// Names that nobody can write.
const STEPS: &str = "@steps";
pub(super) const ADD: &str = "@add";
pub(super) const COPIED: &str = "@copied";

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

impl fmt::Display for Spent {
    /// In the words of Kubernetes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "operation cancelled: actual cost limit exceeded",
            Self::Object => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
            }
        })
    }
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

    /// Takes steps for what is made before an evaluation.
    pub(crate) fn take(&mut self, steps: u64) -> Result<(), Spent> {
        self.steps = self.steps.saturating_sub(steps);
        match self.steps {
            0 => Err(Spent::Object),
            _ => Ok(()),
        }
    }

    /// Takes steps for so many bytes that are copied.
    pub(crate) fn copies(&mut self, bytes: usize) -> Result<(), Spent> {
        self.take((bytes / BYTES_PER_STEP) as u64)
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
        let lasted = processor_time().saturating_sub(begun);
        self.lasts = self.lasts.saturating_sub(lasted);
        match left {
            0 if self.steps == 0 || self.lasts.is_zero() => Err(Spent::Object),
            0 => Err(Spent::Call),
            // What it did last took too long.
            _ if lasted > CALL_LASTS_MAX => Err(Spent::Call),
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
            Expr::List(list) => {
                let steps = self.walk_all(&mut list.elements)?;
                list.elements.iter_mut().for_each(copied);
                steps
            }
            Expr::Map(map) => {
                let mut steps = 0;
                for entry in &mut map.entries {
                    steps += match &mut entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            let steps = self.walk(&mut entry.key)? + self.walk(&mut entry.value)?;
                            copied(&mut entry.key);
                            copied(&mut entry.value);
                            steps
                        }
                        EntryExpr::StructField(field) => self.walk(&mut field.value)?,
                    };
                }
                steps
            }
            Expr::Ident(name) => {
                let known = TYPES.contains(&name.as_str()) || name == GOOGLE;
                if !self.bound.contains(name) && !known {
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
            Some(target) if is_namespace(target) => {}
            Some(target) => steps += self.walk(target)?,
            None => {}
        }
        let grows =
            |left: &IdedExpr| !matches!(&left.expr, Expr::Ident(name) if name.starts_with('@'));
        // What a loop gathers grows by one in each round, which is counted.
        if call.func_name == operators::ADD && call.args.first().is_some_and(grows) {
            ADD.clone_into(&mut call.func_name);
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

fn is_namespace(part: &IdedExpr) -> bool {
    matches!(&part.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str()))
}

/// A part of a list or map that is copied there, once that is paid for; what is written out costs nothing.
fn copied(part: &mut IdedExpr) {
    if !matches!(part.expr, Expr::Literal(_)) {
        *part = node(call(COPIED, None, vec![mem::take(part)]));
    }
}

/// A part that is evaluated if so many steps may be done.
fn after(steps: u64, part: IdedExpr) -> IdedExpr {
    let steps = i64::try_from(steps).unwrap_or(i64::MAX);
    let steps = node(Expr::Literal(LiteralValue::Int(steps.into())));
    let asked = node(call(STEPS, None, vec![steps]));
    let never = node(Expr::Literal(LiteralValue::Boolean(false.into())));
    node(call(operators::CONDITIONAL, None, vec![asked, part, never]))
}

pub(super) fn call(name: &str, target: Option<IdedExpr>, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: target.map(Box::new),
        args,
    })
}

pub(super) fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// Gives a context what counts.
pub(super) fn register(context: &mut Context<'_>) {
    context.add_function(STEPS, |steps: i64| {
        take(steps.unsigned_abs()).map(|()| true)
    });
}

/// Takes steps from what the evaluation may do. What is done between two looks at the time may take long.
pub(super) fn take(steps: u64) -> Result<(), ExecutionError> {
    let mut left = LEFT.get();
    left.steps = match processor_time() > left.until {
        true => 0,
        false => left.steps.saturating_sub(steps),
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
pub(super) fn too_long() -> ExecutionError {
    LEFT.set(Left {
        steps: 0,
        until: Duration::ZERO,
    });
    refused("a value would be too long")
}
