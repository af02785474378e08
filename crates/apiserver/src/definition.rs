//! The life of CustomResourceDefinitions: what makes one, what it serves, and that its objects go with it.
//!
//! A definition serves as soon as it is visible, and no longer. Those of Groma itself change only with the program.

mod check;
mod naming;

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::builtin::typed;
use crate::engine::{Engine, Outcome};
use crate::failure::Failure;
use crate::object::{Key, Object, finalizers, is_deleting, meta_mut, meta_text};
use crate::registry::Registry;
use crate::resource::{Home, Resource};
use crate::selection::Selection;
use crate::state::State;

pub(crate) use check::problems;
use naming::Taken;

/// The finalizer that stands for the objects of a definition.
pub(crate) const CLEAN_UP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Where definitions are kept.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";
/// What schemas say of numbers.
pub(crate) const LIMITS: [&str; 3] = ["maximum", "minimum", "multipleOf"];

/// Whether an object that is kept there is a definition.
pub(crate) fn is_definition(key: &Key) -> bool {
    is_home(&key.home)
}

fn is_home(home: &Home) -> bool {
    home.group == GROUP && home.plural == PLURAL
}

/// The resource that a definition describes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn resource(definition: &Value) -> Result<Resource, String> {
    let mut read =
        CustomResourceDefinition::deserialize(definition).map_err(|error| error.to_string())?;
    // It is called by the names that it got, which may be fewer than it wants.
    if let Some(names) = read
        .status
        .as_mut()
        .and_then(|status| status.accepted_names.take())
        && !names.plural.is_empty()
        && !names.kind.is_empty()
    {
        read.spec.names = names;
    }
    Resource::from_crd(&read)
}

/// A definition as its type writes it.
pub(crate) fn read(given: &Value) -> Result<Value, String> {
    let mut written = (typed::<CustomResourceDefinition>().read)(given)?;
    limit_by_whole_numbers(&mut written);
    Ok(written)
}

