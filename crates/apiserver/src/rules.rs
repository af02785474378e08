//! What becomes of an object when it is created or replaced: pure functions from states to states.
//!
//! They know schemas and metadata, and nothing of time, storage or other objects; what depends on those (does the
//! namespace exist?) is decided under the server's lock. How objects go is [`crate::deletion`].

mod form;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::convert::Known;
use crate::failure::{Cause, Failure};
use crate::object::{
    DEPTH_MAX, OBJECT_BYTES_MAX, Object, depth, json_bytes, meta, meta_mut, meta_text,
};
use crate::ownership::{self, Forms, Managers, Writer};
use crate::query::FieldValidation;
use crate::request::Subresource;
use crate::resource::{Resource, Version};
use crate::{metadata, namespace};

/// What the server gives a new object.
pub(crate) struct Stamp {
    pub(crate) uid: String,
    /// RFC 3339, in seconds.
    pub(crate) now: String,
    /// Follows `generateName`.
    pub(crate) suffix: String,
}

/// The frame of a write: of what, and how strictly.
pub(crate) struct Frame<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) version: &'a Version,
    pub(crate) validation: FieldValidation,
    /// Who changes it and when; `None` if the document itself says who owns what.
    pub(crate) by: Option<By>,
    /// What is known of its other versions.
    pub(crate) known: &'a Known,
}

/// Who changes an object in any other way than by applying, and when.
#[derive(Clone, Debug)]
pub(crate) struct By {
    pub(crate) writer: Writer,
    /// RFC 3339, in seconds.
    pub(crate) now: String,
    /// Whether the document may say who owned what before.
    pub(crate) may_disown: bool,
}

/// A decided document, with what the client should be warned of.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

