//! What is wrong with a definition: its names, versions and schemas, in the words of `apiextensions-apiserver`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::resource;
use crate::convert;
use crate::failure::Cause;
use crate::names;
use crate::scale::Scale;
use crate::schema::structural;

/// Longest `deprecationWarning`, in bytes.
const WARNING_BYTES_MAX: usize = 256;
/// Most fields that a field selector may name.
const SELECTABLE_MAX: usize = 8;
/// What a printer column may show.
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// Says who of the community approved the kinds of a group that is Kubernetes' own.
const APPROVED: &str = "api-approved.kubernetes.io";

/// What is wrong with a definition, beyond its form.
pub(crate) fn problems(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let expected = format!(
        "{}.{}",
        text(new, "/spec/names/plural"),
        text(new, "/spec/group")
    );
    let name = text(new, "/metadata/name");
    if name != expected {
        let why = r#"must be spec.names.plural+"."+spec.group"#;
        causes.push(Cause::invalid("metadata.name", &name.into(), why));
    }
    group(new, &mut causes);
    match text(new, "/spec/scope") {
        "Cluster" | "Namespaced" => {}
        "" => causes.push(Cause::required("spec.scope", "")),
        other => {
            let known = ["Cluster", "Namespaced"];
            causes.push(Cause::unsupported("spec.scope", &other.into(), &known));
        }
    }
    let given = new.pointer("/spec/versions").and_then(Value::as_array);
    let given = given.map_or(&[][..], Vec::as_slice);
    versions(given, &mut causes);
    all_names(&new["spec"]["names"], &mut causes);
    shared_parts(given, &mut causes);
    causes.extend(convert::problems(&new["spec"]["conversion"]));
    if let Some(old) = old {
        changes(old, new, given, &mut causes);
    }
    approval(old, new, &mut causes);
    if causes.is_empty()
        && let Err(why) = resource(new)
    {
        causes.push(Cause::new("FieldValueInvalid", "spec.versions", why));
    }
    causes
}

fn group(new: &Value, causes: &mut Vec<Cause>) {
    let group = text(new, "/spec/group");
    let why = match names::check_subdomain(group) {
        _ if group.is_empty() => {
            causes.push(Cause::required("spec.group", ""));
            return;
        }
        Err(why) => why,
        Ok(()) if !group.contains('.') => "should be a domain with at least one dot".to_owned(),
        Ok(()) => return,
    };
    causes.push(Cause::invalid("spec.group", &group.into(), &why));
}

fn versions(given: &[Value], causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (n, version) in given.iter().enumerate() {
        let at = format!("spec.versions[{n}]");
        let name = version["name"].as_str().unwrap_or_default();
        if version.pointer("/schema/openAPIV3Schema").is_none() {
            let at = format!("{at}.schema.openAPIV3Schema");
            causes.push(Cause::required(at, "schemas are required"));
        }
        if let Err(why) = names::check_dns_1035(name) {
            causes.push(Cause::invalid(format!("{at}.name"), &name.into(), &why));
        }
        deprecation(version, &at, causes);
        if !seen.insert(name) {
            let why = "must contain unique version names";
            causes.push(Cause::invalid("spec.versions", &name.into(), why));
        }
    }
    let n_stored = given.iter().filter(|it| it["storage"] == true).count();
    if n_stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &n_stored.into(), why));
    }
}

fn deprecation(version: &Value, at: &str, causes: &mut Vec<Cause>) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let why = if version["deprecated"] != true {
        "can only be set for deprecated versions"
    } else if warning.len() > WARNING_BYTES_MAX {
        "must be <= 256 characters long"
    } else if warning.is_empty() {
        "must not be an empty string"
    } else if warning.chars().any(char::is_control) {
        "must only contain printable UTF-8 characters"
    } else {
        return;
    };
    let at = format!("{at}.deprecationWarning");
    causes.push(Cause::invalid(at, &warning.into(), why));
}

