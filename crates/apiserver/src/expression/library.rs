//! The functions of expressions: those of the library, which pay by the sizes of what they are given before they begin, and
//! some of our own in their place.

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::common::ast::{Expr, IdedExpr};
use kube::core::cel::cel::extractors::{Arguments, This};
use kube::core::cel::cel::objects::{Key, Map, OptionalValue};
use kube::core::cel::cel::{Context, ExecutionError, FunctionContext, ResolveResult, Value};
use regex::{Regex, RegexBuilder};

use super::meter::{self, call, node, too_long};

/// Names of types, which stand for themselves.
pub(super) const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];
/// What the names of further types begin with.
pub(super) const GOOGLE: &str = "google";
const DURATION: &str = "google.protobuf.Duration";
const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// First parts of the names of functions.
pub(super) const NAMESPACES: [&str; 9] = [
    "base64",
    "format",
    "ip",
    "jsonpatch",
    "lists",
    "math",
    "optional",
    "sets",
    "strings",
];

/// Functions that go over all that they are given.
const LINEAR: [&str; 24] = [
    "base64.decode",
    "base64.encode",
    "bytes",
    "charAt",
    "cidr",
    "endsWith",
    "flatten",
    "format",
    "ip",
    "isSorted",
    "jsonpatch.escapeKey",
    "lowerAscii",
    "quantity",
    "reverse",
    "semver",
    "slice",
    "sort",
    "startsWith",
    "string",
    "strings.quote",
    "substring",
    "sum",
    "trim",
    "upperAscii",
];
/// Functions that compare all with all.
const QUADRATIC: [&str; 6] = [
    "distinct",
    "indexOf",
    "lastIndexOf",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];
/// How many bytes are a step, and how many pairs of bytes.
pub(super) const BYTES_PER_STEP: usize = 16;
const PAIRS_PER_STEP: usize = 64;
/// The longest value that may be made, in bytes; no object is that long.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a place in a list and an entry of a map take at least.
const PLACE_BYTES: usize = 32;
const ENTRY_BYTES: usize = 96;
/// What a number may take when it is written down.
const NUMBER_BYTES: usize = 320;
/// The longest regular expression, and what it may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 4096;
const COMPILED_BYTES_MAX: usize = 512 * 1024;

type Function = Box<dyn Fn(&mut FunctionContext) -> ResolveResult + Send + Sync>;

thread_local! {
    /// The functions as the library has them.
    static PLAIN: Context<'static> = Context::default().with_all();
}

/// The functions that expressions may call.
pub(crate) fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    for name in LINEAR {
        let paid: Function =
            Box::new(move |call| paid(name, call, |given| bytes(given) / BYTES_PER_STEP));
        context.add_function(name, paid);
    }
    for name in QUADRATIC {
        let paid: Function = Box::new(move |call| paid(name, call, pairs));
        context.add_function(name, paid);
    }
    meter::register(&mut context);
    context.add_function(meter::ADD, added);
    context.add_function(meter::COPIED, |value: Value| {
        pay(written(&value)).map(|()| value)
    });
    context.add_function("contains", contains);
    context.add_function("find", find);
    context.add_function("findAll", find_all);
    context.add_function("join", joined);
    context.add_function("lists.range", range);
    context.add_function("matches", matches);
    context.add_function("replace", replaced);
    context.add_function("size", size);
    context.add_function("split", split);
    context.add_function("type", |value: Value| type_of(&value).to_owned());
    for name in TYPES {
        context.add_variable_from_value(name, name);
    }
    let protobuf = [("Duration", DURATION), ("Timestamp", TIMESTAMP)];
    let protobuf = HashMap::from([("protobuf", Value::Map(Map::from(HashMap::from(protobuf))))]);
    context.add_variable_from_value(GOOGLE, Value::Map(Map::from(protobuf)));
    context
}

/// A function of the library, once it is paid for.
fn paid(name: &str, call: &mut FunctionContext, steps: fn(&[Value]) -> usize) -> ResolveResult {
    let args = call.args.iter();
    let args = args.map(|arg| Value::resolve(arg, call.ptx));
    let args = args.collect::<Result<Vec<_>, _>>()?;
    let given: Vec<Value> = call.this.iter().chain(&args).cloned().collect();
    meter::take(steps(&given) as u64 + 1)?;
    let length = match (name, given.first()) {
        ("format", Some(Value::String(pattern))) => bytes(&given).saturating_add(numbers(pattern)),
        _ => bytes(&given),
    };
    match length > BYTES_MAX {
        true => Err(too_long()),
        false => plain(name, call.this.take(), args),
    }
}

