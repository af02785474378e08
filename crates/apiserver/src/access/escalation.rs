//! Nobody gives what he has not: who writes a role needs all that it permits, or the verb `escalate`; who writes a binding
//! needs all that its role permits, or the verb `bind`.
//!
//! Asked of the object as it will be checked and stored, after webhooks have changed it. Administrators are not asked.

use k8s_openapi::api::rbac::v1::RoleRef;
use serde::Deserialize;
use serde_json::Value;

use super::attributes::{Attributes, Place, Target};
use super::rbac::{self, BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, GROUP, ROLES};
use super::rules::{Rule, quoted_all};
use super::{Author, Right};
use crate::failure::{Failure, quoted};
use crate::object::{meta_mut, meta_text};
use crate::ownership;
use crate::request::Request;
use crate::server::Server;

/// Whether the author may give what the object gives.
pub(crate) fn check(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Failure> {
    let resource = &request.resource;
    if author.right == Right::Admin || !rbac::concerns(&resource.home) {
        return Ok(());
    }
    if old.is_some_and(|old| holds(old) == holds(new)) {
        return Ok(());
    }
    let grant = Grant {
        server,
        author,
        request,
        name: meta_text(new, "name"),
    };
    match resource.plural.as_str() {
        ROLES | CLUSTER_ROLES => grant.role(old, new),
        BINDINGS | CLUSTER_BINDINGS => grant.binding(new),
        _ => Ok(()),
    }
}

/// The object without what only says how long it stays.
fn holds(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["finalizers", "ownerReferences", ownership::FIELD] {
        meta_mut(&mut object).remove(field);
    }
    object
}

/// Something that is about to be given.
struct Grant<'a> {
    server: &'a Server,
    author: Author<'a>,
    request: &'a Request,
    name: &'a str,
}

impl Grant<'_> {
    fn role(&self, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
        if self.may(
            "escalate",
            self.place(&self.request.resource.plural, &self.request.name),
        ) {
            return Ok(());
        }
        self.confirm(&Rule::all_of(new))?;
        let gathers = |role: &Value| {
            let selectors = role.pointer("/aggregationRule/clusterRoleSelectors");
            selectors
                .and_then(Value::as_array)
                .is_some_and(|selectors| !selectors.is_empty())
        };
        if (gathers(new) || old.is_some_and(gathers)) && self.confirm(&Rule::everything()).is_err()
        {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(Failure::forbidden(&self.request.resource, self.name, why));
        }
        Ok(())
    }

    fn binding(&self, new: &Value) -> Result<(), Failure> {
        // What is no reference to a role is refused as an object.
        let Ok(role) = RoleRef::deserialize(&new["roleRef"]) else {
            return Ok(());
        };
        let plural = match role.kind.as_str() {
            "Role" => ROLES,
            "ClusterRole" => CLUSTER_ROLES,
            _ => return Ok(()),
        };
        if self.may("bind", self.place(plural, &role.name)) {
            return Ok(());
        }
        let authorizer = &self.server.engine().authorizer;
        match authorizer.role(&self.request.namespace, &role) {
            Some(rules) => self.confirm(&rules),
            None => Err(Failure::not_found(&self.request.resource, &role.name)),
        }
    }

    fn place(&self, plural: &str, name: &str) -> Place {
        Place {
            group: GROUP.to_owned(),
            resource: plural.to_owned(),
            namespace: self.request.namespace.clone(),
            name: name.to_owned(),
            ..Place::default()
        }
    }

    fn may(&self, verb: &str, place: Place) -> bool {
        let asked = Attributes {
            verb: verb.to_owned(),
            target: Target::Resource(place),
        };
        let authorizer = &self.server.engine().authorizer;
        authorizer.decide(self.author.identity, &asked).allowed
    }

    /// Whether the author has all of these rules there himself.
    fn confirm(&self, rules: &[Rule]) -> Result<(), Failure> {
        let (identity, namespace) = (self.author.identity, &self.request.namespace);
        let (own, missing) = self.server.engine().authorizer.rules(identity, namespace);
        let lacking = Rule::lacking(&own, rules);
        if lacking.is_empty() {
            return Ok(());
        }
        let mut why = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quoted(&identity.name),
            quoted_all(&identity.groups),
            Rule::told(lacking),
        );
        if !missing.is_empty() {
            why = format!("{why}; resolution errors: [{missing}]");
        }
        Err(Failure::forbidden(&self.request.resource, self.name, &why))
    }
}
