//! The schemas of one document: those of definitions as they were given, those of built-ins from their Rust types.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event as NewEvent;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::group_version_kind;
use crate::resource::{Resource, Version};
use crate::scale;

/// What references to schemas begin with.
pub(super) const COMPONENTS: &str = "#/components/schemas/";
/// Lists that a strategic merge patch merges by a key instead of replacing: schema, field, key (empty for plain values).
const MERGED_LISTS: [(&str, &str, &str); 5] = [
    (
        "io.k8s.api.core.v1.ServiceAccount",
        "imagePullSecrets",
        "name",
    ),
    ("io.k8s.api.core.v1.ServiceAccount", "secrets", "name"),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        "uid",
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "finalizers",
        "",
    ),
    ("io.k8s.api.core.v1.NamespaceStatus", "conditions", "type"),
];

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
    match built_in(resource) {
        Some(built_in) => (built_in.name)(),
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
        match built_in(resource) {
            Some(built_in) => (built_in.add)(&mut self.generator),
            None => {
                let schema = self.custom(version);
                self.made.insert(name.clone(), schema);
            }
        }
        if version.scale.is_some() {
            self.add_scale();
        }
        let list = self.list(&name, resource, version);
        self.made.insert(list_name(resource, version), list);
        // Which schema is whose kind is written into generated ones at the end, when they are all there.
        let kind = json!([group_version_kind(resource, version, &resource.kind)]);
        self.made.entry(name).or_insert_with(|| json!({}))[KIND] = kind;
    }

    fn add_scale(&mut self) {
        let (resource, version) = (&scale::RESOURCE, &scale::RESOURCE.versions[0]);
        drop(self.generator.subschema_for::<Scale>());
        let kind = json!([group_version_kind(resource, version, scale::KIND)]);
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
        for (schema, field, key) in MERGED_LISTS {
            if let Some(list) = all
                .get_mut(schema)
                .and_then(|s| s["properties"].get_mut(field))
            {
                mark_merged(list, key);
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
        for limit in ["minimum", "maximum", "multipleOf"] {
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

/// A resource whose schema comes from a Rust type.
struct BuiltIn {
    name: fn() -> String,
    add: fn(&mut SchemaGenerator),
}

fn built_in(resource: &Resource) -> Option<BuiltIn> {
    fn of<T: JsonSchema>() -> BuiltIn {
        BuiltIn {
            name: || T::schema_name().into_owned(),
            add: |generator| drop(generator.subschema_for::<T>()),
        }
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => Some(of::<Namespace>()),
        ("", "configmaps") => Some(of::<ConfigMap>()),
        ("", "secrets") => Some(of::<Secret>()),
        ("", "events") => Some(of::<Event>()),
        ("events.k8s.io", "events") => Some(of::<NewEvent>()),
        ("coordination.k8s.io", "leases") => Some(of::<Lease>()),
        ("", "serviceaccounts") => Some(of::<ServiceAccount>()),
        ("networking.k8s.io", "networkpolicies") => Some(of::<NetworkPolicy>()),
        ("authentication.k8s.io", "selfsubjectreviews") => Some(of::<SelfSubjectReview>()),
        ("authorization.k8s.io", "selfsubjectaccessreviews") => {
            Some(of::<SelfSubjectAccessReview>())
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => Some(of::<SelfSubjectRulesReview>()),
        (scale::GROUP, "scales") => Some(of::<Scale>()),
        ("rbac.authorization.k8s.io", "roles") => Some(of::<Role>()),
        ("rbac.authorization.k8s.io", "clusterroles") => Some(of::<ClusterRole>()),
        ("rbac.authorization.k8s.io", "rolebindings") => Some(of::<RoleBinding>()),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => Some(of::<ClusterRoleBinding>()),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            Some(of::<CustomResourceDefinition>())
        }
        _ => None,
    }
}

fn mark_merged(list: &mut Value, key: &str) {
    list["x-kubernetes-patch-strategy"] = "merge".into();
    if !key.is_empty() {
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

/// Writes a whole number without a point.
fn whole(number: &mut Value) {
    let float = number.as_f64().filter(|float| float.fract() == 0.0);
    if let Some(Ok(whole)) = float.map(|float| format!("{float:.0}").parse::<i64>()) {
        *number = whole.into();
    }
}

/// `groma.dev` as `dev.groma`.
fn reversed(group: &str) -> String {
    group.rsplit('.').collect::<Vec<_>>().join(".")
}
