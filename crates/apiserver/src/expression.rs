//! Expressions in CEL: bounded in length and depth before they are parsed, and in what they do when they are evaluated.
//! Both recurse, so they get room on the stack.

mod library;
mod meter;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kube::core::cel::cel::common::ast::IdedExpr;
use kube::core::cel::cel::{Context, ExecutionError, Program as Parsed, Value};

pub(crate) use library::{functions, read, written};
pub(crate) use meter::{Budget, Spent};

/// What makes an expression one of others. What is written with two of them counts twice.
const OPERATORS: &str = "!-+*/%?:.&|<>=([{";
/// Longest expression.
const CHARS_MAX: usize = 8_192;
/// Most brackets around one part, in any expression and in a small one.
const NESTING_MAX: usize = 32;
const NESTING_SMALL: usize = 8;
/// Most operators, which may follow each other and then nest, too.
const OPERATORS_MAX: usize = 256;
const OPERATORS_SMALL: usize = 16;
/// Room to parse any of them: their parser takes about 64 KiB for each bracket.
const PARSER_BYTES: usize = 32 * 1024 * 1024;
/// Room that is enough to go down the tree of any of them.
const ROOM_BYTES: usize = 1024 * 1024;
/// Room to evaluate any of them, about 40 KiB for each operator; for small ones there is enough.
const EVALUATION_BYTES: usize = 16 * 1024 * 1024;

/// How much room an expression needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Small,
    Large,
}

impl Size {
    /// That of an expression, if it can be parsed and evaluated at all.
    fn of(text: &str) -> Result<Self, String> {
        let chars = text.chars().count();
        if chars > CHARS_MAX {
            return Err(format!(
                "expression of {chars} characters, at most {CHARS_MAX} are evaluated"
            ));
        }
        let (mut depth, mut nesting, mut operators) = (0_usize, 0, 0_usize);
        for letter in text.chars() {
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            operators += usize::from(OPERATORS.contains(letter));
            nesting = nesting.max(depth);
        }
        operators += n_memberships(text);
        if nesting > NESTING_MAX {
            return Err(format!(
                "expression nested {nesting} deep, at most {NESTING_MAX} is evaluated"
            ));
        }
        if operators > OPERATORS_MAX {
            return Err(format!(
                "expression of {operators} operators, at most {OPERATORS_MAX} are evaluated"
            ));
        }
        match nesting > NESTING_SMALL || operators > OPERATORS_SMALL {
            true => Ok(Self::Large),
            false => Ok(Self::Small),
        }
    }

    /// Evaluates an expression of that size.
    fn evaluate<T>(self, evaluate: impl FnOnce() -> T) -> T {
        match self {
            Self::Small => evaluate(),
            Self::Large => stacker::grow(EVALUATION_BYTES, evaluate),
        }
    }
}

/// How often `in` stands in a text, the operator that is a word; the end of a longer word counts, too.
fn n_memberships(text: &str) -> usize {
    let follows = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.split("in")
        .skip(1)
        .filter(|rest| !follows(rest))
        .count()
}

/// Does something that goes down the tree of an expression.
pub(crate) fn with_room<T>(walk: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(ROOM_BYTES, PARSER_BYTES, walk)
}

/// An expression, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Program {
    tree: IdedExpr,
    size: Size,
    variables: BTreeSet<String>,
}

impl Program {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        Self::of(text, parse(text)?)
    }

    /// The same of an expression that is parsed already.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(text: &str, mut tree: IdedExpr) -> Result<Self, String> {
        let size = Size::of(text)?;
        let variables = with_room(|| meter::install(&mut tree))?;
        Ok(Self {
            tree,
            size,
            variables,
        })
    }

    /// What it names, besides what it defines itself.
    pub(crate) fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// Its value, or why there is none.
    pub(crate) fn evaluate(
        &self,
        context: &Context<'_>,
        budget: &mut Budget,
    ) -> Result<Result<Value, ExecutionError>, Spent> {
        // The library panics over some odd values: a rule that does so has none.
        let panicked = |_| {
            Err(ExecutionError::function_error(
                "expression",
                "it cannot be evaluated",
            ))
        };
        let evaluate = || {
            let evaluate = AssertUnwindSafe(|| Value::resolve(&self.tree, context));
            catch_unwind(evaluate).unwrap_or_else(panicked)
        };
        budget.spend(|| self.size.evaluate(evaluate))
    }
}

/// The tree of an expression.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<IdedExpr, String> {
    Size::of(text)?;
    let parsed = stacker::grow(PARSER_BYTES, || {
        Parsed::compile(text).map(|parsed| parsed.expression().clone())
    });
    parsed.map_err(|error| format!("compilation failed: {error}"))
}
