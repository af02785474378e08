//! The resources that are there without a definition: what controllers of Kubernetes take for granted.
//!
//! Their objects are checked by the types of `k8s-openapi` instead of a schema. Nothing here runs anything: a
//! built-in is stored and served, and only Namespaces have a life of their own (see [`crate::namespace`]).

mod access;
mod admission;
mod kubernetes;
pub(crate) mod lists;
pub(crate) mod reviews;
pub(crate) mod services;
mod shapes;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::shapes::Shapes;
use crate::failure::Cause;
use crate::ownership::Shape;
use crate::resource::{Conversion, Home, Resource, Traits, Typed, Version};
use crate::scale::Scale;
use crate::{convert, definition, namespace, signing};

/// Fields of an Event as stored (core/v1) and as served in `events.k8s.io/v1`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// What a field selector of Events may name.
const EVENT_SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The kinds of Kubernetes that nothing here runs, for servers that serve them all the same.
pub(crate) fn kubernetes_kinds() -> Vec<Resource> {
    kubernetes::resources()
}

/// Every built-in resource.
pub(crate) fn resources() -> Vec<Resource> {
    let mut all = vec![
        namespaces(),
        maps(),
        secrets(),
        events(),
        new_events(),
        leases(),
        definitions(),
        network_policies(),
    ];
    all.extend(kubernetes::strict_bounds());
    all.extend(access::resources());
    all.extend(admission::resources());
    all.extend(reviews::resources());
    all.extend([services::resource(), signing_requests()]);
    all
}

/// What tells one built-in from another.
struct Builtin {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    status: bool,
    scale: Option<Scale>,
    selectable: Vec<String>,
    shape: Shape,
    typed: Typed,
    traits: Traits,
}

impl Builtin {
    fn core(
        plural: &'static str,
        kind: &'static str,
        short_names: &'static [&'static str],
        typed: Typed,
    ) -> Self {
        let traits = Traits {
            unconditional_update: true,
            ..Traits::default()
        };
        Self {
            group: "",
            version: "v1",
            plural,
            kind,
            short_names,
            categories: &[],
            namespaced: true,
            status: false,
            scale: None,
            selectable: Vec::new(),
            shape: Shape::unknown_object(),
            typed,
            traits,
        }
    }

    fn resource(self) -> Resource {
        let version = Version {
            name: self.version.to_owned(),
            warning: None,
            schema: None,
            shape: self.shape,
            open_api: None,
            columns: Vec::new(),
            selectable: self.selectable,
            status: self.status,
            scale: self.scale,
            typed: Some(self.typed),
            conversion: Conversion::None,
        };
        Resource {
            group: self.group.to_owned(),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            namespaced: self.namespaced,
            versions: vec![version],
            stored_as: match self.group {
                "" => self.version.to_owned(),
                group => format!("{group}/{}", self.version),
            },
            home: Arc::new(Home {
                group: self.group.to_owned(),
                plural: self.plural.to_owned(),
            }),
            traits: self.traits,
            converter: None,
        }
    }
}

fn namespaces() -> Resource {
    let mut builtin = Builtin::core("namespaces", "Namespace", &["ns"], typed::<Namespace>());
    builtin.namespaced = false;
    builtin.status = true;
    builtin.selectable = vec!["status.phase".to_owned()];
    let conditions = Shape::Items(vec![("type".to_owned(), None)], Box::new(Shape::named([])));
    builtin.shape = Shape::object([
        ("spec", Shape::named([])),
        ("status", Shape::named([("conditions", conditions)])),
    ]);
    builtin.traits.blank = &["spec", "status"];
    builtin.traits.complete = Some(namespace::complete);
    builtin.traits.problems = Some(namespace::problems);
    builtin.traits.status_with_metadata = true;
    builtin.resource()
}

fn maps() -> Resource {
    let mut builtin = Builtin::core("configmaps", "ConfigMap", &["cm"], typed::<ConfigMap>());
    builtin.traits.fixed = Some(fixed_data);
    builtin.shape = data_shape();
    builtin.resource()
}

