//! What the agent of a host may do.
//!
//! It reads its own Host, HostDatapath, Lease and Instances, writes their status (and its finalizer on what it runs),
//! reads the ConfigMaps and Secrets that its Instances name, and asks for its next certificate ([`crate::signing`]).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::access::{HOSTS_NAMESPACE, is_held};
use crate::failure::Failure;
use crate::object::{finalizers, meta, meta_mut, meta_text};
use crate::request::{Request, Subresource, Verb};
use crate::rules::put;
use crate::selection::{FieldSelector, Selection};
use crate::server::Server;
use crate::{list, ownership, signing};

/// The group of the kinds that the rules name.
const GROUP: &str = api::GROUP;
/// Deepest place in an Instance at which a reference is looked for.
const REFERENCE_DEPTH_MAX: usize = 16;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Host,
    HostDatapath,
    Instance,
    Lease,
    Configuration(&'static str),
    Certificate,
    Other,
}

impl Subject {
    fn of(request: &Request) -> Self {
        match (
            request.resource.group.as_str(),
            request.resource.plural.as_str(),
        ) {
            (GROUP, "hosts") => Self::Host,
            (GROUP, "hostdatapaths") => Self::HostDatapath,
            (GROUP, "instances") => Self::Instance,
            ("coordination.k8s.io", "leases") => Self::Lease,
            ("", "configmaps") => Self::Configuration("configMap"),
            ("", "secrets") => Self::Configuration("secret"),
            _ if signing::is_asked(request) => Self::Certificate,
            _ => Self::Other,
        }
    }
}

pub(super) fn allows(server: &Server, host: &str, request: &Request) -> Result<bool, Failure> {
    let writes = matches!(request.verb, Verb::Update | Verb::Patch);
    let touches = writes || request.verb == Verb::Get;
    let is_own_name = request.name == host;
    Ok(match Subject::of(request) {
        Subject::Host if writes => is_own_name && request.subresource == Some(Subresource::Status),
        Subject::Host | Subject::HostDatapath if touches => is_own_name,
        Subject::Host | Subject::HostDatapath => selects(request, "metadata.name", host)?,
        // Whose it is shows once it is found; one that is not there is nobody's secret: the answer is 404.
        Subject::Instance if touches => true,
        Subject::Instance => selects(request, "spec.host", host)?,
        Subject::Lease if request.verb == Verb::Create => request.namespace == HOSTS_NAMESPACE,
        Subject::Lease => touches && is_own_name && request.namespace == HOSTS_NAMESPACE,
        Subject::Configuration(kind) => {
            request.verb == Verb::Get && is_named(server, host, request, kind)
        }
        // Whether it is for the host itself is looked at when it is signed.
        Subject::Certificate => true,
        Subject::Other => false,
    })
}

/// Whether a found object is one of the host's; only of an Instance its name does not say so.
pub(super) fn owns(host: &str, request: &Request, found: &Value) -> bool {
    match Subject::of(request) {
        Subject::Instance => found.pointer("/spec/host").and_then(Value::as_str) == Some(host),
        _ => true,
    }
}

/// A host makes its own Lease, which goes with its Host, and for which nobody waits; and it asks for its certificate.
pub(super) fn may_create(host: &str, request: &Request, new: &Value) -> bool {
    if Subject::of(request) == Subject::Certificate {
        return !is_held(new);
    }
    let owners = meta(new).get("ownerReferences").and_then(Value::as_array);
    Subject::of(request) == Subject::Lease
        && meta_text(new, "name") == host
        && !meta(new).contains_key("finalizers")
        && owners
            .into_iter()
            .flatten()
            .all(|owner| is_host(owner, host))
}

/// Whether an owner reference names that Host and does not hold up its deletion.
fn is_host(owner: &Value, host: &str) -> bool {
    let group = owner["apiVersion"]
        .as_str()
        .and_then(|version| version.split('/').next());
    group == Some(GROUP)
        && owner["kind"] == "Host"
        && owner["name"] == host
        && owner["blockOwnerDeletion"] != true
}

/// On the objects that it acts for, an agent changes the status and its own finalizer, and nothing else; on its Lease
/// what the Lease says.
pub(super) fn may_change(request: &Request, old: &Value, new: &Value) -> bool {
    let whole = request.subresource != Some(Subresource::Status);
    match Subject::of(request) {
        Subject::Instance | Subject::HostDatapath if whole => {
            without_own_finalizer(request, old) == without_own_finalizer(request, new)
        }
        Subject::Instance | Subject::HostDatapath | Subject::Host => true,
        Subject::Lease => without_spec(old) == without_spec(new),
        Subject::Configuration(_) | Subject::Certificate | Subject::Other => false,
    }
}

/// The object as if its kind's owner, which runs with the agent, did not hold it.
fn without_own_finalizer(request: &Request, object: &Value) -> Value {
    let own = format!("{GROUP}/{}", request.resource.kind.to_lowercase());
    let others: Vec<&str> = finalizers(object)
        .into_iter()
        .filter(|finalizer| *finalizer != own)
        .collect();
    let mut rest = without_owners(object);
    match others.is_empty() {
        true => drop(meta_mut(&mut rest).remove("finalizers")),
        false => drop(meta_mut(&mut rest).insert("finalizers".to_owned(), others.into())),
    }
    rest
}

fn without_spec(object: &Value) -> Value {
    let mut rest = without_owners(object);
    put(&mut rest, "spec", None);
    rest
}

/// Who owns which field follows from the change itself.
fn without_owners(object: &Value) -> Value {
    let mut rest = object.clone();
    meta_mut(&mut rest).remove(ownership::FIELD);
    rest
}

/// Whether a list or watch asks only for objects with that value at that path.
fn selects(request: &Request, path: &str, value: &str) -> Result<bool, Failure> {
    let reads = matches!(request.verb, Verb::List | Verb::Watch);
    Ok(reads && list::selection(request)?.fields.wanted(path) == Some(value))
}

/// Whether an Instance of the host in that namespace names the ConfigMap or Secret.
fn is_named(server: &Server, host: &str, request: &Request, kind: &str) -> bool {
    let registry = server.registry();
    let Some(instances) = registry.get(GROUP, "instances") else {
        return false;
    };
    let own = Selection {
        namespace: Some(request.namespace.clone()),
        fields: FieldSelector::default().and("spec.host", host),
        ..Selection::all(instances.home.clone())
    };
    let (instances, _) = server.snapshot(&own);
    instances
        .iter()
        .any(|instance| references(&instance.value, kind).contains(request.name.as_str()))
}

/// The names that the configuration of an Instance gives to objects of a kind, `configMap` or `secret`.
fn references<'a>(instance: &'a Value, kind: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    if let Some(configuration) = instance.pointer("/spec/configuration") {
        gather(configuration, kind, 0, &mut names);
    }
    names
}

fn gather<'a>(value: &'a Value, kind: &str, depth: usize, names: &mut BTreeSet<&'a str>) {
    if depth > REFERENCE_DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(fields) => {
            names.extend(
                fields
                    .get(kind)
                    .and_then(|named| named.get("name"))
                    .and_then(Value::as_str),
            );
            fields
                .values()
                .for_each(|field| gather(field, kind, depth + 1, names));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|item| gather(item, kind, depth + 1, names)),
        _ => {}
    }
}
