//! Who may do what.
//!
//! Administrators may do everything; whoever else has a right has it by a role (`rbac`), or is the agent of a host, which
//! may do what it needs and nothing that is another host's (`host`). By which right a request is made is decided before
//! it is done, of the request as it came in (`Author`); an agent's right is looked at again when the object that it
//! is about is found, when a new object is known, and when the old and the new state of one are known. What roles and
//! bindings give is looked at when they are written (`escalation`), and a watch goes on as long as its right.

pub(crate) mod aggregation;
pub(crate) mod attributes;
pub(crate) mod bootstrap;
pub(crate) mod escalation;
mod host;
mod identity;
pub(crate) mod impersonation;
pub(crate) mod passed;
pub(crate) mod rbac;
pub(crate) mod rules;

#[cfg(test)]
mod tests;

use http::Method;
use serde_json::Value;
use tokio::sync::watch;

pub(crate) use self::identity::SERVERS;
pub(crate) use self::identity::{BOOTSTRAPPERS, host_of};
pub use self::identity::{HOSTS_GROUP, Identity};

use self::attributes::Attributes;
use self::rbac::Decision;
use crate::authentication::certificate;
use crate::failure::Failure;
use crate::object::meta;
use crate::request::{Request, Subresource, Verb};
use crate::server::Server;
use crate::signing;

/// The namespace in which every host keeps its Lease, under its own name.
pub const HOSTS_NAMESPACE: &str = api::SYSTEM_NAMESPACE;

/// Who makes a request, and by which right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) right: Right,
}

/// Why a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Its author may do everything.
    Admin,
    /// A role permits it.
    Role,
    /// The agent of a host needs it, if the object is that host's.
    Host,
    /// The holder of a bootstrap token asks for a certificate.
    Bootstrap,
}

impl<'a> Author<'a> {
    /// One who may do everything.
    pub(crate) fn admin(identity: &'a Identity) -> Self {
        let right = Right::Admin;
        Self { identity, right }
    }

    /// The host that the request must be about, if it is made by an agent as such.
    fn host(self) -> Option<&'a str> {
        match self.right {
            Right::Host => self.identity.host_name(),
            Right::Admin | Right::Role | Right::Bootstrap => None,
        }
    }
}

/// Who makes that request and by which right, if there is one.
pub(crate) fn check<'i>(
    server: &Server,
    identity: &'i Identity,
    request: &Request,
) -> Result<Author<'i>, Failure> {
    if identity.is_admin() {
        return Ok(Author::admin(identity));
    }
    let asked = Attributes::of(request)?;
    let Decision { allowed, reason } = server.engine().authorizer.decide(identity, &asked);
    let right = match identity.host_name() {
        _ if allowed => Right::Role,
        Some(host) if host::allows(server, host, request)? => Right::Host,
        None if identity.bootstrap_id().is_some() && signing::is_asked(request) => Right::Bootstrap,
        _ => return Err(asked.refusal(identity, &reason)),
    };
    Ok(Author { identity, right })
}

/// Whether somebody may do anything with that path.
pub(crate) fn check_path(
    server: &Server,
    identity: &Identity,
    method: &Method,
    path: &str,
) -> Result<(), Failure> {
    match identity.is_admin() {
        true => Ok(()),
        false => permitted(server, identity, &Attributes::of_path(method, path)),
    }
}

/// Whether somebody may do that because he may do everything, or by a role.
pub(crate) fn decide(server: &Server, identity: &Identity, asked: &Attributes) -> Decision {
    match identity.is_admin() {
        true => Decision {
            allowed: true,
            reason: String::new(),
        },
        false => server.engine().authorizer.decide(identity, asked),
    }
}

fn permitted(server: &Server, identity: &Identity, asked: &Attributes) -> Result<(), Failure> {
    let Decision { allowed, reason } = decide(server, identity, asked);
    match allowed {
        true => Ok(()),
        false => Err(asked.refusal(identity, &reason)),
    }
}

/// Whether the author may see and change that object. Asked of the very state that is answered or changed: whose an
/// object is may have been another's when the request began, or nobody's.
pub(crate) fn check_found(
    author: Author<'_>,
    request: &Request,
    found: &Value,
) -> Result<(), Failure> {
    match author.host() {
        Some(host) if !host::owns(host, request, found) => Err(forbidden(author, request)),
        _ => Ok(()),
    }
}

