//! What a server makes sure of before its first request: the namespaces that must exist, the definitions as objects,
//! and that what died half-way in garbage collection is looked at again.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::Outcome;
use crate::failure::Failure;
use crate::namespace;
use crate::object::{Object, meta_mut, meta_text};
use crate::query::FieldValidation;
use crate::resource::Resource;
use crate::rules::{Frame, Stamp};
use crate::selection::Selection;
use crate::server::Server;

pub(crate) fn prepare(server: &Server) -> Result<(), api::Error> {
    for name in namespace::PERMANENT {
        ensure_namespace(server, name).map_err(refused)?;
    }
    forget_definitions(server).map_err(refused)?;
    for definition in server.registry().definitions() {
        ensure_definition(server, definition).map_err(refused)?;
    }
    server.state().suspect_all(server.clock()());
    server.engine().collect();
    Ok(())
}

fn ensure_namespace(server: &Server, name: &str) -> Result<(), Failure> {
    let resource = built_in(server, "", "namespaces")?;
    let version = &resource.versions[0];
    let frame = Frame {
        resource,
        version,
        validation: FieldValidation::Ignore,
        by: None,
    };
    let decide = |old: Option<&Arc<Object>>| match old {
        // A user's namespace is left as it is.
        Some(_) => Ok(Outcome::Keep),
        None => {
            let made = frame.create(json!({"metadata": {"name": name}}), stamp(server))?;
            Ok(Outcome::Set(namespace::finish(resource, made.value)))
        }
    };
    server
        .engine()
        .decide(&resource.key("", name), decide, |_| Ok(()))
        .map(drop)
}

/// Makes the object of a definition, or brings its spec up to date.
fn ensure_definition(server: &Server, definition: &Value) -> Result<(), Failure> {
    let resource = definitions(server)?;
    let decide = |old: Option<&Arc<Object>>| match old {
        Some(old) if old.value.get("spec") == definition.get("spec") => Ok(Outcome::Keep),
        Some(old) => {
            let mut value = old.value.clone();
            value["spec"] = definition["spec"].clone();
            Ok(Outcome::Set(value))
        }
        None => Ok(Outcome::Set(established(definition, stamp(server)))),
    };
    let key = resource.key("", meta_text(definition, "name"));
    server.engine().decide(&key, decide, |_| Ok(())).map(drop)
}

/// Removes the objects of definitions that are not served any more; what was stored under them stays.
fn forget_definitions(server: &Server) -> Result<(), Failure> {
    let resource = definitions(server)?;
    let served: BTreeSet<&str> = server
        .registry()
        .definitions()
        .iter()
        .map(|d| meta_text(d, "name"))
        .collect();
    let (stored, _) = server.snapshot(&Selection::all(resource.home.clone()));
    for old in stored
        .iter()
        .filter(|object| !served.contains(object.key.name.as_str()))
    {
        let gone = |_: Option<&Arc<Object>>| Ok(Outcome::Remove(old.value.clone()));
        server.engine().decide(&old.key, gone, |_| Ok(()))?;
    }
    Ok(())
}

fn definitions(server: &Server) -> Result<&Resource, Failure> {
    built_in(server, "apiextensions.k8s.io", "customresourcedefinitions")
}

fn built_in<'a>(server: &'a Server, group: &str, plural: &str) -> Result<&'a Resource, Failure> {
    server
        .registry()
        .get(group, plural)
        .map(|resource| &**resource)
        .ok_or_else(Failure::no_such_path)
}

fn stamp(server: &Server) -> Stamp {
    Stamp {
        uid: server.ids().uid(),
        now: server.now(),
        suffix: String::new(),
    }
}

/// The definition as an object that says it is served.
fn established(definition: &Value, stamp: Stamp) -> Value {
    let mut object = definition.clone();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": stamp.now});
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> = versions
        .filter(|v| v["storage"] == true)
        .map(|v| &v["name"])
        .collect();
    object["status"] = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": object["spec"]["names"],
        "storedVersions": stored,
    });
    let metadata = meta_mut(&mut object);
    metadata.insert("uid".to_owned(), stamp.uid.into());
    metadata.insert("creationTimestamp".to_owned(), stamp.now.into());
    metadata.insert("generation".to_owned(), 1.into());
    object
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
