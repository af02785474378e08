//! The schemas of one document: those of definitions as they were given, those of built-ins from their Rust types.

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
        let text = |description: &str| json!({"type": "string", "description": description});
        schema["properties"]["apiVersion"] = text("the group and version of this object's form");
        schema["properties"]["kind"] = text("what this object is");
        schema["properties"]["metadata"] =
            self.reference::<ObjectMeta>("what all objects have: name, labels, owners");
        schema
    }

    fn list(&mut self, items: &str, resource: &Resource, version: &Version) -> Value {
        let metadata = self.reference::<ListMeta>("where the list was read and how it goes on");
        json!({
            "type": "object",
            "description": format!("a list of {}", resource.plural),
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": metadata,
                "items": {"type": "array", "items": {"allOf": [{"$ref": format!("{COMPONENTS}{items}")}]}},
            },
            KIND: [group_version_kind(resource, version, &resource.list_kind)],
        })
    }

    fn reference<T: JsonSchema>(&mut self, description: &str) -> Value {
        let schema: Schema = self.generator.subschema_for::<T>();
        json!({"description": description, "allOf": [schema]})
    }
}

/// Says which kinds a schema or an operation is about.
const KIND: &str = "x-kubernetes-group-version-kind";

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

/// `groma.dev` as `dev.groma`.
fn reversed(group: &str) -> String {
    group.rsplit('.').collect::<Vec<_>>().join(".")
}