/// Whether the author may apply: an agent changes what it must and owns nothing else.
pub(crate) fn check_applies(author: Author<'_>, request: &Request) -> Result<(), Failure> {
    match author.host() {
        Some(_) if request.subresource != Some(Subresource::Status) => {
            Err(forbidden(author, request))
        }
        _ => Ok(()),
    }
}

/// Whether the author may make that object. Who changes one that is not there needs the right to make it, too.
pub(crate) fn check_created(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    new: &Value,
) -> Result<(), Failure> {
    match (author.right, author.host()) {
        (Right::Role, _) if request.verb != Verb::Create => {
            let asked = Attributes::of(request)?.with(Verb::Create.name());
            permitted(server, author.identity, &asked)
        }
        (_, Some(host)) if !host::may_create(host, request, new) => Err(forbidden(author, request)),
        (Right::Bootstrap, _) if is_held(new) => Err(forbidden(author, request)),
        _ => Ok(()),
    }
}

/// Whether the author may turn the one state of an object into the other.
pub(crate) fn check_changed(
    author: Author<'_>,
    request: &Request,
    old: &Value,
    new: &Value,
) -> Result<(), Failure> {
    match author.host() {
        Some(_) if !host::may_change(request, old, new) => Err(forbidden(author, request)),
        _ => Ok(()),
    }
}

/// Whether somebody may open the door of that host.
pub(crate) fn check_door(identity: &Identity, host: &str) -> Result<(), Failure> {
    if identity.host_name() == Some(host) {
        return Ok(());
    }
    let why = format!("only the agent of host {host:?} may open its door");
    Err(Failure::new(403, "Forbidden", why))
}

fn forbidden(author: Author<'_>, request: &Request) -> Failure {
    match Attributes::of(request) {
        Ok(asked) => asked.refusal(author.identity, ""),
        Err(failure) => failure,
    }
}

/// Whether a new object is tied to others, or would not go when it is deleted.
fn is_held(new: &Value) -> bool {
    ["finalizers", "ownerReferences"]
        .iter()
        .any(|field| meta(new).contains_key(*field))
}

/// Whether what goes on may go on.
pub(crate) struct Standing {
    server: Server,
    identity: Identity,
    /// What a role must permit.
    asked: Option<Attributes>,
    roles: watch::Receiver<()>,
    certificates: watch::Receiver<()>,
}

impl Standing {
    /// `None` for a right that nobody can take away.
    pub(crate) fn of(
        server: &Server,
        author: Author<'_>,
        request: &Request,
    ) -> Result<Option<Self>, Failure> {
        let asked = match author.right {
            Right::Role => Some(Attributes::of(request)?),
            Right::Admin | Right::Host | Right::Bootstrap => None,
        };
        let by = author.identity;
        let can_end = asked.is_some() || by.certificate.is_some();
        Ok(can_end.then(|| Self::new(server, by, asked)))
    }

    /// Of what somebody may do as long as the certificate counts.
    pub(crate) fn of_certificate(server: &Server, identity: &Identity) -> Self {
        Self::new(server, identity, None)
    }

    fn new(server: &Server, identity: &Identity, asked: Option<Attributes>) -> Self {
        let mut roles = server.engine().authorizer.changes();
        let mut certificates = server.state().certificates.subscribe();
        // What changed since the right was looked at counts, too.
        roles.mark_changed();
        certificates.mark_changed();
        Self {
            server: server.clone(),
            identity: identity.clone(),
            asked,
            roles,
            certificates,
        }
    }

    /// Returns when the right is gone.
    pub(crate) async fn ended(&mut self) {
        let is_permitted = |asked| decide(&self.server, &self.identity, asked).allowed;
        loop {
            let told = tokio::select! {
                told = self.roles.changed(), if self.asked.is_some() => told,
                told = self.certificates.changed(), if self.identity.certificate.is_some() => told,
                () = certificate::end(&self.server, &self.identity) => return,
            };
            let counts = certificate::check(&self.server, &self.identity).is_ok();
            if told.is_err() || !counts || !self.asked.as_ref().is_none_or(is_permitted) {
                return;
            }
        }
    }
}