fn bytes(given: &[Value]) -> usize {
    given.iter().map(written).fold(0, usize::saturating_add)
}

/// The steps of comparing all with all: items of lists, or letters of texts.
fn pairs(given: &[Value]) -> usize {
    let [one, others @ ..] = given else { return 0 };
    let other = others.first().unwrap_or(one);
    let pairs = match (one, other) {
        (Value::List(one), Value::List(other)) => one.len().saturating_mul(other.len()),
        (Value::List(_), _) => 0,
        (one, other) => written(one).saturating_mul(written(other)) / PAIRS_PER_STEP,
    };
    pairs.saturating_add(bytes(given) / BYTES_PER_STEP)
}

/// What the numbers may take that a pattern of `format` asks for.
fn numbers(pattern: &str) -> usize {
    let number = |rest: &str| {
        let digits = rest.strip_prefix('.').unwrap_or_default();
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let asked = digits[..end.unwrap_or(digits.len())].parse::<usize>();
        // Digits that are no number are too many.
        let asked = asked.unwrap_or(if end == Some(0) || digits.is_empty() {
            0
        } else {
            usize::MAX
        });
        asked.saturating_add(NUMBER_BYTES)
    };
    let verbs = pattern.split('%').skip(1);
    verbs.map(number).fold(0, usize::saturating_add)
}

/// What a function of the library reads out of a text; nobody pays for it.
pub(crate) fn read(name: &str, text: Value) -> Option<Value> {
    plain(name, None, vec![text]).ok()
}

/// What the library makes of these values.
fn plain(name: &str, this: Option<Value>, args: Vec<Value>) -> ResolveResult {
    PLAIN.with(|plain| {
        let mut scope = plain.new_inner_scope();
        let (space, name) = name.rsplit_once('.').unwrap_or(("", name));
        let target = match this {
            Some(this) => {
                scope.add_variable_from_value("@this", this);
                Some("@this")
            }
            None => (!space.is_empty()).then_some(space),
        };
        let mut parts = Vec::new();
        for (n, arg) in args.into_iter().enumerate() {
            let name = format!("@{n}");
            scope.add_variable_from_value(name.as_str(), arg);
            parts.push(ident(&name));
        }
        let target = target.map(ident);
        Value::resolve(&node(call(name, target, parts)), &scope)
    })
}

fn ident(name: &str) -> IdedExpr {
    node(Expr::Ident(name.to_owned()))
}

/// Pays for a value that is made or copied.
fn pay(bytes: usize) -> Result<(), ExecutionError> {
    meter::take((bytes / BYTES_PER_STEP) as u64)?;
    match bytes > BYTES_MAX {
        true => Err(too_long()),
        false => Ok(()),
    }
}

/// About how much room a value takes.
pub(crate) fn written(value: &Value) -> usize {
    let parts = match value {
        Value::List(list) => list.iter().map(written).sum(),
        Value::Map(map) => map.map.iter().map(entry).sum(),
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Opaque(opaque) => {
            let optional = opaque.downcast_ref::<OptionalValue>();
            optional.and_then(OptionalValue::value).map_or(0, written)
        }
        _ => 0,
    };
    parts + PLACE_BYTES
}

fn entry((key, value): (&Key, &Value)) -> usize {
    let key = match key {
        Key::String(text) => text.len(),
        _ => 0,
    };
    key + written(value) + ENTRY_BYTES
}

/// Whether one is in the other.
fn contains(This(this): This<Value>, part: Value) -> ResolveResult {
    let found = match (&this, &part) {
        (Value::Bytes(all), Value::Bytes(some)) => {
            let pairs = all.len().saturating_mul(some.len());
            meter::take((pairs / PAIRS_PER_STEP) as u64 + 1)?;
            some.is_empty() || all.windows(some.len()).any(|it| it == some.as_slice())
        }
        _ => {
            meter::take((bytes(&[this.clone(), part.clone()]) / BYTES_PER_STEP) as u64 + 1)?;
            return plain("contains", Some(this), vec![part]);
        }
    };
    Ok(Value::Bool(found))
}

