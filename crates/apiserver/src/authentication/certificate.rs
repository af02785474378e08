//! Whether a certificate still counts: TLS has verified it when its connection began, and this is asked for each request
//! on it, and for what goes on.
//!
//! It ends with its time. An administrator may say of a user that only what was issued after a moment counts
//! ([`revocation`]): that stands in a ConfigMap, so it outlives a restart and is in backups. The certificate of a host
//! names the uid of its Host, as a token names its account's, and ends with it.

use std::future::pending;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Refused;
use crate::access::{HOSTS_NAMESPACE, Identity};
use crate::boot;
use crate::history::{Change, Event};
use crate::object::{Key, is_deleting};
use crate::server::Server;

/// What the name of a revocation begins with.
const REVOCATION_PREFIX: &str = "certificates-";
/// Where Hosts are kept.
const HOSTS: (&str, &str) = (api::GROUP, "hosts");

/// The ConfigMap that says that of a user's certificates only those count which were issued at that moment or later.
#[must_use]
pub fn revocation(user: &str, from: Timestamp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": revocation_name(user), "namespace": HOSTS_NAMESPACE},
        "data": {"user": user, "notBefore": from.to_string()},
    })
}

/// The name of a user may have letters that no object's name has.
fn revocation_name(user: &str) -> String {
    let hash = api::short_hash(&["certificates", user]);
    format!("{REVOCATION_PREFIX}{hash:016x}")
}

/// From when on a user's certificates count, if that was ever said.
///
/// # Errors
/// When nobody can read what was said: no certificate of that user counts then.
pub(crate) fn not_before(server: &Server, user: &str) -> Result<Option<Timestamp>, Refused> {
    let maps = boot::built_in(server, "", "configmaps").map_err(|_| Refused::Unknown)?;
    let key = maps.key(HOSTS_NAMESPACE, &revocation_name(user));
    let Some(said) = server.state().objects.get(&key) else {
        return Ok(None);
    };
    let from = said.value["data"]["notBefore"].as_str().unwrap_or_default();
    let from = from.parse().map_err(|_| Refused::Unreadable(key.name))?;
    Ok(Some(from))
}

/// Whether the certificate counts by which somebody is known; whoever is known otherwise passes.
pub(crate) fn check(server: &Server, identity: &Identity) -> Result<(), Refused> {
    let Some(validity) = identity.certificate else {
        return Ok(());
    };
    if validity.ends < server.clock()() {
        return Err(Refused::CertificateEnded(validity.ends));
    }
    if let Some(host) = identity.host_name()
        && host_uid(server, host).as_deref() != Some(&identity.uid)
    {
        return Err(Refused::Forgotten(host.to_owned()));
    }
    match not_before(server, &identity.name)? {
        Some(from) if validity.begins < from => Err(Refused::Revoked(from)),
        _ => Ok(()),
    }
}

/// Returns when the certificate ends by which somebody is known, if it is by one.
pub(crate) async fn end(server: &Server, identity: &Identity) {
    let Some(validity) = identity.certificate else {
        return pending().await;
    };
    let left = validity.ends.duration_since(server.clock()());
    sleep(left.try_into().unwrap_or_default()).await;
}

/// The uid of a Host that is there to stay.
pub(crate) fn host_uid(server: &Server, host: &str) -> Option<String> {
    let hosts = boot::built_in(server, HOSTS.0, HOSTS.1).ok()?;
    let found = server.state().objects.get(&hosts.key("", host))?;
    (!is_deleting(&found.value)).then(|| found.uid().to_owned())
}

/// Whether certificates that counted before may count no more.
pub(crate) fn ends_some(event: &Event) -> bool {
    let Key {
        home,
        namespace,
        name,
    } = &event.new.key;
    match (home.group.as_str(), home.plural.as_str()) {
        HOSTS => event.change == Change::Deleted || is_deleting(&event.new.value),
        ("", "configmaps") => namespace == HOSTS_NAMESPACE && name.starts_with(REVOCATION_PREFIX),
        _ => false,
    }
}
