//! The functions of expressions: those of the library, which pay by the sizes of what they are given before they begin, and
//! some of our own in their place.

use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::common::ast::{Expr, IdedExpr};
use kube::core::cel::cel::extractors::{Arguments, This};
use kube::core::cel::cel::objects::Map;
use kube::core::cel::cel::{Context, ExecutionError, FunctionContext, ResolveResult, Value};

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
const LINEAR: [&str; 27] = [
    "base64.decode",
    "base64.encode",
    "bytes",
    "charAt",
    "cidr",
    "contains",
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
    "split",
    "startsWith",
    "string",
    "strings.quote",
    "substring",
    "sum",
    "trim",
    "upperAscii",
    "validate",
];
/// Functions that compare all with all, or compile one to look for it in the other.
const QUADRATIC: [&str; 9] = [
    "distinct",
    "find",
    "findAll",
    "indexOf",
    "lastIndexOf",
    "matches",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];
/// How many bytes are a step, and how many pairs of bytes.
const BYTES_PER_STEP: usize = 16;
const PAIRS_PER_STEP: usize = 64;
/// The longest value that may be made, in bytes; no object is that long.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a place in a list takes at least.
const PLACE_BYTES: usize = 8;

type Function = Box<dyn Fn(&mut FunctionContext) -> ResolveResult + Send + Sync>;

thread_local! {
    /// The functions as the library has them.
    static PLAIN: Context<'static> = Context::default().with_all();
}

/// The functions that expressions may call.
pub(crate) fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    for name in LINEAR {
        let paid: Function = Box::new(move |call| {
            paid(name, call, |sizes| {
                sizes.iter().sum::<usize>() / BYTES_PER_STEP
            })
        });
        context.add_function(name, paid);
    }
    for name in QUADRATIC {
        let paid: Function =
            Box::new(move |call| paid(name, call, |sizes| pairs(sizes) / PAIRS_PER_STEP));
        context.add_function(name, paid);
    }
    meter::register(&mut context);
    context.add_function(meter::ADD, added);
    context.add_function(meter::COPIED, |value: Value| {
        pay(written(&value)).map(|()| value)
    });
    context.add_function("join", joined);
    context.add_function("lists.range", range);
    context.add_function("replace", replaced);
    context.add_function("size", size);
    context.add_function("type", |value: Value| type_of(&value).to_owned());
    for name in TYPES {
        context.add_variable_from_value(name, name);
    }
    let protobuf = [("Duration", DURATION), ("Timestamp", TIMESTAMP)];
    let protobuf = std::collections::HashMap::from([(
        "protobuf",
        Value::Map(Map::from(std::collections::HashMap::from(protobuf))),
    )]);
    context.add_variable_from_value(GOOGLE, Value::Map(Map::from(protobuf)));
    context
}

/// A function of the library, once it is paid for.
fn paid(name: &str, call: &mut FunctionContext, steps: fn(&[usize]) -> usize) -> ResolveResult {
    let args = call.args.iter();
    let args = args.map(|arg| Value::resolve(arg, call.ptx));
    let args = args.collect::<Result<Vec<_>, _>>()?;
    let given = call.this.iter().chain(&args);
    let sizes: Vec<usize> = given.clone().map(written).collect();
    meter::take(steps(&sizes) as u64 + 1, true)?;
    let endless = name == "format" && given.clone().any(asks_for_digits);
    if endless || sizes.iter().sum::<usize>() > BYTES_MAX {
        return Err(too_long());
    }
    plain(name, call.this.take(), args)
}

/// All with all.
fn pairs(sizes: &[usize]) -> usize {
    match sizes {
        [one] => one.saturating_mul(*one),
        [one, others @ ..] => one.saturating_mul(others.iter().sum()),
        [] => 0,
    }
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
    meter::take((bytes / BYTES_PER_STEP) as u64, true)?;
    match bytes > BYTES_MAX {
        true => Err(too_long()),
        false => Ok(()),
    }
}

/// About how long a value is.
fn written(value: &Value) -> usize {
    let parts = match value {
        Value::List(list) => list.iter().map(written).sum(),
        Value::Map(map) => map.map.values().map(written).sum(),
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    parts + PLACE_BYTES
}

/// Whether a pattern of `format` asks for more digits than a number has.
fn asks_for_digits(pattern: &Value) -> bool {
    const DIGITS_MAX: usize = 3;
    let Value::String(text) = pattern else {
        return false;
    };
    let digits = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count();
    text.split("%.")
        .skip(1)
        .any(|rest| digits(rest) > DIGITS_MAX)
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
