//! What makes a schema structural (KEP-1021), and its lists and maps sound: checked when a definition is written, with the
//! paths and words of `apiextensions-apiserver`.
//!
//! Works on the schema as it was given; the parsed form ([`super::Schema`]) exists only for schemas that pass.

use regex::Regex;
use serde_json::{Value, json};

use crate::failure::Cause;
use crate::schema::cost;

/// Says that a value is a whole number or a text.
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// Says that fields which no schema knows are kept.
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
/// Says that a value is an object of the API itself.
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const RULES: &str = "x-kubernetes-validations";

/// Bytes of a pattern: each can stand for a class of thousands of characters, and takes room for all of them.
const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is wrong with the schema of a version.
pub(crate) fn problems(schema: &Value, path: &str) -> Vec<Cause> {
    let mut structure = Vec::new();
    node(schema, Level::Root, path, &mut structure);
    complete(schema, schema, path, path, &mut structure);
    structure.sort_by_key(Cause::to_string);
    let mut forms = Vec::new();
    form(schema, path, true, &mut forms);
    structure.extend(forms);
    if structure.is_empty() {
        structure.extend(cost::problems(schema, path));
    }
    structure
}

fn node(schema: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    if kind == "array" && schema.get("items").is_none() {
        causes.push(Cause::required(
            format!("{path}.items"),
            "must be specified",
        ));
    }
    if let Some(items) = schema.get("items") {
        node(items, Level::Item, &format!("{path}.items"), causes);
    }
    for (name, property) in fields(schema, "properties") {
        let path = format!("{path}.properties[{name}]");
        node(property, Level::Field, &path, causes);
    }
    if let Some(additional) = schema.get("additionalProperties") {
        let path = format!("{path}.additionalProperties");
        if level == Level::Root {
            causes.push(Cause::forbidden(&path, "must not be used at the root"));
        }
        if additional.is_object() {
            node(additional, Level::Field, &path, causes);
        }
    }
    extensions(schema, path, causes);
    pattern(schema, path, causes);
    values(schema, &["anyOf", "allOf", "oneOf"], path, causes);
    typed(schema, level, path, causes);
    metadata(schema, level, path, causes);
}

/// What the types of a node must be.
fn typed(schema: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    let at = format!("{path}.type");
    if is(schema, EMBEDDED) && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(match kind {
            "" => Cause::required(at, why),
            kind => Cause::invalid(at, &kind.into(), why),
        });
    } else if kind.is_empty() && !is(schema, INT_OR_STRING) && !is(schema, PRESERVE) {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(Cause::required(at, why));
    } else if level == Level::Root && !matches!(kind, "" | "object") {
        causes.push(Cause::invalid(
            at,
            &kind.into(),
            "must be object at the root",
        ));
    }
    if is(schema, EMBEDDED) && schema.get("additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        causes.push(Cause::forbidden(
            format!("{path}.additionalProperties"),
            why,
        ));
    }
    if is(schema, EMBEDDED) && !is(schema, PRESERVE) && fields(schema, "properties").count() == 0 {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(Cause::required(format!("{path}.properties"), why));
    }
}

fn extensions(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    for extension in [PRESERVE, EMBEDDED] {
        if is(schema, INT_OR_STRING) && is(schema, extension) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            causes.push(Cause::invalid(
                format!("{path}.{extension}"),
                &true.into(),
                why,
            ));
        }
    }
}

fn pattern(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let pattern = text(schema, "pattern");
    let at = format!("{path}.pattern");
    if pattern.len() > PATTERN_BYTES_MAX {
        let why = format!("Too long: may not be more than {PATTERN_BYTES_MAX} bytes");
        return causes.push(Cause::new("FieldValueTooLong", at, why));
    }
    if let Err(error) = Regex::new(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(Cause::invalid(at, &pattern.into(), &why));
    }
}

/// What a schema may say about the parts that every object has.
fn metadata(schema: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let framed = level == Level::Root || is(schema, EMBEDDED);
    for (name, property) in fields(schema, "properties") {
        let path = format!("{path}.properties[{name}]");
        let kind = text(property, "type");
        let wanted = match name.as_str() {
            "kind" | "apiVersion" => "string",
            "metadata" => "object",
            _ => continue,
        };
        if framed && kind != wanted {
            let why = format!("must be {wanted}");
            causes.push(Cause::invalid(format!("{path}.type"), &kind.into(), &why));
        }
        if name == "metadata" && level == Level::Root && says_too_much(property) {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            causes.push(Cause::forbidden(path, why));
        }
    }
}

