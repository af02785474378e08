//! From the stored form of an object to the version that a client asks for, and back.
//!
//! Only what needs no other program: another `apiVersion`, and the two names of Event fields. Where the forms are the
//! same, nothing is copied.

use std::borrow::Cow;

use serde_json::Value;

use crate::resource::{Conversion, Resource, Version};

/// The document in the served version.
pub(crate) fn served<'a>(
    resource: &Resource,
    version: &Version,
    stored: &'a Value,
) -> Cow<'a, Value> {
    let api_version = resource.api_version(&version.name);
    // An object may have been stored when another version was the stored one.
    if version.conversion == Conversion::None && stored["apiVersion"] == api_version.as_str() {
        return Cow::Borrowed(stored);
    }
    let mut value = stored.clone();
    value["apiVersion"] = api_version.into();
    rename(&mut value, version.conversion, |(stored, served)| {
        (stored, served)
    });
    Cow::Owned(value)
}

/// The document as it is stored.
pub(crate) fn stored(resource: &Resource, version: &Version, mut served: Value) -> Value {
    served["apiVersion"] = resource.stored_as.clone().into();
    rename(&mut served, version.conversion, |(stored, served)| {
        (served, stored)
    });
    served
}

/// The path in stored objects of a path in served ones.
pub(crate) fn stored_path(conversion: Conversion, path: &str) -> String {
    renamed(conversion, path, |(stored, served)| (served, stored))
}

/// The path in served objects of a path in stored ones.
pub(crate) fn served_path(conversion: Conversion, path: &str) -> String {
    renamed(conversion, path, |(stored, served)| (stored, served))
}

fn renamed(conversion: Conversion, path: &str, direction: fn(Names) -> Names) -> String {
    let Conversion::Rename(names) = conversion else {
        return path.to_owned();
    };
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let found = names
        .iter()
        .map(|pair| direction(*pair))
        .find(|(from, _)| *from == first);
    format!("{}{rest}", found.map_or(first, |(_, to)| to))
}

type Names = (&'static str, &'static str);

fn rename(value: &mut Value, conversion: Conversion, direction: fn(Names) -> Names) {
    let Conversion::Rename(names) = conversion else {
        return;
    };
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    for pair in names {
        let (from, to) = direction(*pair);
        if let Some(content) = fields.remove(from) {
            fields.insert(to.to_owned(), content);
        }
    }
}