fn all_names(given: &Value, causes: &mut Vec<Cause>) {
    let name = |field: &str| given[field].as_str().unwrap_or_default();
    for field in ["plural", "singular", "kind", "listKind"] {
        let at = format!("spec.names.{field}");
        let name = name(field);
        if name.is_empty() {
            causes.push(Cause::required(at, ""));
            continue;
        }
        let mixed = matches!(field, "kind" | "listKind");
        let checked = match mixed {
            true => names::check_dns_1035(&name.to_lowercase())
                .map_err(|why| format!("may have mixed case, but should otherwise match: {why}")),
            false => names::check_dns_1035(name),
        };
        if let Err(why) = checked {
            causes.push(Cause::invalid(at, &name.into(), &why));
        }
    }
    for field in ["shortNames", "categories"] {
        let list = given[field].as_array();
        for (n, name) in list.into_iter().flatten().enumerate() {
            if let Err(why) = names::check_dns_1035(name.as_str().unwrap_or_default()) {
                let at = format!("spec.names.{field}[{n}]");
                causes.push(Cause::invalid(at, name, &why));
            }
        }
    }
    if !name("kind").is_empty() && name("kind") == name("listKind") {
        let why = "kind and listKind may not be the same";
        causes.push(Cause::invalid(
            "spec.names.listKind",
            &given["listKind"],
            why,
        ));
    }
}

/// What all versions say alike is named once.
fn shared_parts(given: &[Value], causes: &mut Vec<Cause>) {
    for (at, schema) in shared(given, ("schema", "validation")) {
        if let Some(schema) = schema.get("openAPIV3Schema") {
            causes.extend(structural::problems(
                schema,
                &format!("{at}.openAPIV3Schema"),
            ));
        }
    }
    for (at, parts) in shared(given, ("subresources", "subresources")) {
        if let Some(scale) = parts.get("scale") {
            causes.extend(Scale::definition_problems(scale, &format!("{at}.scale")));
        }
    }
    let columns = "additionalPrinterColumns";
    for (at, list) in shared(given, (columns, columns)) {
        for (n, column) in list.as_array().into_iter().flatten().enumerate() {
            self::column(column, &format!("{at}[{n}]"), causes);
        }
    }
    for (n, version) in given.iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        let all_alike = given.iter().all(|other| {
            ["schema", "selectableFields"]
                .iter()
                .all(|field| other[*field] == version[*field])
        });
        let at = match all_alike {
            true if n > 0 => continue,
            true => "spec.selectableFields".to_owned(),
            false => format!("spec.versions[{n}].selectableFields"),
        };
        selectable(&version["selectableFields"], schema, &at, causes);
    }
}

fn column(column: &Value, at: &str, causes: &mut Vec<Cause>) {
    let text = |field: &str| column[field].as_str().unwrap_or_default();
    if text("name").is_empty() {
        causes.push(Cause::required(format!("{at}.name"), ""));
    }
    let why = format!("must be one of {}", COLUMN_TYPES.join(","));
    match text("type") {
        "" => causes.push(Cause::required(format!("{at}.type"), &why)),
        kind if !COLUMN_TYPES.contains(&kind) => {
            causes.push(Cause::invalid(format!("{at}.type"), &kind.into(), &why));
        }
        _ => {}
    }
    let format = text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        causes.push(Cause::invalid(format!("{at}.format"), &format.into(), &why));
    }
    let path = text("jsonPath");
    if path.is_empty() {
        causes.push(Cause::required(format!("{at}.JSONPath"), ""));
    } else if !path.starts_with('.') {
        let why = "must be a simple json path starting with .";
        causes.push(Cause::invalid(format!("{at}.JSONPath"), &path.into(), why));
    }
}

fn selectable(fields: &Value, schema: &Value, at: &str, causes: &mut Vec<Cause>) {
    let list = fields.as_array().map_or(&[][..], Vec::as_slice);
    let mut seen = BTreeSet::new();
    for (n, field) in list.iter().enumerate() {
        let at = format!("{at}[{n}].jsonPath");
        let path = field["jsonPath"].as_str().unwrap_or_default();
        if path.is_empty() {
            causes.push(Cause::required(at, ""));
            continue;
        }
        let found = match field_at(path, schema) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                causes.push(Cause::invalid(&at, &path.into(), &why));
                continue;
            }
        };
        if path.starts_with(".metadata.") {
            let why = "must not point to fields in metadata";
            causes.push(Cause::invalid(&at, &path.into(), why));
        }
        if !matches!(
            found["type"].as_str(),
            Some("string" | "boolean" | "integer")
        ) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            causes.push(Cause::invalid(&at, &path.into(), why));
        }
        if !seen.insert(path) {
            let message = format!("Duplicate value: {path:?}");
            causes.push(Cause::new("FieldValueDuplicate", at, message));
        }
    }
    if seen.len() > SELECTABLE_MAX {
        let n = seen.len();
        let message = format!("Too many: {n}: must have at most {SELECTABLE_MAX} items");
        causes.push(Cause::new("FieldValueTooMany", at, message));
    }
}

