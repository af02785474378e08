//! What the managers made on both servers, compared field by field.
//!
//! Hidden is what differs by its nature: uids, times, versions, what is drawn by lot (the ends of names, keys), and
//! what follows from that.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::document;
use crate::life::{KINDS, NAMESPACE};
use crate::server::Server;

/// How long the managers may take until they have written the last detail.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);

/// Uids, times, hashes of what has such in it, and the letters that Kubernetes draws for the ends of names.
static DRAWN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        (?<uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})
        | (?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)
        | (?<hash>machine-template-hash=\d+)
        | (?<end>-[bcdfghjklmnpqrstvwxz2456789]{5}\b)",
    )
    .expect("it is a regular expression")
});
/// Fields of any kind whose values are hidden: the hash is of a template that has such names in it.
const HIDDEN: [&str; 5] = [
    "resourceVersion",
    "caBundle",
    "url",
    "machine-template-hash",
    "data",
];

/// Who owns the list of owners.
const OWNERS: &str = "f:ownerReferences";
/// How the name of the Secret ends to which new objects are given.
const SHIM: &str = "-shim";

/// How often each field with its value is there.
type Fields = BTreeMap<String, usize>;

/// Waits until both have the same.
pub async fn same(real: &Server, ours: &Server) {
    let begun = Instant::now();
    loop {
        let (expected, found) = tokio::join!(fields(real), fields(ours));
        if expected == found {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{}",
            difference(&expected, &found)
        );
        tokio::time::sleep(LOOK).await;
    }
}

async fn fields(server: &Server) -> Fields {
    let mut fields = Fields::new();
    for (version, plural) in KINDS {
        let collection = document::collection(version, plural, Some(NAMESPACE));
        for object in server.list(&collection).await {
            let place = format!("{plural}/{}", document::name(&object));
            note(&mut fields, &place, settled(object), false);
        }
    }
    fields
}

/// Without what depends on who came first, and without what only a collector of garbage does.
fn settled(mut object: Value) -> Value {
    // Lists of built-in kinds leave them out of the items.
    for field in ["apiVersion", "kind"] {
        object.as_object_mut().map(|fields| fields.remove(field));
    }
    forget_shim(&mut object);
    let metadata = &mut object["metadata"];
    if let Some(finalizers) = metadata["finalizers"].as_array_mut() {
        finalizers.sort_by_key(Value::to_string);
    }
    if let Some(managers) = metadata["managedFields"].as_array_mut() {
        let key =
            |it: &Value| ["manager", "operation", "subresource"].map(|name| it[name].to_string());
        managers.sort_by_key(key);
    }
    object
}

/// Cluster API gives new objects to a Secret until they have their cluster, and deletes it: a collector, which the real
/// server does not have here, takes it off the list of owners.
fn forget_shim(object: &mut Value) {
    let metadata = &mut object["metadata"];
    let owners = metadata["ownerReferences"].as_array_mut();
    let Some(owners) = owners else { return };
    let is_shim = |owner: &&Value| owner["name"].as_str().is_some_and(|it| it.ends_with(SHIM));
    let uids: Vec<String> = owners
        .iter()
        .filter(is_shim)
        .map(|it| it["uid"].to_string())
        .collect();
    owners.retain(|owner| !is_shim(&owner));
    for manager in metadata["managedFields"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let Some(parts) = manager["fieldsV1"]["f:metadata"].as_object_mut() else {
            continue;
        };
        if let Some(owned) = parts.get_mut(OWNERS).and_then(Value::as_object_mut) {
            owned.retain(|key, _| !uids.iter().any(|uid| key.contains(uid)));
        }
        parts.retain(|name, part| name != OWNERS || *part != json!({}));
    }
}

/// Notes a value, and whether it is below a field that is hidden.
fn note(fields: &mut Fields, place: &str, value: Value, hidden: bool) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            for (name, value) in inner {
                let hidden = hidden || HIDDEN.contains(&name.as_str());
                note(fields, &format!("{place} {name}"), value, hidden);
            }
        }
        Value::Array(inner) if !inner.is_empty() => {
            for (index, value) in inner.into_iter().enumerate() {
                note(fields, &format!("{place} {index}"), value, hidden);
            }
        }
        value => {
            let value = if hidden { Value::Null } else { value };
            let line = plain(&format!("{place} = {value}"));
            *fields.entry(line).or_default() += 1;
        }
    }
}

fn plain(text: &str) -> String {
    let hide = |found: &Captures<'_>| {
        let names = ["uid", "time", "hash", "end"].into_iter();
        let name = names.into_iter().find(|name| found.name(name).is_some());
        format!("<{}>", name.unwrap_or_default())
    };
    DRAWN.replace_all(text, hide).into_owned()
}

fn difference(expected: &Fields, found: &Fields) -> String {
    let mut text = String::from("they differ (- kube-apiserver, + groma)");
    let sides = [("-", expected, found), ("+", found, expected)];
    for (sign, one, other) in sides {
        for (line, count) in one {
            if other.get(line) != Some(count) {
                write!(text, "\n{sign} {count} × {line}").expect("writing to a string cannot fail");
            }
        }
    }
    text
}
