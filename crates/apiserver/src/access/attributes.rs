//! What rules are asked about: a verb, and the resource or the path that it is done to.
//!
//! Of a request that is served they follow from the request itself; of any other from its path alone, so that who may
//! not do a thing is told so before he is told that there is no such thing. The reading of paths is that of Kubernetes
//! (`k8s.io/apiserver/pkg/endpoints/request`).

use http::Method;
use serde_json::{Map, Value};

use super::Identity;
use crate::failure::{Failure, quoted};
use crate::list;
use crate::request::{Request, Subresource, Verb};

/// Parts of a namespace that have paths of their own.
const NAMESPACE_PARTS: [&str; 2] = ["status", "finalize"];

/// What is to be done to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// As in rules.
    pub(crate) verb: String,
    pub(crate) target: Target,
}

/// What something is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Resource(Place),
    /// Any other path.
    Path(String),
}

/// Objects, or parts of them; what is empty is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: String,
    /// Plural, as in paths.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Attributes {
    /// Those of a request. Who asks for the objects of one name asks for that object.
    pub(crate) fn of(request: &Request) -> Result<Self, Failure> {
        let mut name = request.name.clone();
        if matches!(request.verb, Verb::List | Verb::Watch) {
            let selection = list::selection(request)?;
            name = selection
                .fields
                .wanted("metadata.name")
                .unwrap_or("")
                .to_owned();
        }
        let resource = &request.resource;
        // A namespace is in itself: its own roles may say who sees it.
        let namespace = match resource.is_namespace() {
            true => &request.name,
            false => &request.namespace,
        };
        Ok(Self {
            verb: request.verb.name().to_owned(),
            target: Target::Resource(Place {
                group: resource.group.clone(),
                resource: resource.plural.clone(),
                subresource: request.subresource.map_or("", Subresource::name).to_owned(),
                namespace: namespace.clone(),
                name,
            }),
        })
    }

    /// Those of any path.
    pub(crate) fn of_path(method: &Method, path: &str) -> Self {
        match Place::of_path(path) {
            Some(place) => Self {
                verb: verb(method, !place.name.is_empty()).to_owned(),
                target: Target::Resource(place),
            },
            None => Self {
                verb: method.as_str().to_lowercase(),
                target: Target::Path(path.to_owned()),
            },
        }
    }

    /// The same with another verb.
    pub(crate) fn with(self, verb: &str) -> Self {
        let verb = verb.to_owned();
        Self { verb, ..self }
    }

    /// The namespace whose roles count, too; empty if none does.
    pub(super) fn namespace(&self) -> &str {
        match &self.target {
            Target::Resource(place) => &place.namespace,
            Target::Path(_) => "",
        }
    }

    /// 403 in the words of Kubernetes.
    pub(crate) fn refusal(&self, identity: &Identity, why: &str) -> Failure {
        let mut message = self.told(identity);
        if !why.is_empty() {
            message = format!("{message}: {why}");
        }
        match &self.target {
            Target::Resource(place) => place.forbidden(&message),
            Target::Path(_) => Failure::new(403, "Forbidden", format!("forbidden: {message}")),
        }
    }

    fn told(&self, identity: &Identity) -> String {
        let (user, verb) = (quoted(&identity.name), &self.verb);
        let place = match &self.target {
            Target::Path(path) => {
                return format!("User {user} cannot {verb} path {}", quoted(path));
            }
            Target::Resource(place) => place,
        };
        let scope = match place.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quoted(namespace)),
        };
        let (resource, group) = (quoted(&place.whole()), quoted(&place.group));
        format!("User {user} cannot {verb} resource {resource} in API group {group} {scope}")
    }
}

impl Place {
    /// `None` if the path is about no resource.
    fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, part, ..] if !NAMESPACE_PARTS.contains(part) => {
                (*namespace, &rest[2..])
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let at = |n: usize| rest.get(n).map(|part| (*part).to_owned());
        Some(Self {
            group: group.to_owned(),
            resource: at(0)?,
            name: at(1).unwrap_or_default(),
            subresource: at(2).unwrap_or_default(),
            namespace: namespace.to_owned(),
        })
    }

    /// `instances/log`
    pub(super) fn whole(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            part => format!("{}/{part}", self.resource),
        }
    }

    /// 403 with the reason after the colon.
    pub(super) fn forbidden(&self, why: &str) -> Failure {
        let mut subject = match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        };
        if !self.name.is_empty() {
            subject = format!("{subject} {}", quoted(&self.name));
        }
        let message = format!("{subject} is forbidden: {why}");
        let details = [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.resource),
        ];
        let said = details.into_iter().filter(|(_, value)| !value.is_empty());
        let details: Map<String, Value> = said
            .map(|(field, value)| (field.to_owned(), value.as_str().into()))
            .collect();
        Failure {
            details,
            ..Failure::new(403, "Forbidden", message)
        }
    }
}

/// What a method does to one object, or to many.
fn verb(method: &Method, named: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}