/// Limits of values are floats, and whole ones are written without a point in Kubernetes: who applies `0` must find that
/// it is there already.
fn limit_by_whole_numbers(written: &mut Value) {
    match written {
        Value::Object(fields) => {
            for (name, field) in fields {
                if LIMITS.contains(&name.as_str()) {
                    whole(field);
                }
                // There may be a property of that name.
                limit_by_whole_numbers(field);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(limit_by_whole_numbers),
        _ => {}
    }
}

/// Writes a whole number without a point; what is no number stays.
pub(crate) fn whole(number: &mut Value) {
    let float = number.as_f64().filter(|float| float.fract() == 0.0);
    if let Some(Ok(whole)) = float.map(|float| format!("{float:.0}").parse::<i64>()) {
        *number = whole.into();
    }
}

/// Fills in what follows from the rest.
pub(crate) fn complete(definition: &mut Value, _: Option<&Value>) {
    let Some(kind) = definition
        .pointer("/spec/names/kind")
        .and_then(Value::as_str)
    else {
        return;
    };
    let (singular, list) = (kind.to_lowercase(), format!("{kind}List"));
    let spec = &mut definition["spec"];
    let names = &mut spec["names"];
    for (field, default) in [("singular", singular), ("listKind", list)] {
        if names
            .get(field)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            names[field] = default.into();
        }
    }
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// Lets a definition wait for its objects when it goes.
fn hold(value: &mut Value) {
    let held = finalizers(value);
    if !held.contains(&CLEAN_UP) {
        let held: Vec<String> = held
            .into_iter()
            .chain([CLEAN_UP])
            .map(str::to_owned)
            .collect();
        meta_mut(value).insert("finalizers".to_owned(), held.into());
    }
}

/// Gives a definition what only the server says: that it waits for its objects, and its status. One whose names are
/// taken serves nothing; one that serves goes on to do so. Called under the lock, just before the write, so that no two
/// get the same name.
pub(crate) fn finish(
    state: &State,
    registry: &Registry,
    key: &Key,
    outcome: &mut Outcome,
    now: &str,
) {
    let Outcome::Set(value) = outcome else { return };
    if !is_definition(key) {
        return;
    }
    if !registry.is_own(&key.name) {
        if !is_deleting(value) {
            hold(value);
        }
        if let Some(annotations) = value
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(OWN);
        }
    }
    let old = state.latest(key);
    let before = old
        .as_ref()
        .map_or(&Value::Null, |old| &old.value["status"]);
    let taken = match registry.is_own(&key.name) {
        // What the program brings, it gets.
        true => Taken::default(),
        false => taken(state, registry, key, &home(value).group),
    };
    let status = status(value, before, &taken, now);
    value["status"] = status;
    if let Some(old) = old.filter(|old| *old.value == *value) {
        *outcome = match is_deleting(&old.value) && finalizers(&old.value).is_empty() {
            true => Outcome::Remove(old.value.clone()),
            false => Outcome::Keep,
        };
    }
}

/// The names that others of the group have.
fn taken(state: &State, registry: &Registry, key: &Key, group: &str) -> Taken {
    let mut taken = Taken::default();
    for other in state.latest_at(&key.home) {
        if other.key.name != key.name && home(&other.value).group == group {
            taken.add(&other.value["status"]["acceptedNames"]);
        }
    }
    let built_in = registry
        .all()
        .filter(|it| it.group == group && it.is_built_in());
    for resource in built_in {
        taken.add(&json!({
            "plural": resource.plural, "singular": resource.singular, "kind": resource.kind,
            "listKind": resource.list_kind, "shortNames": resource.short_names,
        }));
    }
    taken
}

/// The status of a definition: what it said before, with the names and conditions that only the server gives.
fn status(value: &Value, before: &Value, taken: &Taken, now: &str) -> Value {
    let given = naming::give(&value["spec"]["names"], &before["acceptedNames"], taken);
    let accepted = match &given.conflict {
        None => condition(
            "NamesAccepted",
            true,
            "NoConflicts",
            "no conflicts found",
            now,
        ),
        Some(conflict) => condition(
            "NamesAccepted",
            false,
            conflict.reason,
            &conflict.message,
            now,
        ),
    };
    let established = match (found(before, "Established"), &given.conflict) {
        // Whoever serves goes on to do so by the names that it has.
        (Some(before), _) if before["status"] == "True" => before.clone(),
        (_, None) => {
            let message = "the initial names have been accepted";
            condition("Established", true, "InitialNamesAccepted", message, now)
        }
        (_, Some(_)) => {
            let message = "not all names are accepted";
            condition("Established", false, "NotAccepted", message, now)
        }
    };
    let said = &value["status"];
    let mut conditions = said["conditions"].as_array().cloned().unwrap_or_default();
    for condition in [accepted, established] {
        let condition = kept(before, condition);
        let same = |other: &&mut Value| other["type"] == condition["type"];
        match conditions.iter_mut().find(same) {
            Some(other) => *other = condition,
            None => conditions.push(condition),
        }
    }
    json!({
        "acceptedNames": given.names, "conditions": conditions, "storedVersions": stored_versions(value),
    })
}

/// In which versions objects may be stored: all that were ever the stored one, until somebody says that none is left.
fn stored_versions(value: &Value) -> Vec<Value> {
    let said = value.pointer("/status/storedVersions");
    let mut stored = said.and_then(Value::as_array).cloned().unwrap_or_default();
    let versions = value["spec"]["versions"].as_array().into_iter().flatten();
    for version in versions.filter(|it| it["storage"] == true) {
        if !stored.contains(&version["name"]) {
            stored.push(version["name"].clone());
        }
    }
    stored
}

/// Looks again at the definitions that did not get their names: others may have given them up.
pub(crate) fn reconsider(engine: &Arc<Engine>) {
    let registry = engine.registry();
    let Some(resource) = registry.get(GROUP, PLURAL) else {
        return;
    };
    let refused = |object: &Arc<Object>| {
        found(&object.value["status"], "NamesAccepted").is_none_or(|it| it["status"] != "True")
    };
    let all = {
        let state = engine.state();
        state
            .objects
            .select(&Selection::all(resource.home.clone()), None)
    };
    for object in all.iter().filter(|object| refused(object)) {
        let now = engine.now();
        let again = |old: Option<&Arc<Object>>| match old {
            Some(old) => Ok(Outcome::Set(old.value.clone())),
            None => Err(Failure::not_found(resource, &object.key.name)),
        };
        let decided = engine.decide(&object.key, again, |state, outcome| {
            finish(state, &registry, &object.key, outcome, &now);
            Ok(())
        });
        // One that is gone needs no names.
        if let Err(failure) = decided
            && failure.code != 404
        {
            tracing::warn!(
                name = object.key.name,
                why = failure.message,
                "a definition was not looked at again"
            );
        }
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str, now: &str) -> Value {
    json!({
        "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": now,
    })
}

/// The condition of that type.
fn found<'v>(status: &'v Value, kind: &str) -> Option<&'v Value> {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.into_iter().find(|condition| condition["type"] == kind)
}

