//! The `scale` subresource: the number of replicas of an object as a `Scale` of autoscaling/v1, whatever its kind.
//!
//! A `Scale` is a view: it is made from an object when it is asked for, and what is written to it goes into the object.
//! Who owns the replicas is carried over both ways, as `k8s.io/apimachinery/pkg/util/managedfields` does it.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::autoscaling::v1::Scale as Written;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceSubresourceScale;
use serde_json::{Value, json};

use crate::builtin::typed;
use crate::failure::{Cause, Failure, shown};
use crate::object::{Object, meta};
use crate::ownership::{FieldSet, Manager, Managers, Shape, Writer};
use crate::resource::{Conversion, Home, Resource, Traits, Version};

/// The group of the kind `Scale`.
pub(crate) const GROUP: &str = "autoscaling";
/// The kind.
pub(crate) const KIND: &str = "Scale";
/// The version of it that is spoken.
pub(crate) const VERSION: &str = "v1";
/// Most steps of a path, as of the schema that describes it.
const PATH_STEPS_MAX: usize = 64;
/// What a patch finds where an object has no number of replicas: no number that could be meant.
const UNSET: i64 = i32::MIN as i64;
/// The path of the replicas in a `Scale`.
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Where an object keeps what a `Scale` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// How many replicas are wanted, as in the definition: `.spec.replicas`.
    pub(crate) wanted: String,
    /// How many there are.
    pub(crate) found: String,
    /// The selector of what is counted, as text.
    pub(crate) selector: Option<String>,
}

/// The kind `Scale`, as a resource without a collection.
pub(crate) static RESOURCE: LazyLock<Arc<Resource>> = LazyLock::new(|| {
    Arc::new(Resource {
        group: GROUP.to_owned(),
        plural: "scales".to_owned(),
        singular: "scale".to_owned(),
        kind: KIND.to_owned(),
        list_kind: "ScaleList".to_owned(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        versions: vec![Version {
            name: VERSION.to_owned(),
            warning: None,
            schema: None,
            shape: Shape::object([("spec", Shape::named([])), ("status", Shape::named([]))]),
            open_api: None,
            columns: Vec::new(),
            selectable: Vec::new(),
            status: false,
            scale: None,
            typed: Some(typed::<Written>()),
            conversion: Conversion::None,
        }],
        home: Arc::new(Home {
            group: GROUP.to_owned(),
            plural: "scales".to_owned(),
        }),
        stored_as: format!("{GROUP}/{VERSION}"),
        converter: None,
        traits: Traits {
            any_name: true,
            unconditional_update: true,
            blank: &["spec", "status"],
            ..Traits::default()
        },
    })
});

impl Scale {
    /// As a definition describes it.
    pub(crate) fn from_crd(scale: &CustomResourceSubresourceScale) -> Self {
        Self {
            wanted: scale.spec_replicas_path.clone(),
            found: scale.status_replicas_path.clone(),
            selector: scale
                .label_selector_path
                .clone()
                .filter(|path| !path.is_empty()),
        }
    }

    /// The scale of an object that somebody reads.
    ///
    /// # Errors
    /// When the object does not say how many replicas it wants.
    pub(crate) fn read(&self, object: &Value) -> Result<Value, Failure> {
        let wanted = number(object, &self.wanted).map_err(Failure::internal)?;
        let wanted = wanted.ok_or_else(|| {
            Failure::internal(format!(
                "the spec replicas field {:?} does not exist",
                self.wanted
            ))
        })?;
        self.of(object, wanted)
    }

    /// The scale of an object that somebody writes, with who owns the replicas.
    pub(crate) fn before(&self, resource: &Resource, object: &Object) -> Result<Object, Failure> {
        let wanted = number(&object.value, &self.wanted).map_err(Failure::internal)?;
        let mut scale = self.of(&object.value, wanted.unwrap_or(UNSET))?;
        let managers = Managers::of(&object.value).unwrap_or_default();
        owners_of_scale(resource, &managers).write(&mut scale);
        Ok(Object::at(object.key.clone(), object.revision, scale))
    }

    /// The object with what a written scale says, and who owns it then. The version that the scale names, if any, counts
    /// for the object.
    pub(crate) fn after(
        &self,
        (resource, version): (&Resource, &Version),
        object: &Object,
        scale: &Value,
    ) -> Result<Value, Failure> {
        let wanted = scale.pointer("/spec/replicas").and_then(Value::as_i64);
        let wanted = wanted.unwrap_or(0);
        if wanted == UNSET {
            let why = format!("the spec replicas field {:?} cannot be empty", self.wanted);
            return Err(Failure::bad_request(why));
        }
        let mut value = object.value.clone();
        put(&mut value, &self.wanted, wanted.into());
        let parents = Managers::of(&object.value).unwrap_or_default();
        let owners = Managers::of(scale).unwrap_or_default();
        owners_of_object((resource, version), parents, owners).write(&mut value);
        Ok(value)
    }

    /// What of an object cannot be shown as a scale, as far as it changes.
    pub(crate) fn problems(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let same = |path: &str| old.is_some_and(|old| at(old, path) == at(value, path));
        for path in [&self.wanted, &self.found] {
            if same(path) {
                continue;
            }
            let why = match number(value, path) {
                Err(why) => (0, why),
                Ok(Some(n)) if n < 0 => (n, "should be a non-negative integer".to_owned()),
                Ok(Some(n)) if n > i64::from(i32::MAX) => {
                    (n, format!("should be less than or equal to {}", i32::MAX))
                }
                Ok(_) => continue,
            };
            causes.push(Cause::invalid(path.clone(), &why.0.into(), &why.1));
        }
        if let Some(path) = self.selector.as_ref().filter(|path| !same(path))
            && let Err(why) = text(value, path)
        {
            causes.push(Cause::invalid(path.clone(), &"".into(), &why));
        }
        causes
    }

    /// What is wrong with the scale of a version in a definition.
    pub(crate) fn definition_problems(scale: &Value, field: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (name, required, roots) in [
            ("specReplicasPath", true, &[".spec."][..]),
            ("statusReplicasPath", true, &[".status."]),
            ("labelSelectorPath", false, &[".spec.", ".status."]),
        ] {
            let path = scale.get(name).and_then(Value::as_str).unwrap_or_default();
            let field = format!("{field}.{name}");
            let why = match roots {
                _ if path.is_empty() && required => {
                    causes.push(Cause::required(field, ""));
                    continue;
                }
                _ if path.is_empty() => continue,
                _ if !path.starts_with('.') => "must be a simple json path starting with .",
                _ if path.matches('.').count() > PATH_STEPS_MAX => "must not be so deep",
                roots if roots.iter().any(|root| path.starts_with(root)) => continue,
                [".spec."] => "should be a json path under .spec",
                [".status."] => "should be a json path under .status",
                _ => "should be a json path under either .spec or .status",
            };
            causes.push(Cause::invalid(field, &path.into(), why));
        }
        causes
    }

    fn of(&self, object: &Value, wanted: i64) -> Result<Value, Failure> {
        let mut metadata = json!({});
        for field in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
        ] {
            if let Some(value) = meta(object).get(field) {
                metadata[field] = value.clone();
            }
        }
        let found = number(object, &self.found).map_err(Failure::internal)?;
        let mut scale = json!({
            "apiVersion": RESOURCE.stored_as, "kind": KIND, "metadata": metadata,
            "spec": {}, "status": {"replicas": found.unwrap_or(0)},
        });
        if wanted != 0 {
            scale["spec"]["replicas"] = wanted.into();
        }
        let selector = self.selector.as_deref().map(|path| text(object, path));
        let selector = selector.transpose().map_err(Failure::internal)?.flatten();
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }
}