/// ConfigMaps and Secrets are owned key by key.
fn data_shape() -> Shape {
    Shape::object([
        ("binaryData", Shape::map(Shape::Leaf)),
        ("data", Shape::map(Shape::Leaf)),
    ])
}

/// What was once declared immutable stays so, and as it is.
fn fixed_data(old: &Value, new: &Value) -> Vec<Cause> {
    if old["immutable"] != true {
        return Vec::new();
    }
    // Nothing and no keys are the same data.
    let data = |value: &Value, field: &str| value.get(field).cloned().unwrap_or_else(|| json!({}));
    let mut changed = Vec::from(["data", "binaryData"]);
    changed.retain(|field| data(old, field) != data(new, field));
    if new["immutable"] != true {
        changed.insert(0, "immutable");
    }
    let why = "field is immutable when `immutable` is set";
    let causes = changed.into_iter();
    causes.map(|field| Cause::forbidden(field, why)).collect()
}

fn secrets() -> Resource {
    let mut builtin = Builtin::core("secrets", "Secret", &[], typed::<Secret>());
    builtin.selectable = vec!["type".to_owned()];
    builtin.traits.complete = Some(complete_secret);
    builtin.traits.fixed = Some(fixed_secret);
    builtin.shape = data_shape();
    builtin.resource()
}

/// A Secret keeps its type, by which its readers know what is in it.
fn fixed_secret(old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = fixed_data(old, new);
    if old["type"] != new["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    causes
}

/// Moves `stringData`, which is only ever written, into `data`, and names the type: the one that it has.
fn complete_secret(secret: &mut Value, old: Option<&Value>) {
    let texts: Option<BTreeMap<String, String>> = secret
        .get("stringData")
        .and_then(|texts| serde_json::from_value(texts.clone()).ok());
    let Some(fields) = secret.as_object_mut() else {
        return;
    };
    let data = fields.get("data").unwrap_or(&Value::Null);
    // What is no map of texts, or has no map to go into, stays for the check to refuse.
    if let (Some(texts), Value::Null | Value::Object(_)) = (texts, data) {
        let mut data = data.clone();
        for (key, text) in texts {
            data[key] = json!(ByteString(text.into_bytes()));
        }
        fields.remove("stringData");
        fields.insert("data".to_owned(), data);
    }
    if matches!(fields.get("type").and_then(Value::as_str), None | Some("")) {
        let kept = old.and_then(|old| old.get("type")).cloned();
        let kept = kept.unwrap_or_else(|| "Opaque".into());
        fields.insert("type".to_owned(), kept);
    }
}

fn events() -> Resource {
    let mut builtin = Builtin::core("events", "Event", &["ev"], typed::<Event>());
    builtin.traits.create_on_update = true;
    builtin.traits.blank = &["source"];
    builtin.shape = Shape::object([("series", Shape::named([])), ("source", Shape::named([]))]);
    builtin.selectable = EVENT_SELECTABLE
        .iter()
        .map(|path| (*path).to_owned())
        .collect();
    builtin.resource()
}

/// The same events under their newer group: one place, other field names.
fn new_events() -> Resource {
    let mut resource = events();
    resource.group = "events.k8s.io".to_owned();
    let version = &mut resource.versions[0];
    version.typed = Some(typed::<k8s_openapi::api::events::v1::Event>());
    version.conversion = Conversion::Rename(EVENT_FIELDS);
    version.shape = Shape::object([
        ("deprecatedSource", Shape::named([])),
        ("series", Shape::named([])),
    ]);
    resource.traits.blank = &["deprecatedSource"];
    for path in &mut version.selectable {
        *path = convert::served_path(version.conversion, path);
    }
    resource
}

fn leases() -> Resource {
    let mut builtin = Builtin::core("leases", "Lease", &[], typed::<Lease>());
    builtin.group = "coordination.k8s.io";
    builtin.traits.unconditional_update = false;
    builtin.traits.blank = &["spec"];
    builtin.shape = Shape::object([("spec", Shape::named([]))]);
    builtin.traits.create_on_update = true;
    builtin.resource()
}

fn network_policies() -> Resource {
    let typed = typed::<NetworkPolicy>();
    let mut builtin = Builtin::core("networkpolicies", "NetworkPolicy", &["netpol"], typed);
    builtin.group = "networking.k8s.io";
    builtin.traits.generation = true;
    builtin.traits.complete = Some(complete_policy);
    builtin.traits.blank = &["spec"];
    builtin.shape = Shape::object([("spec", Shape::named([]))]);
    builtin.resource()
}

/// What a policy is about follows from what it says.
fn complete_policy(policy: &mut Value, _: Option<&Value>) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    if spec
        .get("policyTypes")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        let egress = spec
            .get("egress")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty());
        spec["policyTypes"] = match egress {
            true => json!(["Ingress", "Egress"]),
            false => json!(["Ingress"]),
        };
    }
    for rules in ["ingress", "egress"] {
        let rules = spec.get_mut(rules).and_then(Value::as_array_mut);
        let ports = rules.into_iter().flatten();
        let ports = ports
            .filter_map(|rule| rule.get_mut("ports")?.as_array_mut())
            .flatten();
        for port in ports.filter(|port| port.is_object() && port["protocol"].is_null()) {
            port["protocol"] = "TCP".into();
        }
    }
}

