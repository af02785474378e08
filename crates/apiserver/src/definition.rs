//! The life of CustomResourceDefinitions: what makes one, what it serves, and that its objects go with it.
//!
//! A definition serves as soon as it is visible, and no longer. Those of Groma itself change only with the program.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::convert;
use crate::failure::{Cause, Failure};
use crate::names;
use crate::object::{Key, finalizers, is_deleting, meta_mut, meta_text};
use crate::registry::Registry;
use crate::resource::{Home, Resource};
use crate::scale::Scale;
use crate::state::State;

/// The finalizer that stands for the objects of a definition.
pub(crate) const CLEAN_UP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Where definitions are kept.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";

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
    let read =
        CustomResourceDefinition::deserialize(definition).map_err(|error| error.to_string())?;
    Resource::from_crd(&read)
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

/// What is wrong with a definition, beyond its form.
pub(crate) fn problems(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let text = |path: &str| {
        new.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let expected = format!("{}.{}", text("/spec/names/plural"), text("/spec/group"));
    let name = text("/metadata/name");
    if name != expected {
        let why = r#"must be spec.names.plural+"."+spec.group"#;
        causes.push(Cause::invalid("metadata.name", &name.into(), why));
    }
    let scope = text("/spec/scope");
    if !["Cluster", "Namespaced"].contains(&scope) {
        let why = "must be Cluster or Namespaced";
        causes.push(Cause::invalid("spec.scope", &scope.into(), why));
    }
    let lower_kind = text("/spec/names/kind").to_lowercase();
    for (field, name) in [
        ("spec.names.plural", text("/spec/names/plural")),
        ("spec.names.singular", text("/spec/names/singular")),
        ("spec.names.kind", lower_kind.as_str()),
    ] {
        if let Err(why) = names::check_dns_label(name) {
            causes.push(Cause::invalid(field, &name.into(), &why));
        }
    }
    if let Err(why) = names::check_subdomain(text("/spec/group")) {
        causes.push(Cause::invalid(
            "spec.group",
            &text("/spec/group").into(),
            &why,
        ));
    }
    let versions = new.pointer("/spec/versions").and_then(Value::as_array);
    let n_stored = versions
        .into_iter()
        .flatten()
        .filter(|it| it["storage"] == true)
        .count();
    if n_stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &n_stored.into(), why));
    }
    causes.extend(convert::problems(&new["spec"]["conversion"]));
    let versions = versions.map_or(&[][..], Vec::as_slice);
    for (field, parts) in shared(versions, "subresources") {
        if let Some(scale) = parts.get("scale") {
            let field = format!("{field}.scale");
            causes.extend(Scale::definition_problems(scale, &field));
        }
    }
    for (path, field) in [
        ("/spec/group", "spec.group"),
        ("/spec/scope", "spec.scope"),
        ("/spec/names/plural", "spec.names.plural"),
        ("/spec/names/kind", "spec.names.kind"),
    ] {
        if old.is_some_and(|old| old.pointer(path) != new.pointer(path)) {
            let value = new.pointer(path).unwrap_or(&Value::Null);
            causes.push(Cause::invalid(field, value, "field is immutable"));
        }
    }
    if causes.is_empty()
        && let Err(why) = resource(new)
    {
        causes.push(Cause::new("FieldValueInvalid", "spec.versions", why));
    }
    causes
}

/// What the versions say in one of their fields, with the path by which Kubernetes names it: what is the same in all of
/// them is said once.
fn shared<'v>(versions: &'v [Value], field: &str) -> Vec<(String, &'v Value)> {
    let all: Vec<&Value> = versions.iter().map(|version| &version[field]).collect();
    match all.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => {
            vec![(format!("spec.{field}"), first)]
        }
        _ => {
            let each = all.into_iter().enumerate();
            each.map(|(n, it)| (format!("spec.versions[{n}].{field}"), it))
                .collect()
        }
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
/// taken serves nothing; one that serves goes on to do so.
pub(crate) fn finish(
    registry: &Registry,
    resource: &Resource,
    mut value: Value,
    old: Option<&Value>,
    now: &str,
) -> Value {
    if !is_home(&resource.home) {
        return value;
    }
    if !registry.is_own(name(&value)) {
        if !is_deleting(&value) {
            hold(&mut value);
        }
        if let Some(annotations) = value
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(OWN);
        }
    }
    let serves = old.is_some_and(serves);
    let taken = registry.taken(&value).filter(|_| !serves);
    let before = old.map(|old| &old["status"]);
    let accepted = match &taken {
        None => condition(
            "NamesAccepted",
            true,
            "NoConflicts",
            "no conflicts found",
            now,
        ),
        Some(why) => condition("NamesAccepted", false, "NamesConflict", why, now),
    };
    let established = match taken {
        None => {
            let message = "the initial names have been accepted";
            condition("Established", true, "InitialNamesAccepted", message, now)
        }
        Some(_) => condition(
            "Established",
            false,
            "NotAccepted",
            "not all names are accepted",
            now,
        ),
    };
    let conditions = [accepted, established].map(|condition| kept(before, condition));
    let versions = value["spec"]["versions"].as_array();
    let stored = versions
        .into_iter()
        .flatten()
        .filter(|it| it["storage"] == true);
    let mut stored_versions = before.map_or_else(|| json!([]), |it| it["storedVersions"].clone());
    if let Some(list) = stored_versions.as_array_mut() {
        for version in stored {
            if !list.contains(&version["name"]) {
                list.push(version["name"].clone());
            }
        }
    }
    value["status"] = json!({
        "acceptedNames": value["spec"]["names"],
        "conditions": conditions,
        "storedVersions": stored_versions,
    });
    value
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str, now: &str) -> Value {
    json!({
        "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": now,
    })
}

/// The condition, with the time since when it has been so.
fn kept(status: Option<&Value>, mut condition: Value) -> Value {
    let all = status.and_then(|status| status["conditions"].as_array());
    let mut same = all.into_iter().flatten().filter(|before| {
        before["type"] == condition["type"] && before["status"] == condition["status"]
    });
    if let Some(before) = same.next() {
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

/// Whether its names were accepted, so that it serves.
pub(crate) fn serves(definition: &Value) -> bool {
    let conditions = definition
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it["type"] == "NamesAccepted" && it["status"] == "True")
}

/// The name of a definition.
pub(crate) fn name(definition: &Value) -> &str {
    meta_text(definition, "name")
}