/// Who owns the replicas, as the scale says it.
fn owners_of_scale(resource: &Resource, managers: &Managers) -> Managers {
    let mut owners = Managers::default();
    for manager in managers.iter() {
        let path = replicas_of(resource, &manager.writer.api_version);
        if path.is_some_and(|path| manager.fields.has(&path)) {
            let mut owner = manager.clone();
            owner.writer.api_version.clone_from(&RESOURCE.stored_as);
            owner.fields = FieldSet::of(&REPLICAS);
            owners.put(owner);
        }
    }
    owners
}

/// Who owns what of an object, once a scale says who owns the replicas. Whoever does not own them there any more loses
/// them; who applied and still owns them keeps his entry as it is.
fn owners_of_object(
    (resource, version): (&Resource, &Version),
    parents: Managers,
    mut owners: Managers,
) -> Managers {
    let own = resource.api_version(&version.name);
    let mut all = Managers::default();
    // A new entry has the time of one that was there already, if any.
    let times: Vec<(Writer, Option<String>)> = parents
        .iter()
        .map(|parent| (parent.writer.clone(), parent.time.clone()))
        .collect();
    for mut parent in parents {
        let Some(served) = served(resource, &parent.writer.api_version) else {
            continue;
        };
        let path = served.scale.as_ref().map(|scale| path(&scale.wanted));
        if let Some(path) = path.filter(|path| parent.fields.has(path))
            && owners.take(&parent.writer).is_none()
        {
            parent.fields = parent.fields.difference(&FieldSet::of(&path));
        }
        all.put(parent);
    }
    let wanted = version.scale.as_ref().map(|scale| path(&scale.wanted));
    for owner in owners {
        if !owner.fields.has(&REPLICAS) {
            continue;
        }
        let mut writer = owner.writer;
        let same = times.iter().find(|(other, _)| other.is(&writer));
        let time = same.and_then(|(_, time)| time.clone());
        writer.api_version.clone_from(&own);
        all.put(Manager {
            writer,
            time,
            fields: FieldSet::of(wanted.as_deref().unwrap_or_default()),
        });
    }
    all
}

/// The version of an `apiVersion`.
fn served<'a>(resource: &'a Resource, api_version: &str) -> Option<&'a Version> {
    let mut versions = resource.versions.iter();
    versions.find(|version| resource.api_version(&version.name) == api_version)
}

/// The path of the replicas in objects of an `apiVersion`.
fn replicas_of<'a>(resource: &'a Resource, api_version: &str) -> Option<Vec<&'a str>> {
    let scale = served(resource, api_version)?.scale.as_ref()?;
    Some(path(&scale.wanted))
}

/// The fields of `.spec.replicas`.
fn path(path: &str) -> Vec<&str> {
    path.strip_prefix('.').unwrap_or(path).split('.').collect()
}

fn at<'v>(value: &'v Value, at: &str) -> Option<&'v Value> {
    path(at)
        .into_iter()
        .try_fold(value, |value, field| value.get(field))
}

fn number(value: &Value, path: &str) -> Result<Option<i64>, String> {
    match at(value, path) {
        None => Ok(None),
        Some(found) => match found.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(mistyped(path, found, "int64")),
        },
    }
}

fn text<'v>(value: &'v Value, path: &str) -> Result<Option<&'v str>, String> {
    match at(value, path) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(found) => Err(mistyped(path, found, "string")),
    }
}

fn mistyped(path: &str, found: &Value, wanted: &str) -> String {
    let found = shown(found);
    format!("{path} accessor error: {found} is not of the type {wanted}")
}

/// Sets the value at a path; what is on the way and no object becomes one.
fn put(value: &mut Value, at: &str, content: Value) {
    let mut place = value;
    for field in path(at) {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[field];
    }
    *place = content;
}
