//! OpenAPI v2: one document for everything that is served, made from those of v3.
//!
//! Version 2 has no `oneOf`, no null and no objects with both known and unknown fields, and kubectl understands less than
//! that. What cannot be said is left out, by the rules of `apiextensions-apiserver` (`pkg/controller/openapi/v2`).

use serde_json::{Map, Value, json};

use super::schemas::{COMPONENTS, KIND, SELECTABLE};

/// What references to schemas begin with here.
const DEFINITIONS: &str = "#/definitions/";
/// Says that fields which no schema knows are kept.
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
/// Says that a value is an object of the API itself.
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
/// Ways to combine schemas that are not understood.
const COMBINED: [&str; 4] = ["allOf", "anyOf", "oneOf", "not"];

/// One document that says what all of these say.
pub(super) fn document(documents: impl Iterator<Item = Value>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    let mut info = Value::Null;
    for mut document in documents {
        info = document["info"].take();
        if let Value::Object(all) = document["paths"].take() {
            paths.extend(all.into_iter().map(|(path, item)| (path, path_item(item))));
        }
        if let Value::Object(all) = document["components"]["schemas"].take() {
            for (name, definition) in all {
                definitions.entry(name).or_insert_with(|| whole(definition));
            }
        }
    }
    json!({"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions})
}

/// The schema of a whole kind, or of a part that many have.
fn whole(definition: Value) -> Value {
    if definition[PRESERVE] != true {
        return schema(definition);
    }
    // kubectl would take the fields that are named for all that there are.
    let mut open = json!({"type": "object"});
    for known in [KIND, SELECTABLE] {
        if let Some(said) = definition.get(known) {
            open[known] = said.clone();
        }
    }
    open
}

fn schema(given: Value) -> Value {
    let Value::Object(mut fields) = given else {
        return given;
    };
    if let Some(reference) = reference(&fields) {
        fields.insert("$ref".to_owned(), reference.into());
    }
    for combined in COMBINED {
        fields.remove(combined);
    }
    fields.remove("default");
    let nullable = fields.remove("nullable") == Some(Value::Bool(true));
    let open = fields.get(PRESERVE) == Some(&Value::Bool(true));
    if nullable || open {
        fields.remove("items");
        fields.remove("properties");
    }
    let kind = fields.get("type").and_then(Value::as_str);
    let bare = kind == Some("array") && !fields.contains_key("items");
    if nullable || bare || (open && kind == Some("object")) {
        fields.remove("type");
    }
    not_required(&mut fields, open);
    for part in ["items", "additionalProperties"] {
        if let Some(part) = fields.get_mut(part) {
            *part = schema(part.take());
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for property in properties.values_mut() {
            *property = schema(property.take());
        }
    }
    Value::Object(fields)
}

/// The schema that a part refers to, in the words of v2.
fn reference(fields: &Map<String, Value>) -> Option<String> {
    let single = fields.get("allOf").and_then(Value::as_array);
    let single = single.filter(|all| all.len() == 1);
    let reference = fields
        .get("$ref")
        .or_else(|| single.and_then(|all| all[0].get("$ref")));
    let name = reference?.as_str()?.strip_prefix(COMPONENTS)?;
    Some(format!("{DEFINITIONS}{name}"))
}

/// What may be null may be left out, and what is not named is not required.
fn not_required(fields: &mut Map<String, Value>, open: bool) {
    const FRAME: [&str; 2] = ["apiVersion", "kind"];
    let framed = fields.get(EMBEDDED) == Some(&Value::Bool(true));
    let nullable = |schema: &Value| schema["nullable"] == true;
    if fields.get("additionalProperties").is_some_and(nullable) {
        fields.remove("required");
    }
    let Some(Value::Array(mut required)) = fields.remove("required") else {
        return;
    };
    let properties = fields.get("properties");
    required.retain(|name| {
        let property = name.as_str().and_then(|name| properties?.get(name));
        let unnamed = open && framed && FRAME.iter().any(|own| name == own);
        !property.is_some_and(nullable) && !unnamed
    });
    if !required.is_empty() {
        fields.insert("required".to_owned(), required.into());
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(mut fields) = item else {
        return item;
    };
    for (name, content) in &mut fields {
        *content = match name.as_str() {
            "parameters" => parameters(content.take()),
            _ => operation(content.take()),
        };
    }
    Value::Object(fields)
}

fn operation(given: Value) -> Value {
    let Value::Object(mut fields) = given else {
        return given;
    };
    let mut all = parameters(fields.remove("parameters").unwrap_or_default());
    if let (Some(mut body), Some(all)) = (fields.remove("requestBody"), all.as_array_mut()) {
        let (types, content) = media(body["content"].take());
        fields.insert("consumes".to_owned(), types.into());
        all.push(json!({
            "in": "body", "name": "body", "required": body["required"], "schema": content,
        }));
    }
    fields.insert("parameters".to_owned(), all);
    if let Some(Value::Object(responses)) = fields.get_mut("responses") {
        let mut produced = Vec::new();
        for response in responses.values_mut() {
            let (types, content) = media(response["content"].take());
            *response = json!({"description": response["description"], "schema": content});
            produced = types;
        }
        fields.insert("produces".to_owned(), produced.into());
    }
    Value::Object(fields)
}

/// The types of a body, and the one schema that it has in all of them.
fn media(content: Value) -> (Vec<String>, Value) {
    let Value::Object(content) = content else {
        return (Vec::new(), json!({}));
    };
    let types = content.keys().cloned().collect();
    let first = content.into_iter().next();
    let content = first.map(|(_, mut content)| schema(content["schema"].take()));
    (types, content.unwrap_or_else(|| json!({})))
}

/// Parameters with their types beside their names.
fn parameters(given: Value) -> Value {
    let Value::Array(mut all) = given else {
        return json!([]);
    };
    for parameter in &mut all {
        let kind = parameter["schema"]["type"].take();
        if let Some(fields) = parameter.as_object_mut() {
            fields.remove("schema");
            fields.insert("type".to_owned(), kind);
            fields.insert("uniqueItems".to_owned(), true.into());
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expected: Value) {
        assert_eq!(schema(given.clone()), expected, "{given}");
    }

    #[test]
    fn what_version_2_cannot_say_is_left_out() {
        check(
            json!({"description": "d", "allOf": [{"$ref": "#/components/schemas/a.B"}]}),
            json!({"description": "d", "$ref": "#/definitions/a.B"}),
        );
        check(
            json!({"type": "string", "anyOf": [{"maxLength": 1}], "not": {}, "default": "x"}),
            json!({"type": "string"}),
        );
        check(
            json!({"type": "object", "nullable": true, "properties": {"a": {}}}),
            json!({}),
        );
        check(
            json!({"type": "object", PRESERVE: true, "properties": {"a": {}}}),
            json!({PRESERVE: true}),
        );
        check(
            json!({"type": "array", PRESERVE: true, "items": {"type": "string"}}),
            json!({PRESERVE: true}),
        );
        check(
            json!({"type": "object", "required": ["a", "b"],
                "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "string"}}}),
            json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
        );
    }

    #[test]
    fn kinds_that_keep_unknown_fields_name_none() {
        let kind = json!([{"group": "g", "version": "v1", "kind": "K"}]);
        let given =
            json!({"type": "object", PRESERVE: true, "properties": {"spec": {}}, KIND: kind});
        assert_eq!(whole(given), json!({"type": "object", KIND: kind}));
    }
}