fn signing_requests() -> Resource {
    let mut builtin =
        kubernetes::kind::<CertificateSigningRequest>(&mut Shapes::default(), &["csr"])
            .everywhere()
            .selectable(&["spec.signerName"]);
    builtin.traits.problems = Some(signing::problems);
    builtin.traits.fixed = Some(signing::fixed);
    builtin.resource()
}

/// The definitions themselves.
fn definitions() -> Resource {
    let typed = Typed {
        read: definition::read,
        ..typed::<CustomResourceDefinition>()
    };
    let mut builtin = Builtin::core(
        definition::PLURAL,
        "CustomResourceDefinition",
        &["crd", "crds"],
        typed,
    );
    builtin.group = definition::GROUP;
    builtin.namespaced = false;
    builtin.status = true;
    builtin.shape = Shape::object([
        (
            "spec",
            Shape::named([
                ("conversion", Shape::named([])),
                ("names", Shape::named([])),
                ("versions", Shape::Leaf),
            ]),
        ),
        ("status", Shape::Unknown),
    ]);
    builtin.traits = Traits {
        generation: true,
        complete: Some(definition::complete),
        problems: Some(definition::problems),
        blank: &["spec/names"],
        ..Traits::default()
    };
    builtin.resource()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a Rust type says of its kind.
pub(crate) fn typed<T: DeserializeOwned + Serialize + JsonSchema>() -> Typed {
    Typed {
        read: |value| {
            let read = T::deserialize(value).map_err(|error| error.to_string())?;
            serde_json::to_value(read).map_err(|error| error.to_string())
        },
        schema_name: T::schema_name,
        schema: |generator| drop(generator.subschema_for::<T>()),
    }
}

/// A new object with the status that it begins with, unless it brought one.
pub(crate) fn born(resource: &Resource, version: &Version, mut value: Value) -> Value {
    let born = resource.traits.born;
    let Some(born) = born.filter(|_| value.get("status").is_none()) else {
        return value;
    };
    value["status"] = born(&value);
    // Its type adds what every such status has.
    let read = version.typed.map(|typed| (typed.read)(&value));
    read.and_then(Result::ok).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_as_data_with_a_type() {
        let mut secret = json!({"data": {"a": "MQ=="}, "stringData": {"a": "2", "b": "3"}});
        complete_secret(&mut secret, None);
        assert_eq!(
            secret,
            json!({"data": {"a": "Mg==", "b": "Mw=="}, "type": "Opaque"})
        );
        for odd in [
            json!({"type": "x", "stringData": {"a": 1}}),
            json!({"type": "x", "stringData": {"a": "1"}, "data": 1}),
        ] {
            let mut kept = odd.clone();
            complete_secret(&mut kept, None);
            assert_eq!(kept, odd, "left for the check to refuse");
        }
    }
}