impl Frame<'_> {
    /// The first state of an object as it is asked for: others may still change it before it is checked.
    pub(crate) fn draft(&self, mut value: Value) -> Result<Admitted, Failure> {
        let warnings = self.read(&mut value, None)?;
        if !meta_text(&value, "resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::bad_request(message));
        }
        self.wipe(&mut value);
        self.complete(&mut value);
        self.own(&mut value, None);
        Ok(Admitted { value, warnings })
    }

    /// The first state of an object, from its draft.
    pub(crate) fn create(&self, mut draft: Value, stamp: Stamp) -> Result<Value, Failure> {
        self.stamp(&mut draft, stamp);
        self.checked(draft, None)
    }

    /// The next state of an object as somebody asks for it who replaces or patches it: others may still change it before
    /// it is checked.
    pub(crate) fn redraft(
        &self,
        mut value: Value,
        old: &Object,
        subresource: Option<Subresource>,
        patched: bool,
    ) -> Result<Admitted, Failure> {
        let unknown = self.in_form(&mut value, Some(&old.value))?;
        let warnings = match (self.validation, patched, unknown.is_empty()) {
            // It is the patch that names them.
            (FieldValidation::Strict, true, false) => return Err(self.unknown_in_patch(&unknown)),
            _ => self.judge(unknown)?,
        };
        self.check_version(&value, old, patched)?;
        let name = &old.key.name;
        if !patched
            && !matches!(meta_text(&value, "uid"), "" | "undefined")
            && meta_text(&value, "uid") != old.uid()
        {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                meta_text(&value, "uid"),
                old.uid()
            );
            return Err(Failure::conflict(self.resource, name, &why));
        }
        // Of what is sent with a status, the metadata may count for nothing.
        let counts =
            subresource != Some(Subresource::Status) || self.resource.traits.status_with_metadata;
        let causes = metadata::change_problems(&value, &old.value);
        if counts && !causes.is_empty() {
            return Err(Failure::invalid(self.resource, name, &causes));
        }
        let mut value = self.keep(value, old, subresource);
        self.complete(&mut value);
        self.own(&mut value, Some(old));
        Ok(Admitted { value, warnings })
    }

    /// The next state of an object, from its draft.
    pub(crate) fn replace(&self, mut draft: Value, old: &Object) -> Result<Value, Failure> {
        self.count_generation(&mut draft, &old.value);
        if draft == *old.value || ownership::is_same_but_for_times(&draft, &old.value) {
            return Ok(old.value.clone());
        }
        self.checked(draft, Some(old))
    }

    /// A draft that others have changed, in its one form again: who owns what is not theirs to say.
    pub(crate) fn reread(
        &self,
        mut changed: Value,
        draft: &Value,
        old: Option<(&Object, Option<Subresource>)>,
    ) -> Result<Value, Failure> {
        let lenient = Frame {
            validation: FieldValidation::Ignore,
            by: None,
            ..*self
        };
        lenient.read(&mut changed, old.map(|(old, _)| &*old.value))?;
        self.check_identity(&changed, draft, old.map(|(old, _)| old))?;
        let owners = meta(draft).get(ownership::FIELD).cloned();
        match owners {
            Some(owners) => meta_mut(&mut changed).insert(ownership::FIELD.to_owned(), owners),
            None => meta_mut(&mut changed).remove(ownership::FIELD),
        };
        match old {
            Some((old, subresource)) => changed = lenient.keep(changed, old, subresource),
            None => lenient.wipe(&mut changed),
        }
        lenient.complete(&mut changed);
        Ok(changed)
    }

    /// Nobody who is asked about an object may make it another one.
    fn check_identity(
        &self,
        changed: &Value,
        draft: &Value,
        old: Option<&Object>,
    ) -> Result<(), Failure> {
        let (mut fixed, mut causes) = (vec!["namespace"], Vec::new());
        if let Some(old) = old {
            fixed.push("name");
            causes.extend(metadata::change_problems(changed, &old.value));
        }
        for field in fixed {
            let given = meta_text(changed, field);
            if given != meta_text(draft, field) {
                let (field, why) = (format!("metadata.{field}"), "field is immutable");
                causes.push(Cause::invalid(field, &given.into(), why));
            }
        }
        match causes.is_empty() {
            true => Ok(()),
            false => {
                let name = meta_text(draft, "name");
                Err(Failure::invalid(self.resource, name, &causes))
            }
        }
    }

    /// How it is owned.
    pub(crate) fn forms(&self) -> Forms<'_> {
        Forms {
            resource: self.resource,
            version: self.version,
            known: self.known,
        }
    }

    /// Takes everything from the previous state that this write may not touch.
    fn keep(&self, mut new: Value, old: &Object, subresource: Option<Subresource>) -> Value {
        match subresource {
            Some(Subresource::Status) => {
                let status = new.get_mut("status").map(Value::take);
                let metadata = new.get_mut("metadata").map(Value::take);
                new = old.value.clone();
                put(&mut new, "status", status);
                if self.resource.traits.status_with_metadata {
                    put(&mut new, "metadata", metadata);
                    metadata::keep_server_fields(&mut new, &old.value);
                } else if let (None, Some(mut metadata)) = (&self.by, metadata)
                    && let Some(owners) = metadata.get_mut(ownership::FIELD)
                {
                    meta_mut(&mut new).insert(ownership::FIELD.to_owned(), owners.take());
                }
            }
            Some(Subresource::Approval) => {
                let conditions = new.pointer_mut("/status/conditions").map(Value::take);
                new = old.value.clone();
                put(&mut new["status"], "conditions", conditions);
            }
            Some(Subresource::Finalize | Subresource::Scale | Subresource::Token) | None => {
                metadata::keep_server_fields(&mut new, &old.value);
                if self.version.status {
                    put(&mut new, "status", old.value.get("status").cloned());
                }
            }
        }
        if self.resource.is_namespace() {
            namespace::keep(&mut new, &old.value, subresource);
        }
        new
    }

    fn check_version(&self, value: &Value, old: &Object, patched: bool) -> Result<(), Failure> {
        let given = meta_text(value, "resourceVersion");
        if given.is_empty() {
            if patched || self.resource.traits.unconditional_update {
                return Ok(());
            }
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(Failure::invalid(self.resource, &old.key.name, &[cause]));
        }
        match given == old.revision.to_string() {
            true => Ok(()),
            false => Err(Failure::modified(self.resource, &old.key.name)),
        }
    }

    /// Takes what a new object cannot have yet.
    fn wipe(&self, value: &mut Value) {
        let metadata = meta_mut(value);
        for field in [
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "uid",
        ] {
            metadata.remove(field);
        }
        if self.version.status && !self.resource.traits.status_at_birth {
            remove(value, "status");
        }
    }

    fn stamp(&self, value: &mut Value, stamp: Stamp) {
        let metadata = meta_mut(value);
        if let (None, Some(prefix)) = (
            metadata.get("name"),
            metadata.get("generateName").and_then(Value::as_str),
        ) {
            let name = format!("{prefix}{}", stamp.suffix);
            metadata.insert("name".to_owned(), name.into());
        }
        metadata.insert("uid".to_owned(), stamp.uid.into());
        metadata.insert("creationTimestamp".to_owned(), stamp.now.into());
        if self.resource.traits.generation {
            metadata.insert("generation".to_owned(), 1.into());
        }
    }

    /// Writes down what it is, and what nobody said.
    fn complete(&self, value: &mut Value) {
        self.name(value);
        if let Some(schema) = &self.version.schema {
            schema.fill(value);
        }
    }

    /// The state, if it keeps its rules.
    fn checked(&self, value: Value, old: Option<&Object>) -> Result<Value, Failure> {
        // Who owns what lies deeper than what is owned.
        if depth(&value) > DEPTH_MAX {
            let message = format!("the object would be nested more than {DEPTH_MAX} deep");
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        let size = json_bytes(&value);
        if size > OBJECT_BYTES_MAX {
            let message = format!(
                "the object would be {size} bytes long, at most {OBJECT_BYTES_MAX} are kept"
            );
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        let causes = self.problems(&value, old);
        match causes.is_empty() {
            true => Ok(value),
            false => {
                let name = meta_text(&value, "name");
                Err(Failure::invalid(self.resource, name, &causes))
            }
        }
    }

    /// Writes down what it is.
    fn name(&self, value: &mut Value) {
        let api_version = self.resource.api_version(&self.version.name);
        put(value, "apiVersion", Some(api_version.into()));
        put(value, "kind", Some(self.resource.kind.clone().into()));
    }

    /// Writes down who owns what now, unless the document says it.
    fn own(&self, value: &mut Value, old: Option<&Object>) {
        let Some(By {
            writer,
            now,
            may_disown,
        }) = &self.by
        else {
            return;
        };
        let given = meta_mut(value).remove(ownership::FIELD);
        let given = given.filter(|_| *may_disown);
        let old = old.map(|old| &*old.value);
        let kept = old.and_then(|old| meta(old).get(ownership::FIELD));
        if let Some(kept) = kept.filter(|kept| given.as_ref().is_none_or(|given| given == *kept)) {
            meta_mut(value).insert(ownership::FIELD.to_owned(), kept.clone());
            if old == Some(&*value) {
                return;
            }
        }
        let before = Managers::before(given.as_ref(), kept);
        // Who changes what nobody owns does not own it either, as in Kubernetes.
        if before.is_empty() && old.is_some() {
            before.write(value);
            return;
        }
        let blank = old
            .is_none()
            .then(|| ownership::blank(self.resource, self.version));
        let old = old.or(blank.as_ref()).unwrap_or(&Value::Null);
        let updated = ownership::updated(
            self.forms(),
            old,
            value,
            before.clone(),
            writer.clone(),
            now,
        );
        // What has no fields to own is refused by its schema.
        updated.unwrap_or(before).write(value);
    }

    fn problems(&self, value: &Value, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = metadata::problems(self.resource, value, old.is_none());
        if let Some(problems) = self.resource.traits.problems {
            causes.extend(problems(old.map(|old| &*old.value), value));
        }
        if let (Some(fixed), Some(old)) = (self.resource.traits.fixed, old) {
            causes.extend(fixed(&old.value, value));
        }
        if let Some(scale) = &self.version.scale {
            causes.extend(scale.problems(value, old.map(|old| &*old.value)));
        }
        if let Some(schema) = &self.version.schema {
            let old = old.map(|old| &*old.value);
            causes.extend(schema.problems(value, old, self.version.status));
        }
        causes
    }

    fn count_generation(&self, new: &mut Value, old: &Value) {
        if self.resource.traits.generation && self.content(new) != self.content(old) {
            bump_generation(new);
        }
    }

    /// All that a user wants: everything but metadata and what is only observed.
    fn content<'v>(&self, value: &'v Value) -> Vec<(&'v String, &'v Value)> {
        let observed =
            |field: &str| field == "metadata" || (field == "status" && self.version.status);
        value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(field, _)| !observed(field))
            .collect()
    }
}

pub(crate) fn bump_generation(value: &mut Value) {
    let generation = meta(value)
        .get("generation")
        .and_then(Value::as_i64)
        .unwrap_or(0)
        + 1;
    meta_mut(value).insert("generation".to_owned(), generation.into());
}

pub(crate) fn put(value: &mut Value, field: &str, content: Option<Value>) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    match content {
        Some(content) => fields.insert(field.to_owned(), content),
        None => fields.remove(field),
    };
}

fn remove(value: &mut Value, field: &str) {
    put(value, field, None);
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
