//! How objects go: at once, or once nothing holds them any more.
//!
//! Pure functions: what dependents mean for it is decided by [`crate::collect`].

use serde_json::Value;

use crate::failure::Failure;
use crate::object::{Object, finalizers, is_deleting, meta_mut};
use crate::query::Propagation;
use crate::resource::Resource;
use crate::rules::{bump_generation, put};

/// Finalizer while dependents that block the owner are being deleted.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer while dependents are being set free.
pub(crate) const ORPHAN: &str = "orphan";

/// Preconditions of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object's uid must be this.
    pub uid: Option<String>,
    /// The object's version must be this.
    pub resource_version: Option<String>,
}

/// How an object goes.
#[derive(Debug, PartialEq)]
pub(crate) enum Deletion {
    /// At once.
    Now,
    /// Once its finalizers are gone: this is its state until then.
    Later(Box<Value>),
    /// It is being deleted already, and nothing changes.
    Already,
}

/// What a deletion does to an object.
pub(crate) fn delete(
    resource: &Resource,
    old: &Object,
    preconditions: &Preconditions,
    propagation: Option<Propagation>,
    now: &str,
) -> Result<Deletion, Failure> {
    check_preconditions(resource, old, preconditions)?;
    let before = finalizers(&old.value);
    let mut after: Vec<&str> = before
        .iter()
        .copied()
        .filter(|f| ![FOREGROUND, ORPHAN].contains(f))
        .collect();
    match propagation {
        Some(Propagation::Foreground) => after.push(FOREGROUND),
        Some(Propagation::Orphan) => after.push(ORPHAN),
        Some(Propagation::Background) => {}
        None => after.clone_from(&before),
    }
    let held_by_spec = old
        .value
        .pointer("/spec/finalizers")
        .and_then(Value::as_array);
    let is_namespace = resource.is_namespace();
    if after.is_empty() && !(is_namespace && held_by_spec.is_some_and(|list| !list.is_empty())) {
        return Ok(Deletion::Now);
    }
    if is_deleting(&old.value) && after == before {
        return Ok(Deletion::Already);
    }
    let mut value = old.value.clone();
    put(
        &mut value["metadata"],
        "finalizers",
        (!after.is_empty()).then(|| after.into()),
    );
    if !is_deleting(&old.value) {
        mark_deleting(&mut value, now, resource.traits.generation, is_namespace);
    }
    Ok(Deletion::Later(Box::new(value)))
}

fn mark_deleting(value: &mut Value, now: &str, generation: bool, is_namespace: bool) {
    let metadata = meta_mut(value);
    metadata.insert("deletionTimestamp".to_owned(), now.into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    if generation {
        bump_generation(value);
    }
    if is_namespace {
        value["status"]["phase"] = "Terminating".into();
    }
}

fn check_preconditions(
    resource: &Resource,
    old: &Object,
    wanted: &Preconditions,
) -> Result<(), Failure> {
    let have = old.revision.to_string();
    let checks = [
        ("UID", &wanted.uid, old.uid(), "deleted and then recreated"),
        (
            "ResourceVersion",
            &wanted.resource_version,
            &have,
            "modified",
        ),
    ];
    for (what, wanted, have, guess) in checks {
        if let Some(wanted) = wanted
            && wanted != have
        {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({have}). \
                The object might have been {guess}"
            );
            return Err(Failure::precondition(resource, &old.key.name, &why));
        }
    }
    Ok(())
}

/// Whether an object that is being deleted has nothing left that holds it.
pub(crate) fn is_finished(resource: &Resource, value: &Value) -> bool {
    let held_by_spec = value
        .pointer("/spec/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    is_deleting(value) && finalizers(value).is_empty() && !(resource.is_namespace() && held_by_spec)
}
