//! What a request is refused with: a Kubernetes `Status`, with the reasons, messages and causes that clients parse.
//!
//! The texts follow `k8s.io/apimachinery/pkg/api/errors`, because kubectl prints them and controllers match on reasons.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::ownership::Conflict;
use crate::resource::Resource;
use crate::store::{self, Lack};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: Cow<'static, str>,
    /// One sentence for a person.
    pub message: String,
    /// What it is about, and the causes, as in `Status.details`.
    pub details: Map<String, Value>,
    /// By which a list goes on that cannot go on as it was.
    pub continue_token: Option<String>,
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The path of the field, such as `spec.ports[0].name`.
    pub field: String,
    /// The problem without the path.
    pub message: String,
}

impl Failure {
    /// A failure about nothing in particular.
    #[must_use]
    pub fn new(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: Map::new(),
            continue_token: None,
        }
    }

    /// 400: the request itself makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404: no such object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::about(404, "NotFound", message, resource, name)
    }

    /// 404: no such path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::about(409, "AlreadyExists", message, resource, name)
    }

    /// 409: somebody wrote first, or a precondition does not hold.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = resource.qualified();
        let message = format!("Operation cannot be fulfilled on {subject} {name:?}: {why}");
        Self::about(409, "Conflict", message, resource, name)
    }

    /// 422: the parameters of a patch break their rules.
    #[must_use]
    pub(crate) fn patch_options(cause: &Cause) -> Self {
        Self::options("PatchOptions", cause)
    }

    /// 422: the parameters of a list or watch break their rules.
    #[must_use]
    pub(crate) fn list_options(cause: &Cause) -> Self {
        Self::options("ListOptions", cause)
    }

    /// 422: how something is to be deleted breaks its rules.
    #[must_use]
    pub(crate) fn delete_options(cause: &Cause) -> Self {
        Self::options("DeleteOptions", cause)
    }

    fn options(kind: &str, cause: &Cause) -> Self {
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {cause}");
        let mut failure = Self::new(422, "Invalid", message);
        failure.details = Map::from_iter([
            ("group".to_owned(), "meta.k8s.io".into()),
            ("kind".to_owned(), kind.into()),
            ("causes".to_owned(), json!([cause.json()])),
        ]);
        failure
    }

    /// 409: others own what somebody would apply.
    #[must_use]
    pub(crate) fn apply_conflict(conflicts: &[Conflict]) -> Self {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict",
            field: conflict.path.clone(),
            message: format!("conflict with {}", conflict.manager),
        };
        let told = match conflicts {
            [one] => format!("1 conflict: conflict with {}: {}", one.manager, one.path),
            many => {
                let mut paths: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                for conflict in many {
                    paths
                        .entry(&conflict.manager)
                        .or_default()
                        .push(&conflict.path);
                }
                let lines = paths.into_iter().flat_map(|(manager, paths)| {
                    let paths = paths.into_iter().map(|path| format!("- {path}"));
                    std::iter::once(format!("conflicts with {manager}:")).chain(paths)
                });
                let lines: Vec<String> = lines.collect();
                format!("{} conflicts: {}", many.len(), lines.join("\n"))
            }
        };
        let mut failure = Self::new(409, "Conflict", format!("Apply failed with {told}"));
        let causes = conflicts
            .iter()
            .map(|conflict| cause(conflict).json())
            .collect();
        failure.details.insert("causes".to_owned(), causes);
        failure
    }

    /// 409: what a deletion says of the object is not so.
    #[must_use]
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = resource.qualified_kind();
        let message = format!("Operation cannot be fulfilled on {subject} {name:?}: {why}");
        let mut failure = Self::about(409, "Conflict", message, resource, name);
        let kind = resource.kind.clone().into();
        failure.details.insert("kind".to_owned(), kind);
        failure
    }

    /// 409: the name is taken by what is about to go.
    #[must_use]
    pub(crate) fn still_exists(resource: &Resource, name: &str) -> Self {
        let failure = Self::already_exists(resource, name);
        let message = format!("object is being deleted: {}", failure.message);
        Self { message, ..failure }
    }

    /// 409: the version sent is not the current one.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 403 with the reason after the colon.
    #[must_use]
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = match name {
            "" => resource.qualified(),
            name => format!("{} {name:?}", resource.qualified()),
        };
        let message = format!("{subject} is forbidden: {why}");
        Self::about(403, "Forbidden", message, resource, name)
    }

    /// 405: the verb does not exist here.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 405: the verb does not exist for this resource.
    #[must_use]
    pub(crate) fn method_not_supported(resource: &Resource, verb: &str) -> Self {
        // Where a type is built in, it is its path that does not allow the method.
        if resource.is_built_in() {
            return Self::method_not_allowed();
        }
        let subject = resource.qualified();
        let message = format!("{verb} is not supported on resources of kind {subject:?}");
        Self::about(405, "MethodNotAllowed", message, resource, "")
    }

    /// 422: the object breaks its rules.
    #[must_use]
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let lines: Vec<String> = causes.iter().map(Cause::to_string).collect();
        let all = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {all}", resource.qualified_kind());
        let mut failure = Self::about(422, "Invalid", message, resource, name);
        failure
            .details
            .insert("kind".to_owned(), resource.kind.clone().into());
        let causes = causes.iter().map(Cause::json).collect();
        failure.details.insert("causes".to_owned(), causes);
        failure
    }

    /// 410: the version asked for is no longer kept.
    #[must_use]
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// 415: a body of a type that is not understood here.
    #[must_use]
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 503: not now; nothing was done, and it may be asked again.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message).again_in_a_second()
    }

    /// 429: later it may be possible.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message).again_in_a_second()
    }

    fn again_in_a_second(mut self) -> Self {
        let seconds = 1.into();
        self.details.insert("retryAfterSeconds".to_owned(), seconds);
        self
    }

    /// 500: storage or the server itself failed.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        let why: String = message.into();
        let message = format!("Internal error occurred: {why}");
        let mut failure = Self::new(500, "InternalError", message);
        let causes = json!([{"message": why}]);
        failure.details.insert("causes".to_owned(), causes);
        failure
    }

    /// 507 or 503 where storage lacks something and nothing was written, 500 where it takes no writes any more. Why, the
    /// log says.
    #[must_use]
    pub(crate) fn storage(error: &store::Error) -> Self {
        let Some(lack) = error.lack() else {
            return Self::internal("the server cannot store objects any more; its log says why");
        };
        let message = format!("{lack}; nothing was written");
        match lack {
            Lack::Room => Self::new(507, "InsufficientStorage", message),
            Lack::Writing => Self::new(503, "ServiceUnavailable", message),
        }
    }

    /// The failure as a `Status` document.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        if !self.reason.is_empty() {
            status["reason"] = self.reason.as_ref().into();
        }
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }

    /// The same with what is wrong with single fields.
    #[must_use]
    pub(crate) fn with_causes(mut self, causes: &[Cause]) -> Self {
        let causes: Vec<Value> = causes.iter().map(Cause::json).collect();
        self.details.insert("causes".to_owned(), causes.into());
        self
    }

    fn about(
        code: u16,
        reason: &'static str,
        message: String,
        resource: &Resource,
        name: &str,
    ) -> Self {
        let mut failure = Self::new(code, reason, message);
        for (field, value) in [
            ("name", name),
            ("group", &resource.group),
            ("kind", &resource.plural),
        ] {
            if !value.is_empty() {
                failure.details.insert(field.to_owned(), value.into());
            }
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Cause {
    /// A field that must be there and is not.
    #[must_use]
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = match detail {
            "" => "Required value".to_owned(),
            detail => format!("Required value: {detail}"),
        };
        Self::new("FieldValueRequired", field, message)
    }

    /// A field whose value is wrong.
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {}: {detail}", shown(value));
        Self::new("FieldValueInvalid", field, message)
    }

    /// A field whose value is none of those that there are.
    #[must_use]
    pub fn unsupported(field: &str, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let known = known.join(", ");
        let message = format!(
            "Unsupported value: {}: supported values: {known}",
            shown(value)
        );
        Self::new("FieldValueNotSupported", field, message)
    }

    /// A field that may not be set, or not be changed so.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// Any other problem.
    #[must_use]
    pub fn new(reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Self {
            reason,
            field: field.into(),
            message,
        }
    }

    /// Whether rules cannot be evaluated on a value with this problem (`hasBlockingErr` in `apiextensions-apiserver`).
    pub(crate) fn blocks_rules(&self) -> bool {
        matches!(
            self.reason,
            "FieldValueNotSupported"
                | "FieldValueRequired"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueTypeInvalid"
        )
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A value as it is repeated in a message; long ones are cut, because a message is read by a person.
pub(crate) fn shown(value: &Value) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    let text = match value {
        Value::String(text) => quoted(text),
        Value::Number(number) if !number.is_i64() => number
            .as_f64()
            .map_or_else(|| number.to_string(), shown_float),
        value => value.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A text in quotes, as Go writes it (`%q`).
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            char if char.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(char)))
            }
            char if char.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A number with a point, as Go writes it (`%v`).
pub(crate) fn shown_float(number: f64) -> String {
    /// From this power of ten on, the power is written.
    const POWER_MAX: i32 = 6;
    let text = format!("{number:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    match power {
        -4..POWER_MAX => number.to_string(),
        _ => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_go_shows_them() {
        let cases = [
            (json!(-7), "-7"),
            (json!(1.5), "1.5"),
            (json!(65535.0), "65535"),
            (json!(4_294_967_295.0), "4.294967295e+09"),
            (json!(u64::MAX), "1.8446744073709552e+19"),
            (json!(1e30), "1e+30"),
            (json!(0.000_01), "1e-05"),
            (
                json!("a\"\\\n\u{0}\u{7f}\u{85}ä"),
                r#""a\"\\\n\x00\x7f\u0085ä""#,
            ),
            (json!({"n": "x"}), r#"{"n":"x"}"#),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(&value), expected);
        }
    }
}
