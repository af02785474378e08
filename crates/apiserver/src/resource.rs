//! A served resource: its names, scope, versions, schema and subresources, made from a CustomResourceDefinition or
//! built in.
//!
//! A resource is pure data; looking it up is [`crate::registry`], and what its objects must keep is [`crate::rules`].

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use schemars::generate::SchemaGenerator;
use serde_json::Value;

use crate::convert::{self, Converter};
use crate::failure::Cause;
use crate::object::Key;
use crate::ownership::Shape;
use crate::priority::Priority;
use crate::request::Verb;
use crate::scale::Scale;
use crate::schema::Schema;

/// One plural name in one group.
pub struct Resource {
    /// The API group; empty for core.
    pub group: String,
    /// As in paths: lower case, plural.
    pub plural: String,
    /// As typed to kubectl.
    pub singular: String,
    /// As in objects.
    pub kind: String,
    /// As in list objects.
    pub list_kind: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The served versions, best first.
    pub versions: Vec<Version>,
    /// Where objects are kept: group and plural. Two groups may share one place (Events).
    pub home: Arc<Home>,
    /// The `apiVersion` that stored objects carry.
    pub stored_as: String,
    /// Rules that are not in the schema.
    pub traits: Traits,
    /// Converts between versions, if they differ in more than their names.
    pub(crate) converter: Option<Converter>,
}

/// The place of a resource's objects, and the first part of their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home {
    /// The API group in which objects are stored; empty for core.
    pub group: String,
    /// The plural name in which objects are stored.
    pub plural: String,
}

impl Home {
    /// The key under which the object of that name is stored.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        let Self { group, plural } = self;
        format!("{group}/{plural}/{namespace}/{name}")
    }

    /// The name of the definition whose objects are kept there.
    pub(crate) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}

/// One served version of a resource.
pub struct Version {
    /// Such as `v1alpha1`.
    pub name: String,
    /// What who uses it is warned of.
    pub(crate) warning: Option<String>,
    /// The structural schema; `None` for built-in types, which are checked by their Rust types.
    pub schema: Option<Arc<Schema>>,
    /// The Rust type of a built-in, in place of a schema.
    pub typed: Option<Typed>,
    /// How the values of its objects are owned.
    pub(crate) shape: Shape,
    /// The schema as it was given, for OpenAPI.
    pub open_api: Option<Value>,
    /// Columns that `kubectl get` shows.
    pub columns: Vec<CustomResourceColumnDefinition>,
    /// Field paths, besides name and namespace, that a field selector may name: `spec.host`.
    pub selectable: Vec<String>,
    /// Whether `/status` exists.
    pub status: bool,
    /// Where `/scale` finds the replicas, if it exists.
    pub(crate) scale: Option<Scale>,
    /// How stored objects become objects of this version.
    pub conversion: Conversion,
}

/// How objects of a version differ from stored ones.
#[derive(Clone, Copy, Debug)]
pub enum Conversion {
    /// Only `apiVersion` differs, if anything.
    None,
    /// Top-level fields have other names: (stored, served).
    Rename(&'static [(&'static str, &'static str)]),
    /// The parts of objects are others: what makes the stored form, and what makes the served one.
    Remake(Remake, Remake),
}

/// Makes one form of an object from another.
pub type Remake = fn(&mut Value);

/// What the Rust type of a built-in says of it.
#[derive(Clone, Copy, Debug)]
pub struct Typed {
    /// Reads a document, and gives it back as the type writes it: without the fields that the type does not know.
    pub read: fn(&Value) -> Result<Value, String>,
    /// The name of its schema.
    pub schema_name: fn() -> Cow<'static, str>,
    /// Adds its schema, and those that it refers to.
    pub schema: fn(&mut SchemaGenerator),
}

/// What clients may do with the objects of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offered {
    /// Everything.
    #[default]
    Everything,
    /// Ask: objects are answered when they are created, and never kept.
    Asking,
    /// Read: the server itself writes them.
    Reading,
}

