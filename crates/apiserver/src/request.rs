//! What a request is about: its verb, resource, object and parameters, read from method, path and query.

use std::sync::Arc;

use http::Method;

use crate::builtin::reviews::TOKEN_REQUEST;
use crate::failure::Failure;
use crate::query::{Allowed, Query};
use crate::registry::Registry;
use crate::resource::{Resource, Version};
use crate::scale::{self, Scale};
use crate::signing;

/// What is done, in the words of Kubernetes authorisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Follow many.
    Watch,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Change one in part.
    Patch,
    /// Delete one.
    Delete,
    /// Delete many.
    DeleteCollection,
}

/// A part of an object with its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// `/approval`: whether a certificate may be signed.
    Approval,
    /// `/finalize`: what a namespace waits for when it goes.
    Finalize,
    /// `/status`
    Status,
    /// `/scale`
    Scale,
    /// `/token`: a new token of a service account.
    Token,
}

/// A request for a resource.
pub struct Request {
    /// What is done.
    pub verb: Verb,
    /// To which resource.
    pub resource: Arc<Resource>,
    /// In which of its versions.
    pub version: String,
    /// The namespace of the path; empty for cluster-scoped objects and for all namespaces.
    pub namespace: String,
    /// The name of the path; empty for collections.
    pub name: String,
    /// The part of the object, if not all of it.
    pub subresource: Option<Subresource>,
    /// The parameters.
    pub query: Query,
}

impl Verb {
    /// As in RBAC rules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Get,
            Self::List,
            Self::Watch,
            Self::Create,
            Self::Update,
            Self::Patch,
            Self::Delete,
            Self::DeleteCollection,
        ];
        all.into_iter().find(|verb| verb.name() == name)
    }

    fn of(method: &Method, named: bool) -> Option<Self> {
        match (method.as_str(), named) {
            ("GET", true) => Some(Self::Get),
            ("GET", false) => Some(Self::List),
            ("POST", false) => Some(Self::Create),
            ("PUT", true) => Some(Self::Update),
            ("PATCH", true) => Some(Self::Patch),
            ("DELETE", true) => Some(Self::Delete),
            ("DELETE", false) => Some(Self::DeleteCollection),
            _ => None,
        }
    }

    fn allowed(self) -> Allowed {
        match self {
            Self::Get => Allowed::Get,
            Self::List | Self::Watch => Allowed::List,
            Self::Create | Self::Update => Allowed::Write,
            Self::Patch => Allowed::Patch,
            Self::Delete => Allowed::Delete,
            Self::DeleteCollection => Allowed::DeleteMany,
        }
    }
}

impl Subresource {
    /// As in paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Finalize => "finalize",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Token => "token",
        }
    }

    /// What may be done with it, in the order of Kubernetes.
    pub(crate) fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Finalize => &[Verb::Update],
            Self::Token => &[Verb::Create],
            Self::Approval | Self::Status | Self::Scale => &[Verb::Get, Verb::Patch, Verb::Update],
        }
    }

    /// Those of a resource.
    pub(crate) fn of(resource: &Resource, version: &Version) -> impl Iterator<Item = Self> {
        let served = [
            (Self::Approval, signing::concerns(resource)),
            (Self::Finalize, resource.is_namespace()),
            (Self::Status, version.status),
            (Self::Scale, version.scale.is_some()),
            (Self::Token, resource.is_account()),
        ];
        served
            .into_iter()
            .filter_map(|(part, served)| served.then_some(part))
    }

    /// The one of that name that a resource has.
    pub(crate) fn named(name: &str, resource: &Resource, version: &Version) -> Option<Self> {
        Self::of(resource, version).find(|part| part.name() == name)
    }

    /// The kind of what is read and written there.
    pub(crate) fn form<'r>(
        self,
        resource: &'r Arc<Resource>,
        version: &'r Version,
    ) -> (&'r Arc<Resource>, &'r Version) {
        match self {
            Self::Approval | Self::Finalize | Self::Status => (resource, version),
            Self::Scale => (&scale::RESOURCE, &scale::RESOURCE.versions[0]),
            Self::Token => (&TOKEN_REQUEST, &TOKEN_REQUEST.versions[0]),
        }
    }
}