fn says_too_much(metadata: &Value) -> bool {
    let known = |name: &String| matches!(name.as_str(), "name" | "generateName");
    let fields = metadata.as_object().into_iter().flatten();
    let mut fields = fields.map(|(name, content)| match (name.as_str(), content) {
        ("type", _) => true,
        ("properties", Value::Object(properties)) => properties.keys().all(known),
        _ => false,
    });
    !fields.all(|fits| fits)
}

/// Schemas that only restrict values, and so may not say what the values are.
fn values(schema: &Value, junctors: &[&str], path: &str, causes: &mut Vec<Cause>) {
    for junctor in junctors {
        let list = schema.get(*junctor).and_then(Value::as_array);
        for (n, part) in list.into_iter().flatten().enumerate() {
            let exempt = is_either(schema, junctor);
            let path = format!("{path}.{junctor}[{n}]");
            nested(part, &path, exempt, causes);
        }
    }
    if let Some(not) = schema.get("not") {
        nested(not, &format!("{path}.not"), false, causes);
    }
}

/// Whether `anyOf` says what "whole number or text" means, which is allowed.
fn is_either(schema: &Value, junctor: &str) -> bool {
    junctor == "anyOf"
        && schema.get(junctor) == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

fn nested(part: &Value, path: &str, exempt: bool, causes: &mut Vec<Cause>) {
    if exempt && (part == &json!({"type": "integer"}) || part == &json!({"type": "string"})) {
        return;
    }
    values(part, &["anyOf", "allOf", "oneOf"], path, causes);
    pattern(part, path, causes);
    if let Some(items) = part.get("items") {
        nested(items, &format!("{path}.items"), false, causes);
    }
    for (name, property) in fields(part, "properties") {
        let path = format!("{path}.properties[{name}]");
        if name == "metadata" {
            let why = "must not be specified in a nested context";
            causes.push(Cause::forbidden(&path, why));
        }
        nested(property, &path, false, causes);
    }
    for (field, rule) in [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        (PRESERVE, "false"),
        (EMBEDDED, "false"),
        (INT_OR_STRING, "false"),
        (LIST_KEYS, "empty"),
        (LIST_TYPE, "undefined"),
        (MAP_TYPE, "undefined"),
        (RULES, "empty"),
    ] {
        let says = part.get(field).is_some_and(|it| *it != false && *it != "");
        if says {
            let why = format!("must be {rule} to be structural");
            causes.push(Cause::forbidden(format!("{path}.{field}"), &why));
        }
    }
}

/// What restricts values must restrict values that are described.
fn complete(part: &Value, described: &Value, at: &str, path: &str, causes: &mut Vec<Cause>) {
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|junctor| {
        let list = part.get(junctor).and_then(Value::as_array);
        let list = list.into_iter().flatten().enumerate();
        list.map(move |(n, part)| (format!("{junctor}[{n}]"), part))
    });
    let not = part.get("not").map(|part| ("not".to_owned(), part));
    for (junctor, part) in lists.chain(not) {
        let path = format!("{path}.{junctor}");
        complete(part, described, at, &path, causes);
        let items = part
            .get("items")
            .map(|items| (".items".to_owned(), items, described.get("items")));
        let properties = fields(part, "properties").map(|(name, property)| {
            let known = described.get("properties").and_then(|all| all.get(name));
            (format!(".properties[{name}]"), property, known)
        });
        for (step, part, known) in items.into_iter().chain(properties) {
            let (at, path) = (format!("{at}{step}"), format!("{path}{step}"));
            match known {
                Some(known) => complete(part, known, &at, &path, causes),
                None => {
                    let why = format!("because it is defined in {path}");
                    causes.push(Cause::required(at, &why));
                }
            }
        }
    }
}

/// Whether lists, maps and their items fit together, in a node and below it.
fn form(schema: &Value, path: &str, root: bool, causes: &mut Vec<Cause>) {
    if is(schema, "uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), why));
    }
    for unknown in [
        "$ref",
        "definitions",
        "dependencies",
        "patternProperties",
        "additionalItems",
        "id",
    ] {
        if schema.get(unknown).is_some() {
            let why = format!("{unknown} is not supported");
            causes.push(Cause::forbidden(format!("{path}.{unknown}"), &why));
        }
    }
    let additional = schema.get("additionalProperties");
    if fields(schema, "properties").count() > 0 && additional.is_some_and(|it| *it != true) {
        let why = "additionalProperties and properties are mutual exclusive";
        causes.push(Cause::forbidden(
            format!("{path}.additionalProperties"),
            why,
        ));
    }
    if root && is(schema, "nullable") {
        let why = "nullable cannot be true at the root";
        causes.push(Cause::forbidden(format!("{path}.nullable"), why));
    }
    if schema.get(PRESERVE) == Some(&Value::Bool(false)) {
        let why = "must be true or undefined";
        causes.push(Cause::invalid(
            format!("{path}.{PRESERVE}"),
            &false.into(),
            why,
        ));
    }
    map_form(schema, path, causes);
    list_form(schema, path, causes);
    for step in ["items", "additionalProperties", "not"] {
        if let Some(below) = schema.get(step).filter(|below| below.is_object()) {
            form(below, &format!("{path}.{step}"), false, causes);
        }
    }
    for (name, property) in fields(schema, "properties") {
        form(
            property,
            &format!("{path}.properties[{name}]"),
            false,
            causes,
        );
    }
}

