//! Who makes a request: a user as Kubernetes knows one, with a name, a uid, groups and whatever else is said of it.
//!
//! Doors make identities of certificates and of who owns a socket; nothing here says what one may do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::tls::{Subject, Validity};

/// Everybody whom a door knows.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else.
pub(super) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of everybody else.
pub(super) const ANONYMOUS: &str = "system:anonymous";
/// The group of administrators, as in Kubernetes.
const ADMINS: &str = "system:masters";
/// The group of the agents of hosts.
pub const HOSTS_GROUP: &str = "system:hosts";
/// Another server of the same storage, and its group.
const SERVER: &str = "system:server";
pub(crate) const SERVERS: &str = "system:servers";
/// What the name of a host follows in that of its user, and in its certificate.
const HOST_PREFIX: &str = "system:host:";
/// The group of those who hold a bootstrap token.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// What the id of a bootstrap token follows.
const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";
/// What namespace and name of a service account follow.
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts; those of one namespace have a group of their own beside it.
const ACCOUNTS: &str = "system:serviceaccounts";

/// Who makes a request, as the door has established it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name of the user, such as `alice` or `system:host:mad-1`.
    pub name: String,
    /// What tells users of one name apart over time; mostly empty.
    pub uid: String,
    /// The groups that it belongs to.
    pub groups: Vec<String>,
    /// What else is said of it, for those who want to know.
    pub extra: BTreeMap<String, Vec<String>>,
    /// When the certificate holds by which it is known, if it is known by one.
    pub(crate) certificate: Option<Validity>,
}

impl Identity {
    /// Somebody whom a door knows, by name and groups.
    #[must_use]
    pub fn user(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let identity = Self {
            name: name.into(),
            groups: groups.into_iter().collect(),
            ..Self::default()
        };
        identity.known()
    }

    /// An administrator: may do everything.
    #[must_use]
    pub fn admin(name: impl Into<String>) -> Self {
        Self::user(name, [ADMINS.to_owned()])
    }

    /// The agent of the host with that name.
    #[must_use]
    pub fn host(name: &str) -> Self {
        Self::user(format!("{HOST_PREFIX}{name}"), [HOSTS_GROUP.to_owned()])
    }

    /// Another server of the same storage: it may nothing itself, and says for whom it asks.
    #[must_use]
    pub fn server() -> Self {
        Self::user(SERVER, [SERVERS.to_owned()])
    }

    /// The service account of that name and uid.
    pub(crate) fn account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            ..Self::user(account(namespace, name), account_groups(namespace))
        }
    }

    /// The holder of the bootstrap token with that id, in further groups.
    pub(crate) fn bootstrap(id: &str, further: impl IntoIterator<Item = String>) -> Self {
        let groups = [BOOTSTRAPPERS.to_owned()].into_iter().chain(further);
        Self::user(format!("{BOOTSTRAP_PREFIX}{id}"), groups)
    }

    /// Whom a certificate names that TLS has verified.
    pub(crate) fn certified(subject: Subject) -> Self {
        Self {
            uid: subject.uid,
            certificate: Some(subject.validity),
            ..Self::user(subject.common_name, subject.organizations)
        }
    }

    /// Somebody who shows nothing.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether it may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.is_in(ADMINS)
    }

    /// The host whose agent it is, if it is one.
    #[must_use]
    pub fn host_name(&self) -> Option<&str> {
        host_of(&self.name).filter(|_| self.is_in(HOSTS_GROUP))
    }

    /// The id of the bootstrap token that it holds, if it is known by one.
    pub(crate) fn bootstrap_id(&self) -> Option<&str> {
        let id = self.name.strip_prefix(BOOTSTRAP_PREFIX)?;
        self.is_in(BOOTSTRAPPERS).then_some(id)
    }

    /// Whether it is another server of the same storage.
    pub(crate) fn is_server(&self) -> bool {
        self.name == SERVER && self.is_in(SERVERS)
    }

    /// As in reviews (`UserInfo`).
    pub(crate) fn user_info(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.as_str().into();
        }
        if !self.groups.is_empty() {
            info["groups"] = self.groups.clone().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    pub(super) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|it| it == group)
    }

    /// The same among all whom a door knows, unless it says itself where it belongs.
    pub(super) fn known(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// The host whose agent has that user name.
pub(crate) fn host_of(user: &str) -> Option<&str> {
    let host = user.strip_prefix(HOST_PREFIX)?;
    (!host.is_empty()).then_some(host)
}

/// The name of the user that a service account is.
pub(super) fn account(namespace: &str, name: &str) -> String {
    format!("{ACCOUNT_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the service account that a user is, if it is one.
pub(super) fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let whole = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    whole.then_some((namespace, name))
}

/// The groups of all service accounts of a namespace.
pub(super) fn account_groups(namespace: &str) -> [String; 2] {
    [ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")]
}
