//! Who may do what.
//!
//! Two rules for now: administrators may do everything, and a host may do what its agent needs and nothing that is
//! another host's. Every decision is made here, at four points of a request: before it is done, when the object that it
//! is about is found, when a new object is known, and when the old and the new state of one are known. What goes through
//! the agents' doors is decided before it is done.

mod host;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::failure::Failure;
use crate::metrics;
use crate::request::{Request, Subresource};
use crate::review;
use crate::server::Server;

/// The namespace in which every host keeps its Lease, under its own name.
pub const HOSTS_NAMESPACE: &str = api::SYSTEM_NAMESPACE;

/// The group of administrators, as in Kubernetes.
const ADMINS: &str = "system:masters";
/// What the name of a host follows in that of its user, and in its certificate.
const HOST_PREFIX: &str = "system:host:";

/// Who makes a request, as the door has established it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// May do everything.
    Admin(String),
    /// The agent of the host with that name: may do what that host needs.
    Host(String),
}

impl Identity {
    /// Who that is, by the name of a user and its groups; `None` if they mean nothing here.
    #[must_use]
    pub fn named<'g>(user: &str, mut groups: impl Iterator<Item = &'g str>) -> Option<Self> {
        if groups.any(|group| group == ADMINS) {
            return Some(Self::Admin(user.to_owned()));
        }
        let host = user.strip_prefix(HOST_PREFIX)?;
        (!host.is_empty()).then(|| Self::Host(host.to_owned()))
    }

    /// The name in messages and records, in the form of Kubernetes user names.
    #[must_use]
    pub fn user(&self) -> String {
        match self {
            Self::Admin(name) => name.clone(),
            Self::Host(name) => format!("{HOST_PREFIX}{name}"),
        }
    }

    /// The groups that it belongs to, in the names of Kubernetes where it has some.
    #[must_use]
    pub fn groups(&self) -> [&'static str; 2] {
        match self {
            Self::Admin(_) => [ADMINS, "system:authenticated"],
            Self::Host(_) => ["system:hosts", "system:authenticated"],
        }
    }
}

/// Whether the author may make that request at all.
pub(crate) fn check(
    server: &Server,
    identity: &Identity,
    request: &Request,
) -> Result<(), Failure> {
    match identity {
        Identity::Admin(_) => Ok(()),
        // Whoever gets in may ask who he is and what he may do.
        Identity::Host(_) if review::is_about_oneself(&request.resource) => Ok(()),
        Identity::Host(host) if host::allows(server, host, request)? => Ok(()),
        Identity::Host(_) => Err(forbidden(identity, request)),
    }
}

/// Whether the author may see and change that object. Asked of the very state that is answered or changed: whose an
/// object is may have been another's when the request began, or nobody's.
pub(crate) fn check_found(
    identity: &Identity,
    request: &Request,
    found: &Value,
) -> Result<(), Failure> {
    match identity {
        Identity::Admin(_) => Ok(()),
        Identity::Host(host) if host::owns(host, request, found) => Ok(()),
        Identity::Host(_) => Err(forbidden(identity, request)),
    }
}

/// Whether the author may apply: an agent changes what it must and owns nothing else.
pub(crate) fn check_applies(identity: &Identity, request: &Request) -> Result<(), Failure> {
    match identity {
        Identity::Admin(_) => Ok(()),
        Identity::Host(_) if request.subresource == Some(Subresource::Status) => Ok(()),
        Identity::Host(_) => Err(forbidden(identity, request)),
    }
}

/// Whether the author may make that object.
pub(crate) fn check_created(
    identity: &Identity,
    request: &Request,
    new: &Value,
) -> Result<(), Failure> {
    match identity {
        Identity::Admin(_) => Ok(()),
        Identity::Host(host) if host::may_create(host, request, new) => Ok(()),
        Identity::Host(_) => Err(forbidden(identity, request)),
    }
}

/// Whether the author may turn the one state of an object into the other.
pub(crate) fn check_changed(
    identity: &Identity,
    request: &Request,
    old: &Value,
    new: &Value,
) -> Result<(), Failure> {
    match identity {
        Identity::Admin(_) => Ok(()),
        Identity::Host(_) if host::may_change(request, old, new) => Ok(()),
        Identity::Host(_) => Err(forbidden(identity, request)),
    }
}

/// Whether the author may read that path, which is about no resource.
pub(crate) fn check_path(identity: &Identity, path: &str) -> Result<(), Failure> {
    if path != metrics::PATH || matches!(identity, Identity::Admin(_)) {
        return Ok(());
    }
    let why = format!(
        "forbidden: User {:?} cannot get path {path:?}",
        identity.user()
    );
    Err(Failure::new(403, "Forbidden", why))
}

/// Whether the author may open the door of that host.
pub(crate) fn check_door(identity: &Identity, host: &str) -> Result<(), Failure> {
    if *identity == Identity::Host(host.to_owned()) {
        return Ok(());
    }
    let why = format!("only the agent of host {host:?} may open its door");
    Err(Failure::new(403, "Forbidden", why))
}

/// Whether the author may ask agents through their doors.
pub(crate) fn check_passed(identity: &Identity) -> Result<(), Failure> {
    if matches!(identity, Identity::Admin(_)) {
        return Ok(());
    }
    let why = "logs, exec and what agents tell are for administrators";
    Err(Failure::new(403, "Forbidden", why))
}

fn forbidden(identity: &Identity, request: &Request) -> Failure {
    let Request {
        verb,
        resource,
        namespace,
        name,
        subresource,
        ..
    } = request;
    let part = subresource
        .map(Subresource::name)
        .map(|part| format!("/{part}"))
        .unwrap_or_default();
    let place = match namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {:?} cannot {} resource \"{}{part}\" in API group {:?} {place}",
        identity.user(),
        verb.name(),
        resource.plural,
        resource.group
    );
    Failure::forbidden(resource, name, &why)
}