/// The status that a new object begins with.
pub type Born = fn(&Value) -> Value;

/// Fills in what clients may leave out or write in another way; what they leave out may follow from the previous state.
pub type Complete = fn(&mut Value, Option<&Value>);

/// What of the first state of an object may not become the second one.
pub type Fixed = fn(&Value, &Value) -> Vec<Cause>;

/// What is wrong with a state, whose previous one is known if there is one.
pub type Problems = fn(Option<&Value>, &Value) -> Vec<Cause>;

/// How a resource differs from a plain custom resource.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// Names may be any part of a path, such as `system:node`.
    pub any_name: bool,
    /// What clients may do with objects.
    pub offered: Offered,
    /// A PUT needs no resourceVersion.
    pub unconditional_update: bool,
    /// A PUT of what is not there creates it.
    pub create_on_update: bool,
    /// `metadata.generation` is kept.
    pub generation: bool,
    /// Completes what clients write.
    pub complete: Option<Complete>,
    /// What may not become of the previous state.
    pub fixed: Option<Fixed>,
    /// What is wrong beyond its form.
    pub problems: Option<Problems>,
    /// The status that a new object has if it brings none.
    pub born: Option<Born>,
    /// New objects may bring their status.
    pub status_at_birth: bool,
    /// Who writes the status may change the metadata, too.
    pub status_with_metadata: bool,
    /// Parts that are there, empty, before anybody has written them: `spec/names`.
    pub blank: &'static [&'static str],
}

impl Resource {
    /// Makes the resource that a definition describes.
    ///
    /// # Errors
    /// When a schema of it cannot be used; the text names the version and the field.
    pub fn from_crd(crd: &CustomResourceDefinition) -> Result<Self, String> {
        let names = &crd.spec.names;
        let served = crd.spec.versions.iter().filter(|version| version.served);
        let mut versions = served
            .map(|version| Version::from_crd(crd, version))
            .collect::<Result<Vec<_>, _>>()?;
        versions.sort_by(|one, other| Priority::of(&one.name).cmp(&Priority::of(&other.name)));
        let home = Home {
            group: crd.spec.group.clone(),
            plural: names.plural.clone(),
        };
        let stored = crd.spec.versions.iter().find(|version| version.storage);
        let stored = stored.ok_or("no version is marked for storage")?;
        let default_list = || format!("{}List", names.kind);
        Ok(Self {
            group: home.group.clone(),
            plural: home.plural.clone(),
            singular: names
                .singular
                .clone()
                .unwrap_or_else(|| names.kind.to_lowercase()),
            kind: names.kind.clone(),
            list_kind: names.list_kind.clone().unwrap_or_else(default_list),
            short_names: names.short_names.clone().unwrap_or_default(),
            categories: names.categories.clone().unwrap_or_default(),
            namespaced: crd.spec.scope == "Namespaced",
            versions,
            stored_as: format!("{}/{}", home.group, stored.name),
            home: Arc::new(home),
            traits: Traits {
                generation: true,
                ..Traits::default()
            },
            converter: Converter::of(crd.spec.conversion.as_ref()),
        })
    }

