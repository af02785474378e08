//! What a server makes sure of before its first request: the namespaces that must exist, the definitions as objects,
//! the roles that everybody counts on, and that what died half-way in garbage collection is looked at again.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::bootstrap;
use crate::builtin::services;
use crate::convert::Known;
use crate::definition;
use crate::engine::Outcome;
use crate::failure::Failure;
use crate::namespace;
use crate::object::{Object, meta_mut, meta_text};
use crate::query::FieldValidation;
use crate::resource::Resource;
use crate::rules::{Frame, Stamp};
use crate::selection::Selection;
use crate::server::Server;
use crate::state::State;
use crate::{builtin, furnish, quota};

pub(crate) fn prepare(server: &Server) -> Result<(), api::Error> {
    for name in namespace::PERMANENT {
        ensure_namespace(server, name).map_err(refused)?;
    }
    furnish::everything(server).map_err(refused)?;
    forget_definitions(server).map_err(refused)?;
    let registry = server.registry();
    for definition in registry.definitions() {
        ensure_definition(server, definition).map_err(refused)?;
    }
    definition::reconsider(server.engine());
    services::keep(server.engine());
    bootstrap::reconcile(server).map_err(refused)?;
    server.state().suspect_all(server.clock()());
    quota::suspect_all(&mut server.state());
    quota::keep(server.engine());
    server.engine().collect();
    Ok(())
}

/// Makes a namespace that is not there.
pub(crate) fn ensure_namespace(server: &Server, name: &str) -> Result<(), Failure> {
    ensure(server, "namespaces", json!({"metadata": {"name": name}}))
}

/// Makes an object of the core group that is not there; one that is there is a user's, and left as it is.
pub(crate) fn ensure(server: &Server, plural: &str, object: Value) -> Result<(), Failure> {
    let (registry, resource) = (server.registry(), built_in(server, "", plural)?);
    let frame = Frame {
        resource: &resource,
        version: &resource.versions[0],
        validation: FieldValidation::Ignore,
        by: None,
        known: &Known::default(),
    };
    let decide = |old: Option<&Arc<Object>>| match old {
        Some(_) => Ok(Outcome::Keep),
        None => {
            let draft = frame.draft(object.clone())?;
            let made = frame.create(draft.value, stamp(server))?;
            let made = namespace::finish(&resource, made);
            Ok(Outcome::Set(builtin::born(
                &resource,
                &resource.versions[0],
                made,
            )))
        }
    };
    let key = resource.key(meta_text(&object, "namespace"), meta_text(&object, "name"));
    let admit =
        |state: &State, _: &mut Outcome| namespace::admits(state, &registry, &resource, &key);
    server.engine().decide(&key, decide, admit).map(drop)
}

/// Makes the object of a definition, or brings its spec up to date.
fn ensure_definition(server: &Server, definition: &Value) -> Result<(), Failure> {
    let (resource, registry) = (definitions(server)?, server.registry());
    let decide = |old: Option<&Arc<Object>>| {
        let before = old.map(|old| &*old.value);
        let mut value = match before {
            Some(before) if is_same(before, definition) => return Ok(Outcome::Keep),
            Some(before) => before.clone(),
            None => {
                let mut made = fresh(definition, stamp(server));
                meta_mut(&mut made).insert("generation".to_owned(), 1.into());
                made
            }
        };
        // One that a user made, and perhaps deletes, is the program's from now on.
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
        ] {
            meta_mut(&mut value).remove(field);
        }
        value["spec"] = definition["spec"].clone();
        value["metadata"]["annotations"][definition::OWN] = "true".into();
        Ok(Outcome::Set(value))
    };
    let key = resource.key("", definition::name(definition));
    let (engine, now) = (server.engine(), server.now());
    let decided = engine.decide(&key, decide, |state, outcome| {
        definition::finish(state, &registry, &key, outcome, &now);
        Ok(())
    });
    decided.map(drop)
}

fn is_same(stored: &Value, definition: &Value) -> bool {
    let own = stored
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(definition::OWN));
    own.is_some() && stored.get("spec") == definition.get("spec")
}

/// A document as a new object.
pub(crate) fn fresh(document: &Value, stamp: Stamp) -> Value {
    let mut object = document.clone();
    let metadata = meta_mut(&mut object);
    metadata.insert("uid".to_owned(), stamp.uid.into());
    metadata.insert("creationTimestamp".to_owned(), stamp.now.into());
    object
}

/// Removes the objects of definitions that are not served any more; what was stored under them stays.
fn forget_definitions(server: &Server) -> Result<(), Failure> {
    let (resource, registry) = (definitions(server)?, server.registry());
    let (stored, _) = server.snapshot(&Selection::all(resource.home.clone()));
    for old in stored
        .iter()
        .filter(|object| definition::is_former(&registry, &object.value))
    {
        let gone = |_: Option<&Arc<Object>>| Ok(Outcome::Remove(old.value.clone()));
        server.engine().decide(&old.key, gone, |_, _| Ok(()))?;
    }
    Ok(())
}

fn definitions(server: &Server) -> Result<Arc<Resource>, Failure> {
    built_in(server, definition::GROUP, definition::PLURAL)
}

pub(crate) fn built_in(
    server: &Server,
    group: &str,
    plural: &str,
) -> Result<Arc<Resource>, Failure> {
    let registry = server.registry();
    let resource = registry.get(group, plural).cloned();
    resource.ok_or_else(Failure::no_such_path)
}

pub(crate) fn stamp(server: &Server) -> Stamp {
    Stamp {
        uid: server.ids().uid(),
        now: server.now(),
        suffix: String::new(),
    }
}

pub(crate) fn unreadable(why: impl std::fmt::Display) -> api::Error {
    api::Error::new(
        api::ErrorKind::Internal,
        format!("cannot start the API server: {why}"),
    )
}

pub(crate) fn refused(failure: Failure) -> api::Error {
    api::Error::new(
        api::ErrorKind::Internal,
        format!("cannot prepare the API server: {failure}"),
    )
}