/// The condition, with the time since when it has been so.
fn kept(status: &Value, mut condition: Value) -> Value {
    let kind = condition["type"].as_str().unwrap_or_default().to_owned();
    let before = found(status, &kind).filter(|before| before["status"] == condition["status"]);
    if let Some(before) = before {
        condition["lastTransitionTime"] = before["lastTransitionTime"].clone();
    }
    condition
}

/// Marks the definitions that the program itself brings.
pub(crate) const OWN: &str = "groma.dev/own";

/// Whether a stored definition was brought by an earlier program and is not by this one.
pub(crate) fn is_former(registry: &Registry, definition: &Value) -> bool {
    let own = definition
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(OWN));
    own.is_some() && !registry.is_own(name(definition))
}

/// Whether a user may change that definition, or make it go.
pub(crate) fn may_change(
    registry: &Registry,
    resource: &Resource,
    key: &Key,
) -> Result<(), Failure> {
    if is_definition(key) && registry.is_own(&key.name) {
        let why = "this definition is Groma's own and changes with the program";
        return Err(Failure::forbidden(resource, &key.name, why));
    }
    Ok(())
}

/// Whether an object may be created: not without its definition, and not while that is being deleted.
pub(crate) fn admits(
    state: &State,
    registry: &Registry,
    resource: &Resource,
) -> Result<(), Failure> {
    let name = resource.home.definition();
    if resource.is_built_in() || registry.is_own(&name) {
        return Ok(());
    }
    let definitions = registry
        .get(GROUP, PLURAL)
        .ok_or_else(Failure::no_such_path)?;
    match state.latest(&definitions.key("", &name)) {
        Some(definition) if is_deleting(&definition.value) => {
            let why = "create not allowed while custom resource definition is terminating";
            Err(Failure::new(405, "MethodNotAllowed", why))
        }
        Some(definition) if serves(&definition.value) => Ok(()),
        // It went while the request was on its way.
        _ => Err(Failure::no_such_path()),
    }
}

/// Where the objects of a definition are kept.
pub(crate) fn home(definition: &Value) -> Home {
    let text = |path: &str| {
        definition
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Home {
        group: text("/spec/group"),
        plural: text("/spec/names/plural"),
    }
}

/// Whether it serves: its names were accepted once.
pub(crate) fn serves(definition: &Value) -> bool {
    found(&definition["status"], "Established").is_some_and(|it| it["status"] == "True")
}

/// The name of a definition.
pub(crate) fn name(definition: &Value) -> &str {
    meta_text(definition, "name")
}
