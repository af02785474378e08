//! The rules of `metadata`: what its fields look like, and which of them only the server writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::decode::lost;
use crate::failure::Cause;
use crate::object::{finalizers, is_deleting, meta, meta_mut};
use crate::resource::Resource;
use crate::{names, ownership};

/// Longest text of all annotations together, in bytes.
pub(crate) const ANNOTATION_BYTES_MAX: usize = 256 * 1024;
/// Most finalizers, and most owners, of one object.
const LIST_ITEMS_MAX: usize = 256;

/// A field that clients may send and that is not kept.
const UNUSED: &str = "selfLink";

/// Fields that only the server writes: an update keeps them as they are.
const SERVER_FIELDS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "resourceVersion",
    "uid",
];

/// Brings the metadata of a document into its one form; answers with the paths of unknown fields.
///
/// # Errors
/// When a field has the wrong type.
pub(crate) fn normalise(value: &mut Value) -> Result<Vec<String>, String> {
    let given = Value::Object(meta(value).clone());
    let typed = ObjectMeta::deserialize(&given)
        .map_err(|error| format!("metadata does not fit ObjectMeta: {error}"))?;
    let mut plain = serde_json::to_value(typed).map_err(|error| format!("metadata: {error}"))?;
    let mut unknown = Vec::new();
    lost(&given, &plain, "metadata", &mut unknown);
    if let Some(fields) = plain.as_object_mut() {
        // An empty list of managers says something: that nobody owns anything.
        fields
            .retain(|name, field| name != UNUSED && (name == ownership::FIELD || !is_empty(field)));
    }
    *meta_mut(value) = plain.as_object().cloned().unwrap_or_default();
    Ok(unknown)
}

/// Its maps that are given and empty.
pub(crate) fn hollow(value: &Value) -> Map<String, Value> {
    let given = |name: &str| {
        let field = meta(value).get(name)?;
        is_empty(field).then(|| (name.to_owned(), field.clone()))
    };
    ["annotations", "labels"]
        .into_iter()
        .filter_map(given)
        .collect()
}

fn is_empty(field: &Value) -> bool {
    match field {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Takes the fields that only the server writes from the previous state.
pub(crate) fn keep_server_fields(new: &mut Value, old: &Value) {
    for field in SERVER_FIELDS {
        copy(meta_mut(new), meta(old), field);
    }
}

pub(crate) fn copy(to: &mut Map<String, Value>, from: &Map<String, Value>, field: &str) {
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// What is wrong with the metadata of a document on its own.
pub(crate) fn problems(resource: &Resource, value: &Value, is_new: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let fields = meta(value);
    name_problems(resource, fields, is_new, &mut causes);
    causes.extend(key_problems(value));
    finalizer_problems(value, &mut causes);
    owner_problems(fields, &mut causes);
    causes
}

/// What is wrong with the keys and values of labels and annotations.
pub(crate) fn key_problems(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    label_problems(meta(value), &mut causes);
    annotation_problems(meta(value), &mut causes);
    causes
}

fn name_problems(
    resource: &Resource,
    fields: &Map<String, Value>,
    is_new: bool,
    causes: &mut Vec<Cause>,
) {
    let text = |field: &str| {
        let text = fields.get(field).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    let check = |name: &str| match (resource.is_namespace(), resource.traits.any_name) {
        (true, _) => names::check_dns_label(name),
        (false, true) => names::check_path_segment(name),
        (false, false) => names::check_subdomain(name),
    };
    let (name, begin) = (text("name"), text("generateName"));
    // What is put after it makes a dash at its end a good one.
    let begun = begin.strip_suffix('-').map(|begin| format!("{begin}a"));
    if is_new
        && !begin.is_empty()
        && let Err(why) = check(begun.as_deref().unwrap_or(begin))
    {
        causes.push(Cause::invalid("metadata.generateName", &begin.into(), &why));
    }
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    if let Err(why) = check(name) {
        causes.push(Cause::invalid("metadata.name", &name.into(), &why));
    }
}

fn label_problems(fields: &Map<String, Value>, causes: &mut Vec<Cause>) {
    for (key, value) in entries(fields, "labels") {
        if let Err(why) = names::check_label_key(key) {
            causes.push(Cause::invalid(
                "metadata.labels",
                &key.as_str().into(),
                &why,
            ));
        }
        if let Err(why) = names::check_label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.labels", value, &why));
        }
    }
}

fn annotation_problems(fields: &Map<String, Value>, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in entries(fields, "annotations") {
        bytes += key.len() + value.as_str().unwrap_or_default().len();
        if let Err(why) = names::check_label_key(&key.to_lowercase()) {
            causes.push(Cause::invalid(
                "metadata.annotations",
                &key.as_str().into(),
                &why,
            ));
        }
    }
    if bytes > ANNOTATION_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes");
        causes.push(Cause::new(
            "FieldValueTooLong",
            "metadata.annotations",
            message,
        ));
    }
}

fn finalizer_problems(value: &Value, causes: &mut Vec<Cause>) {
    let list = finalizers(value);
    for name in &list {
        if let Err(why) = names::check_label_key(name) {
            causes.push(Cause::invalid("metadata.finalizers", &(*name).into(), &why));
        }
    }
    too_many("metadata.finalizers", list.len(), causes);
    if list.contains(&"orphan") && list.contains(&"foregroundDeletion") {
        let why = "finalizers 'orphan' and 'foregroundDeletion' cannot both be set";
        causes.push(Cause::invalid("metadata.finalizers", &list.into(), why));
    }
}

fn owner_problems(fields: &Map<String, Value>, causes: &mut Vec<Cause>) {
    let owners = fields.get("ownerReferences").and_then(Value::as_array);
    let mut controller = None;
    for (index, owner) in owners.into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner
                .get(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                let path = format!("metadata.ownerReferences.{field}");
                let why = match field {
                    "apiVersion" => "version must not be empty",
                    _ => "must not be empty",
                };
                causes.push(Cause::invalid(path, &"".into(), why));
            }
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true)
            && controller.replace(index).is_some()
        {
            let why = "Only one reference can have Controller set to true";
            causes.push(Cause::invalid("metadata.ownerReferences", owner, why));
        }
    }
    too_many(
        "metadata.ownerReferences",
        owners.map_or(0, Vec::len),
        causes,
    );
}

fn too_many(field: &str, n: usize, causes: &mut Vec<Cause>) {
    if n > LIST_ITEMS_MAX {
        let message = format!("Too many: {n}: must have at most {LIST_ITEMS_MAX} items");
        causes.push(Cause::new("FieldValueTooMany", field, message));
    }
}

/// What may not become of the previous metadata.
pub(crate) fn change_problems(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["uid", "creationTimestamp"] {
        if let Some(given) = meta(new).get(field)
            && Some(given) != meta(old).get(field)
        {
            causes.push(Cause::invalid(
                format!("metadata.{field}"),
                given,
                "field is immutable",
            ));
        }
    }
    let before = finalizers(old);
    let added: Vec<&str> = finalizers(new)
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    if is_deleting(old) && !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added
                .iter()
                .map(|f| format!("{f:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
    causes
}

fn entries<'a>(
    fields: &'a Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    fields
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
