//! The schemas of one document: those of definitions as they were given, those of built-ins from their Rust types.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::group_version_kind;
use crate::builtin::lists::{self, LISTS, List, Merged, Owned};
use crate::builtin::reviews::TOKEN_REQUEST;
use crate::definition::{LIMITS, whole};
use crate::request::Subresource;
use crate::resource::{Resource, Version};
use crate::scale;

/// What references to schemas begin with.
pub(super) const COMPONENTS: &str = "#/components/schemas/";
/// What every object has.
const FRAME: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// Says which fields a field selector may name.
pub(super) const SELECTABLE: &str = "x-kubernetes-selectable-fields";

/// The schemas of one document while it is made.
pub(super) struct Schemas {
    generator: SchemaGenerator,
    made: Map<String, Value>,
}

impl Default for Schemas {
    fn default() -> Self {
        let generator = SchemaSettings::openapi3().into_generator();
        Self {
            generator,
            made: Map::new(),
        }
    }
}

/// The schema's name of a resource's objects: `dev.groma.v1alpha1.Site`.
pub(super) fn name(resource: &Resource, version: &Version) -> String {
    match version.typed {
        Some(typed) => (typed.schema_name)().into_owned(),
        None => format!(
            "{}.{}.{}",
            reversed(&resource.group),
            version.name,
            resource.kind
        ),
    }
}

/// The schema's name of a list of them.
pub(super) fn list_name(resource: &Resource, version: &Version) -> String {
    format!("{}List", name(resource, version))
}

impl Schemas {
    /// Adds what the resource's paths refer to.
    pub(super) fn add(&mut self, resource: &Resource, version: &Version) {
        let name = name(resource, version);
        match version.typed {
            Some(typed) => (typed.schema)(&mut self.generator),
            None => {
                let schema = self.custom(version);
                self.made.insert(name.clone(), schema);
            }
        }
        for part in Subresource::of(resource, version) {
            self.add_form(part);
        }
        let list = self.list(&name, resource, version);
        self.made.insert(list_name(resource, version), list);
        // Which schema is whose kind is written into generated ones at the end, when they are all there.
        let kind = json!([group_version_kind(resource, version, &resource.kind)]);
        self.made.entry(name).or_insert_with(|| json!({}))[KIND] = kind;
    }

    /// Adds the kind of what is written to a part, if it is one of its own.
    fn add_form(&mut self, part: Subresource) {
        let resource = match part {
            Subresource::Scale => &scale::RESOURCE,
            Subresource::Token => &TOKEN_REQUEST,
            Subresource::Approval | Subresource::Finalize | Subresource::Status => return,
        };
        let version = &resource.versions[0];
        if let Some(typed) = version.typed {
            (typed.schema)(&mut self.generator);
        }
        let kind = json!([group_version_kind(resource, version, &resource.kind)]);
        self.made
            .insert(name(resource, version), json!({KIND: kind}));
    }

    /// All schemas by name.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut all = self.generator.take_definitions(true);
        for (name, schema) in self.made {
            match all.get_mut(&name) {
                // Only its kind is missing in what was generated.
                Some(generated) => generated[KIND] = schema[KIND].clone(),
                None => drop(all.insert(name, schema)),
            }
        }
        for (name, schema) in &mut all {
            let of = lists::short(name);
            for known in LISTS.iter().filter(|list| list.of == of) {
                if let Some(list) = schema["properties"].get_mut(known.field) {
                    mark(list, known);
                }
            }
        }
        all
    }

    /// The definition's schema with the metadata of all objects.
    fn custom(&mut self, version: &Version) -> Value {
        let mut schema = match &version.open_api {
            Some(schema) if schema.is_object() => schema.clone(),
            _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        };
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        self.frame(&mut schema);
        if let Some(properties) = schema["properties"].as_object_mut() {
            let own = properties
                .iter_mut()
                .filter(|(name, _)| !FRAME.contains(&name.as_str()));
            own.for_each(|(_, property)| self.unfold(property));
        }
        name_selectable(&mut schema, version);
        schema
    }

    /// Describes the fields that all objects have.
    fn frame(&mut self, schema: &mut Value) {
        // Any built-in kind has them.
        let known = ConfigMap::json_schema(&mut self.generator);
        for field in FRAME {
            let described = known.pointer(&format!("/properties/{field}"));
            schema["properties"][field] = described.cloned().unwrap_or_default();
        }
        let metadata = &mut schema["properties"]["metadata"];
        let description = metadata["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        *metadata = self.reference::<ObjectMeta>(&description);
    }

    /// Says what a part of a schema means without saying it: what objects within an object have, and what a whole number
    /// or text is.
    fn unfold(&mut self, schema: &mut Value) {
        for limit in LIMITS {
            if let Some(limit) = schema.get_mut(limit) {
                whole(limit);
            }
        }
        if schema["x-kubernetes-int-or-string"] == true && schema.get("anyOf").is_none() {
            schema["anyOf"] = json!([{"type": "integer"}, {"type": "string"}]);
        }
        let below = ["items", "additionalProperties"];
        for below in below {
            if let Some(below) = schema.get_mut(below).filter(|below| below.is_object()) {
                self.unfold(below);
            }
        }
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(Map::values_mut) {
            self.unfold(property);
        }
        if schema["x-kubernetes-embedded-resource"] != true {
            return;
        }
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        self.frame(schema);
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        for field in ["kind", "apiVersion"] {
            if !required.contains(&field.into()) {
                required.push(field.into());
            }
        }
        schema["required"] = required.into();
    }

    fn list(&mut self, items: &str, resource: &Resource, version: &Version) -> Value {
        let metadata = self.reference::<ListMeta>("where the list was read and how it goes on");
        let mut list = json!({
            "type": "object",
            "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": metadata,
                "items": {"type": "array", "items": {"$ref": format!("{COMPONENTS}{items}")}},
            },
            KIND: [group_version_kind(resource, version, &resource.list_kind)],
        });
        if !resource.is_built_in() {
            name_selectable(&mut list, version);
        }
        list
    }

    fn reference<T: JsonSchema>(&mut self, description: &str) -> Value {
        let schema: Schema = self.generator.subschema_for::<T>();
        json!({"description": description, "allOf": [schema]})
    }
}

/// Says which kinds a schema or an operation is about.
pub(super) const KIND: &str = "x-kubernetes-group-version-kind";

/// Says of a list what tells its items apart, and what patches do to it.
fn mark(list: &mut Value, known: &List) {
    let (kind, keys): (_, &[&str]) = match known.owned {
        Owned::Whole => ("atomic", &[]),
        Owned::Values => ("set", &[]),
        Owned::Items(keys) => ("map", keys),
    };
    list["x-kubernetes-list-type"] = kind.into();
    if !keys.is_empty() {
        list["x-kubernetes-list-map-keys"] = json!(keys);
    }
    if known.merged != Merged::Replaced {
        list["x-kubernetes-patch-strategy"] = "merge".into();
    }
    if let Merged::By(key) = known.merged {
        list["x-kubernetes-patch-merge-key"] = key.into();
    }
}

/// Says which fields a field selector may name.
fn name_selectable(schema: &mut Value, version: &Version) {
    if !version.selectable.is_empty() {
        let paths = version.selectable.iter();
        let paths = paths.map(|path| json!({"fieldPath": path}));
        schema[SELECTABLE] = paths.collect();
    }
}

/// `groma.dev` as `dev.groma`.
fn reversed(group: &str) -> String {
    group.rsplit('.').collect::<Vec<_>>().join(".")
}