/// A regular expression of bounded size.
fn pattern(text: &str, of: &str) -> Result<Regex, ExecutionError> {
    if of.len() > PATTERN_BYTES_MAX {
        return Err(too_long());
    }
    meter::take((text.len().saturating_mul(of.len()) / PAIRS_PER_STEP) as u64 + 1)?;
    let built = RegexBuilder::new(of).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| ExecutionError::function_error("matches", error))
}

fn matches(This(text): This<Arc<String>>, of: Arc<String>) -> ResolveResult {
    Ok(Value::Bool(pattern(&text, &of)?.is_match(&text)))
}

/// The first part of a text that is like that; nothing if none is.
fn find(This(text): This<Arc<String>>, of: Arc<String>) -> ResolveResult {
    let pattern = pattern(&text, &of)?;
    let found = pattern.find(&text).map_or("", |found| found.as_str());
    Ok(Value::String(found.to_owned().into()))
}

/// All parts of a text that are like that, or so many.
fn find_all(This(text): This<Arc<String>>, Arguments(args): Arguments) -> ResolveResult {
    let (of, most) = match args.as_slice() {
        [Value::String(of)] => (of, usize::MAX),
        [Value::String(of), Value::Int(most)] => (of, usize::try_from(*most).unwrap_or(usize::MAX)),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let pattern = pattern(&text, of)?;
    let mut found = Vec::new();
    for part in pattern.find_iter(&text).take(most) {
        pay(part.len() + ENTRY_BYTES)?;
        found.push(Value::String(part.as_str().to_owned().into()));
    }
    Ok(Value::List(found.into()))
}

/// The parts of a text between others, the last of so many with all that follows.
fn split(This(text): This<Arc<String>>, Arguments(args): Arguments) -> ResolveResult {
    let (between, most) = match args.as_slice() {
        [Value::String(between)] => (between, -1),
        [Value::String(between), Value::Int(most)] => (between, *most),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let pieces = text.matches(between.as_str()).count() + 1;
    pay(text
        .len()
        .saturating_add(pieces.saturating_mul(ENTRY_BYTES)))?;
    let args = vec![Value::String(between.clone()), Value::Int(most)];
    plain("split", Some(Value::String(text)), args)
}

/// Texts with another between them.
fn joined(This(list): This<Value>, Arguments(args): Arguments) -> ResolveResult {
    let Value::List(list) = &list else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let between = match args.as_slice() {
        [] => "",
        [Value::String(between)] => between,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let mut texts = Vec::with_capacity(list.len());
    for value in list.iter() {
        let Value::String(text) = value else {
            return Err(ExecutionError::NoSuchOverload);
        };
        texts.push(text.as_str());
    }
    let lengths = texts.iter();
    let lengths = lengths.map(|text| text.len().saturating_add(between.len()));
    pay(lengths.fold(0, usize::saturating_add))?;
    Ok(Value::String(texts.join(between).into()))
}

/// The numbers below one.
fn range(end: i64) -> ResolveResult {
    let n = usize::try_from(end).unwrap_or_default();
    pay(n.saturating_mul(PLACE_BYTES))?;
    Ok(Value::List(
        (0..end).map(Value::Int).collect::<Vec<_>>().into(),
    ))
}

/// How many letters a text has, or how many parts another value.
fn size(This(value): This<Value>) -> Result<i64, ExecutionError> {
    let size = match &value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.map.len(),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    i64::try_from(size).map_err(|_| too_long())
}

/// The sum of two values.
fn added(left: Value, right: Value) -> ResolveResult {
    if matches!(left, Value::String(_) | Value::List(_) | Value::Bytes(_)) {
        pay(written(&left).saturating_add(written(&right)))?;
    }
    match (left, right) {
        (Value::Bytes(left), Value::Bytes(right)) => Ok(Value::Bytes(
            [left.as_slice(), right.as_slice()].concat().into(),
        )),
        (left, right) => left + right,
    }
}

/// A text with another in place of a third: everywhere, or so many times.
fn replaced(This(text): This<Value>, Arguments(args): Arguments) -> ResolveResult {
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
    pay(text.len().saturating_add(added))?;
    Ok(Value::String(
        text.replacen(old.as_str(), new, times).into(),
    ))
}

/// The name of the type of a value, which stands for the type.
fn type_of(value: &Value) -> &str {
    match value {
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "bool",
        Value::Null => "null_type",
        Value::Duration(_) => DURATION,
        Value::Timestamp(_) => TIMESTAMP,
        Value::Opaque(opaque) => opaque.runtime_type_name(),
        Value::Function(..) => "function",
    }
}
