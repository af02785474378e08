//! From a document that somebody sends to its one form: of which kind it is, which fields are unknown or stand twice, and
//! what happens about those.

use serde_json::Value;

use super::{Frame, remove, text};
use crate::decode::lost;
use crate::failure::{Cause, Failure};
use crate::metadata;
use crate::object::{meta, meta_mut, meta_text};
use crate::ownership;
use crate::query::FieldValidation;
use crate::request::Subresource;

impl Frame<'_> {
    /// Checks the frame of a document, and brings it into its one form; answers with what the client should be warned of.
    pub(super) fn read(
        &self,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Failure> {
        let unknown = self.in_form(value, old)?;
        self.judge(unknown)
    }

    /// The same; answers with the paths of unknown fields.
    pub(super) fn in_form(
        &self,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Failure> {
        if !value.is_object() {
            return Err(Failure::bad_request("the body must be one JSON object"));
        }
        self.check_kind(value)?;
        let mut unknown = metadata::normalise(value).map_err(Failure::bad_request)?;
        if let Some(schema) = &self.version.schema {
            schema.prune(value, &mut unknown);
        }
        if let Some(complete) = self.resource.traits.complete {
            complete(value, old);
        }
        if let Some(typed) = self.version.typed {
            let read = (typed.read)(value).map_err(|why| self.unreadable(&why))?;
            lost(value, &read, "", &mut unknown);
            *value = read;
        }
        Ok(unknown)
    }

    fn check_kind(&self, value: &Value) -> Result<(), Failure> {
        let expected = self.resource.api_version(&self.version.name);
        let (api_version, kind) = (text(value.get("apiVersion")), text(value.get("kind")));
        if !api_version.is_empty() && api_version != expected {
            let message = format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            );
            return Err(Failure::bad_request(message));
        }
        if !kind.is_empty() && kind != self.resource.kind {
            let expected = &self.resource.kind;
            if !self.resource.is_built_in() {
                let cause = Cause::invalid("kind", &kind.into(), &format!("must be {expected}"));
                let name = meta_text(value, "name");
                return Err(Failure::invalid(self.resource, name, &[cause]));
            }
            let message = format!(
                "the kind in the data ({kind}) does not match the expected kind ({expected})"
            );
            return Err(Failure::bad_request(message));
        }
        Ok(())
    }

    /// What happens about unknown fields.
    pub(super) fn judge(&self, unknown: Vec<String>) -> Result<Vec<String>, Failure> {
        let lines = unknown_lines(&unknown);
        match self.validation {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Warn => Ok(lines),
            FieldValidation::Strict if lines.is_empty() => Ok(lines),
            FieldValidation::Strict => {
                Err(self.unreadable(&format!("strict decoding error: {}", lines.join(", "))))
            }
        }
    }

    pub(super) fn unknown_in_patch(&self, unknown: &[String]) -> Failure {
        let why = format!(
            "strict decoding error: {}",
            unknown_lines(unknown).join(", ")
        );
        let cause = Cause::new(
            "FieldValueInvalid",
            "patch",
            format!("Invalid value: {why}"),
        );
        Failure::new(422, "Invalid", format!(" \"\" is invalid: {cause}")).with_causes(&[cause])
    }

    fn unreadable(&self, why: &str) -> Failure {
        let (kind, version) = (&self.resource.kind, &self.version.name);
        let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
        Failure::bad_request(message)
    }

    /// What somebody applies, in the form of an object that has only the fields which he names.
    pub(crate) fn configuration(
        &self,
        mut value: Value,
        subresource: Option<Subresource>,
    ) -> Result<Value, Failure> {
        let fields = value.as_object();
        let fields =
            fields.ok_or_else(|| Failure::bad_request("the body must be one JSON object"))?;
        let (api_version, kind) = (text(fields.get("apiVersion")), text(fields.get("kind")));
        let expected = self.resource.api_version(&self.version.name);
        if (api_version, kind) != (expected.as_str(), self.resource.kind.as_str()) {
            let message = format!("invalid object type: {api_version}, Kind={kind}");
            return Err(Failure::bad_request(message));
        }
        if meta(&value).contains_key(ownership::FIELD) {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let hollow = metadata::hollow(&value);
        let mut unknown = metadata::normalise(&mut value).map_err(Failure::bad_request)?;
        if let Some(schema) = &self.version.schema {
            schema.prune(&mut value, &mut unknown);
        }
        if let Some(typed) = self.version.typed {
            let read = (typed.read)(&value).map_err(|why| self.unreadable(&why))?;
            lost(&value, &read, "", &mut unknown);
        }
        if let Some(failure) = self.undeclared(&value, &unknown) {
            return Err(failure);
        }
        // Whoever applies nothing owns it all the same.
        meta_mut(&mut value).extend(hollow);
        match subresource {
            Some(Subresource::Status) => {
                let observed =
                    |field: &str| !matches!(field, "apiVersion" | "kind" | "metadata" | "status");
                let fields = value.as_object_mut().into_iter();
                fields.for_each(|fields| fields.retain(|field, _| !observed(field)));
            }
            None if self.version.status => remove(&mut value, "status"),
            Some(
                Subresource::Approval
                | Subresource::Finalize
                | Subresource::Scale
                | Subresource::Token,
            )
            | None => {}
        }
        self.name(&mut value);
        Ok(value)
    }

    /// Nobody can own what there is not, however leniently fields are checked. As Kubernetes says it, with its code.
    fn undeclared(&self, value: &Value, unknown: &[String]) -> Option<Failure> {
        let why = match unknown {
            [] => return None,
            [path] => format!(".{path}: field not declared in schema"),
            many => {
                let lines = many.iter();
                let lines = lines.map(|path| format!("\n  .{path}: field not declared in schema"));
                format!("errors:{}", lines.collect::<String>())
            }
        };
        let (namespace, name) = (meta_text(value, "namespace"), meta_text(value, "name"));
        let (group, version) = (&self.resource.group, &self.version.name);
        let message = format!(
            "failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={}): {why}",
            self.resource.kind
        );
        Some(Failure::new(500, "", message))
    }

    /// Why a document is refused in which fields stand twice: for those, and for what is not known.
    pub(crate) fn repeated(&self, mut value: Value, repeated: Vec<String>) -> Failure {
        let lenient = Frame {
            validation: FieldValidation::Warn,
            by: None,
            ..*self
        };
        let unknown = match lenient.read(&mut value, None) {
            Ok(unknown) => unknown,
            Err(failure) => return failure,
        };
        let all = match self.version.typed {
            Some(_) => [unknown, repeated],
            // Its fields are looked at when it has been read.
            None => [repeated, unknown],
        };
        self.unreadable(&format!(
            "strict decoding error: {}",
            all.concat().join(", ")
        ))
    }
}

fn unknown_lines(paths: &[String]) -> Vec<String> {
    let line = |path: &String| format!("unknown field {path:?}");
    paths.iter().map(line).collect()
}