impl Request {
    /// Reads a resource request; `None` if the path is about something else (discovery, health, …).
    ///
    /// # Errors
    /// When the path names no served resource, the verb does not exist there or a parameter is not honoured.
    pub fn parse(
        registry: &Registry,
        method: &Method,
        path: &str,
        query: &str,
    ) -> Result<Option<Self>, Failure> {
        let Some(route) = Route::of(path) else {
            return Ok(None);
        };
        let resource = registry
            .get(route.group, route.plural)
            .ok_or_else(Failure::no_such_path)?;
        let version = resource
            .version(route.version)
            .ok_or_else(Failure::no_such_path)?;
        let subresource = route.check(resource, version)?;
        // A token is made beside those that are there already.
        let named = !route.name.is_empty() && subresource != Some(Subresource::Token);
        let verb = Verb::of(method, named).ok_or_else(Failure::method_not_allowed)?;
        let query = Query::parse(query, verb.allowed())?;
        let verb = if verb == Verb::List && query.watch {
            Verb::Watch
        } else {
            verb
        };
        refuse_impossible(resource, verb, route.namespace, subresource)?;
        Ok(Some(Self {
            verb,
            resource: resource.clone(),
            version: version.name.clone(),
            namespace: route.namespace.to_owned(),
            name: route.name.to_owned(),
            subresource,
            query,
        }))
    }

    /// Where the replicas are, if the request is about them.
    pub(crate) fn scale(&self) -> Option<&Scale> {
        let scale = self.served().scale.as_ref();
        scale.filter(|_| self.subresource == Some(Subresource::Scale))
    }

    /// The kind of what is read and written, which is the resource's unless it is about a part with a kind of its own.
    pub(crate) fn form(&self) -> &Arc<Resource> {
        let part = self.subresource;
        part.map_or(&self.resource, |part| {
            part.form(&self.resource, self.served()).0
        })
    }

    /// The version of that kind.
    pub(crate) fn form_version(&self) -> &Version {
        let (part, served) = (self.subresource, self.served());
        part.map_or(served, |part| part.form(&self.resource, served).1)
    }

    /// The version that the path names.
    #[must_use]
    pub fn served(&self) -> &Version {
        self.resource
            .version(&self.version)
            .expect("the request was made with a served version")
    }
}

/// The parts of a resource path.
struct Route<'a> {
    group: &'a str,
    version: &'a str,
    namespace: &'a str,
    plural: &'a str,
    name: &'a str,
    subresource: &'a str,
}

impl<'a> Route<'a> {
    /// `None` if the path is not deep enough to name a resource, or has an empty part: `/apis//v1/secrets` would name
    /// the core group in a second way.
    fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        if parts.contains(&"") {
            return None;
        }
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // `namespaces/{name}/status` is about the namespace itself.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        Some(Self {
            group,
            version,
            namespace,
            plural,
            name,
            subresource,
        })
    }

    fn check(
        &self,
        resource: &Resource,
        version: &Version,
    ) -> Result<Option<Subresource>, Failure> {
        if !resource.namespaced && !self.namespace.is_empty() {
            return Err(Failure::no_such_path());
        }
        // An object of a namespaced resource has no path without its namespace.
        if resource.namespaced && self.namespace.is_empty() && !self.name.is_empty() {
            return Err(Failure::no_such_path());
        }
        if self.subresource.is_empty() {
            return Ok(None);
        }
        let part = Subresource::named(self.subresource, resource, version);
        part.map(Some).ok_or_else(Failure::no_such_path)
    }
}

fn refuse_impossible(
    resource: &Resource,
    verb: Verb,
    namespace: &str,
    subresource: Option<Subresource>,
) -> Result<(), Failure> {
    let homeless = matches!(verb, Verb::Create | Verb::DeleteCollection)
        && resource.namespaced
        && namespace.is_empty();
    let offered = match subresource {
        Some(part) => part.verbs(),
        None => resource.verbs(),
    };
    if homeless || !offered.contains(&verb) {
        return Err(Failure::method_not_supported(resource, verb.name()));
    }
    Ok(())
}
