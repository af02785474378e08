//! What a server makes sure of before its first request: the namespaces that must exist, the definitions as objects,
//! and that what died half-way in garbage collection is looked at again.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::access::HOSTS_NAMESPACE;
use crate::engine::Outcome;
use crate::failure::Failure;
use crate::object::{Object, meta_text};
use crate::query::FieldValidation;
use crate::resource::Resource;
use crate::rules::{Frame, Stamp};
use crate::server::Server;

/// Namespaces that are made if they are not there.
const NAMESPACES: &[&str] = &["default", HOSTS_NAMESPACE];

pub(crate) fn prepare(
    server: &Server,
    crds: &[CustomResourceDefinition],
) -> Result<(), api::Error> {
    for name in NAMESPACES {
        ensure(
            server,
            "",
            "namespaces",
            json!({"metadata": {"name": name}}),
        )
        .map_err(refused)?;
    }
    for crd in crds {
        let object = established(crd, &server.now()).map_err(unreadable)?;
        ensure(
            server,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            object,
        )
        .map_err(refused)?;
    }
    server.state().suspect_all(server.clock()());
    server.engine().collect();
    Ok(())
}

/// Makes the object, or brings its spec up to date.
fn ensure(server: &Server, group: &str, plural: &str, object: Value) -> Result<(), Failure> {
    let resource = server
        .registry()
        .get(group, plural)
        .ok_or_else(Failure::no_such_path)?;
    let version = &resource.versions[0];
    let frame = Frame {
        resource,
        version,
        validation: FieldValidation::Ignore,
    };
    let key = resource.key("", meta_text(&object, "name"));
    let decide = |old: Option<&std::sync::Arc<Object>>| match old {
        Some(old) => Ok(brought_up_to_date(resource, old, &object)),
        None => {
            let stamp = Stamp {
                uid: server.ids().uid(),
                now: server.now(),
                suffix: String::new(),
            };
            let mut made = frame.create(object.clone(), stamp)?.value;
            if let Some(status) = object.get("status") {
                made["status"] = status.clone();
            }
            Ok(Outcome::Set(crate::namespace::finish(resource, made)))
        }
    };
    server.engine().decide(&key, decide, |_| Ok(())).map(drop)
}

/// Only a definition can be out of date; a user's namespace is left as it is.
fn brought_up_to_date(resource: &Resource, old: &Object, wanted: &Value) -> Outcome {
    if !resource.traits.read_only || old.value.get("spec") == wanted.get("spec") {
        return Outcome::Keep;
    }
    let mut value = old.value.clone();
    value["spec"] = wanted["spec"].clone();
    Outcome::Set(value)
}

/// The definition as an object that says it is served.
fn established(crd: &CustomResourceDefinition, now: &str) -> Result<Value, serde_json::Error> {
    let mut object = serde_json::to_value(crd)?;
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    object["status"] = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": object["spec"]["names"],
        "storedVersions": crd.spec.versions.iter().filter(|v| v.storage).map(|v| &v.name).collect::<Vec<_>>(),
    });
    Ok(object)
}

pub(crate) fn unreadable(why: impl std::fmt::Display) -> api::Error {
    api::Error::new(
        api::ErrorKind::Internal,
        format!("cannot start the API server: {why}"),
    )
}

fn refused(failure: Failure) -> api::Error {
    api::Error::new(
        api::ErrorKind::Internal,
        format!("cannot prepare the API server: {failure}"),
    )
}