/// The schema of a field that a path of names leads to (`ValidFieldPath` in `apiextensions-apiserver`).
fn field_at<'v>(path: &str, schema: &'v Value) -> Result<&'v Value, String> {
    let Some(names) = path.strip_prefix('.') else {
        let first = path.split(['.', '[', ']']).next().unwrap_or_default();
        return Err(match path.chars().next() {
            Some('[') => "array notation is not allowed".to_owned(),
            Some(']') => "expected [ or . but got: ]".to_owned(),
            _ => format!("expected [ or . but got: {first}"),
        });
    };
    if names.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    let mut steps = names.split('.');
    let found = steps.try_fold(schema, |schema, name| schema["properties"].get(name));
    found.ok_or_else(|| "does not refer to a valid field".to_owned())
}

/// What may not become of a definition.
fn changes(old: &Value, new: &Value, given: &[Value], causes: &mut Vec<Cause>) {
    let mut fixed = vec![
        ("/spec/group", "spec.group"),
        ("/spec/names/plural", "spec.names.plural"),
    ];
    // What nobody has served yet may still be corrected.
    if super::serves(old) {
        fixed.insert(0, ("/spec/scope", "spec.scope"));
        fixed.insert(1, ("/spec/names/kind", "spec.names.kind"));
    }
    for (path, field) in fixed {
        if old.pointer(path) != new.pointer(path) {
            let value = new.pointer(path).unwrap_or(&Value::Null);
            causes.push(Cause::invalid(field, value, "field is immutable"));
        }
    }
    let stored = new.pointer("/status/storedVersions");
    let stored = stored.and_then(Value::as_array);
    for (n, name) in stored.into_iter().flatten().enumerate() {
        if !given.iter().any(|version| version["name"] == *name) {
            let shown = name.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {shown} and removes {shown} from \
                 status.storedVersions"
            );
            let at = format!("status.storedVersions[{n}]");
            causes.push(Cause::invalid(at, name, &why));
        }
    }
}

/// Groups that are Kubernetes' own are not anybody's to define.
fn approval(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    let group = text(new, "/spec/group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.ends_with(&format!(".{own}")));
    let said = |definition: &Value| {
        let annotations = definition.pointer("/metadata/annotations");
        annotations.and_then(|all| all.get(APPROVED)).cloned()
    };
    if !protected || old.is_some_and(|old| said(old) == said(new)) {
        return;
    }
    let at = format!("metadata.annotations[{APPROVED}]");
    match said(new).as_ref().and_then(Value::as_str) {
        Some(approved) if approved.starts_with("unapproved") || approved.contains("://") => {}
        Some(other) => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            );
            causes.push(Cause::invalid(at, &other.into(), &why));
        }
        None => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?}, see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            );
            causes.push(Cause::required(at, &why));
        }
    }
}

/// What the versions say in one of their fields, with the path by which Kubernetes names it: what is the same in all of
/// them is said once, and may have another name there.
fn shared<'v>(versions: &'v [Value], (field, once): (&str, &str)) -> Vec<(String, &'v Value)> {
    let all: Vec<&Value> = versions.iter().map(|version| &version[field]).collect();
    match all.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => {
            vec![(format!("spec.{once}"), first)]
        }
        _ => {
            let each = all.into_iter().enumerate();
            each.map(|(n, it)| (format!("spec.versions[{n}].{field}"), it))
                .collect()
        }
    }
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    let found = value.pointer(path);
    found.and_then(Value::as_str).unwrap_or_default()
}