fn map_form(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(map) = schema.get(MAP_TYPE) else {
        return;
    };
    wrong_type(schema, "object", MAP_TYPE, path, causes);
    if *map != "atomic" && *map != "granular" {
        let known = ["atomic", "granular"];
        causes.push(Cause::unsupported(
            &format!("{path}.{MAP_TYPE}"),
            map,
            &known,
        ));
    }
}

fn wrong_type(schema: &Value, wanted: &str, extension: &str, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    if kind == wanted {
        return;
    }
    let (at, why) = (
        format!("{path}.type"),
        format!("must be {wanted} if {extension} is specified"),
    );
    causes.push(match kind {
        "" => Cause::required(at, &why),
        kind => Cause::invalid(at, &kind.into(), &why),
    });
}

fn list_form(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, LIST_TYPE);
    if !kind.is_empty() {
        wrong_type(schema, "array", LIST_TYPE, path, causes);
        let known = ["atomic", "set", "map"];
        if !known.contains(&kind) {
            let at = format!("{path}.{LIST_TYPE}");
            causes.push(Cause::unsupported(&at, &kind.into(), &known));
        }
    }
    let keys = schema.get(LIST_KEYS).and_then(Value::as_array);
    if keys.is_some_and(|keys| !keys.is_empty()) && kind != "map" {
        let at = format!("{path}.{LIST_TYPE}");
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        causes.push(match kind {
            "" => Cause::required(at, why),
            kind => Cause::invalid(at, &kind.into(), why),
        });
    }
    match kind {
        "set" => set_form(schema, path, causes),
        "map" => keyed_form(schema, path, causes),
        _ => {}
    }
    if matches!(kind, "set" | "map") && is(&schema["items"], "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        causes.push(Cause::forbidden(format!("{path}.items.nullable"), &why));
    }
}

/// The values of a set are compared as wholes.
fn set_form(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let items = &schema["items"];
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (extension, atomic) = match text(items, "type") {
        "array" => (LIST_TYPE, matches!(text(items, LIST_TYPE), "" | "atomic")),
        "object" => (MAP_TYPE, text(items, MAP_TYPE) == "atomic"),
        _ => return,
    };
    if !atomic {
        let at = format!("{path}.items.{extension}");
        causes.push(Cause::invalid(at, &items[extension], why));
    }
}

/// The items of a list with keys are objects that have them.
fn keyed_form(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let keys = schema.get(LIST_KEYS).and_then(Value::as_array);
    let keys = keys.map_or(&[][..], Vec::as_slice);
    let at = format!("{path}.{LIST_KEYS}");
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        causes.push(Cause::required(&at, why));
    }
    let Some(items) = schema.get("items") else {
        let why = "must have a schema if x-kubernetes-list-type is map";
        causes.push(Cause::required(format!("{path}.items"), why));
        return;
    };
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(
            format!("{path}.items.type"),
            &items["type"],
            why,
        ));
        return;
    }
    let required = items.get("required").and_then(Value::as_array);
    for (n, key) in keys.iter().enumerate() {
        if keys[..n].contains(key) {
            let why = "must not contain duplicate entries";
            causes.push(Cause::invalid(&at, &keys.into(), why));
        }
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items.get("properties").and_then(|all| all.get(name)) else {
            let why = "entries must all be names of item properties";
            causes.push(Cause::invalid(&at, &keys.into(), why));
            continue;
        };
        let path = format!("{path}.items.properties[{name}]");
        if matches!(text(property, "type"), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(Cause::invalid(format!("{path}.type"), &items["type"], why));
        }
        if property.get("default").is_none() && !required.is_some_and(|all| all.contains(key)) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(Cause::required(format!("{path}.default"), why));
        }
        if is(property, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.push(Cause::forbidden(format!("{path}.nullable"), why));
        }
    }
}

fn is(schema: &Value, field: &str) -> bool {
    schema.get(field) == Some(&Value::Bool(true))
}

fn text<'v>(schema: &'v Value, field: &str) -> &'v str {
    schema
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn fields<'v>(
    schema: &'v Value,
    field: &str,
) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
    schema
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