    /// `plural` or `plural.group`.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualify(&self.plural, &self.group)
    }

    /// `Kind` or `Kind.group`.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        qualify(&self.kind, &self.group)
    }

    /// The key of an object of this resource.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        Key {
            home: self.home.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Whether it is there without a definition.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.versions.iter().any(|version| version.typed.is_some())
    }

    /// What may be done with its objects, in the order of Kubernetes.
    pub(crate) fn verbs(&self) -> &'static [Verb] {
        use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
        match self.traits.offered {
            Offered::Asking => &[Create],
            Offered::Reading => &[Get, List, Watch],
            Offered::Everything if self.is_built_in() => &[
                Create,
                Delete,
                DeleteCollection,
                Get,
                List,
                Patch,
                Update,
                Watch,
            ],
            Offered::Everything => &[
                Delete,
                DeleteCollection,
                Get,
                List,
                Patch,
                Create,
                Update,
                Watch,
            ],
        }
    }

    /// Whether its objects are namespaces.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.kind == "Namespace"
    }

    /// Whether its objects are service accounts.
    pub(crate) fn is_account(&self) -> bool {
        self.group.is_empty() && self.kind == "ServiceAccount"
    }

    /// The version of that name, if it is served.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The paths in stored objects by whose values they are found.
    pub(crate) fn stored_paths(&self) -> Vec<String> {
        let versions = self.versions.iter();
        let paths = versions.flat_map(|version| {
            let paths = version.selectable.iter();
            paths.map(|path| convert::stored_path(version.conversion, path))
        });
        paths.collect()
    }

    /// The version in which objects are stored, if it is served.
    pub(crate) fn stored_version(&self) -> Option<&Version> {
        let mut versions = self.versions.iter();
        versions.find(|version| self.api_version(&version.name) == self.stored_as)
    }

    /// The schema of such a stored object, if it has one.
    pub(crate) fn stored_schema(&self, stored: &Value) -> Option<&Schema> {
        // One that was stored in another version has another form.
        if self.converter.is_some() && stored["apiVersion"] != self.stored_as.as_str() {
            return None;
        }
        self.stored_version()?.schema.as_deref()
    }

    /// The `apiVersion` of objects in that version.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        match self.group.as_str() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }
}

impl Version {
    fn from_crd(
        crd: &CustomResourceDefinition,
        version: &CustomResourceDefinitionVersion,
    ) -> Result<Self, String> {
        let given = version
            .schema
            .as_ref()
            .and_then(|s| s.open_api_v3_schema.as_ref());
        let open_api = given
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| format!("version {}: {error}", version.name))?;
        let parse = |(schema, text): (_, &Value)| {
            Schema::shared(schema, text).map_err(|why| format!("version {}: {why}", version.name))
        };
        let schema = given.zip(open_api.as_ref()).map(parse).transpose()?;
        let selectable = version.selectable_fields.iter().flatten();
        let subresources = version.subresources.as_ref();
        Ok(Self {
            name: version.name.clone(),
            warning: warning(crd, version),
            shape: schema
                .as_ref()
                .map_or_else(Shape::unknown_object, |schema| schema.shape()),
            schema,
            open_api,
            columns: version
                .additional_printer_columns
                .clone()
                .unwrap_or_default(),
            selectable: selectable
                .map(|f| f.json_path.trim_start_matches('.').to_owned())
                .collect(),
            status: subresources.is_some_and(|s| s.status.is_some()),
            scale: subresources
                .and_then(|s| s.scale.as_ref())
                .map(Scale::from_crd),
            typed: None,
            conversion: Conversion::None,
        })
    }
}

/// That a version is deprecated, and which one is better.
fn warning(
    crd: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
) -> Option<String> {
    if version.deprecated != Some(true) {
        return None;
    }
    if let Some(given) = &version.deprecation_warning {
        return Some(given.clone());
    }
    let (group, kind) = (&crd.spec.group, &crd.spec.names.kind);
    let own = Priority::of(&version.name);
    let others = crd.spec.versions.iter();
    let better = others.filter(|it| it.served && it.deprecated != Some(true));
    let best = better
        .map(|it| &it.name)
        .min_by_key(|name| Priority::of(name));
    let warning = format!("{group}/{} {kind} is deprecated", version.name);
    Some(match best.filter(|name| Priority::of(name) < own) {
        Some(best) => format!("{warning}; use {group}/{best} {kind}"),
        None => warning,
    })
}

fn qualify(name: &str, group: &str) -> String {
    match group {
        "" => name.to_owned(),
        group => format!("{name}.{group}"),
    }
}
