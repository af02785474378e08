//! Who a client is, and what it or another may do: `kubectl auth whoami` and `kubectl auth can-i`.
//!
//! The answers come from the same rules that decide about requests ([`crate::access`]).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::{self, Identity};
use crate::failure::{Cause, Failure};
use crate::query::Query;
use crate::request::{Request, Subresource, Verb};
use crate::resource::{Offered, Resource};
use crate::server::Server;

pub(crate) const AUTHENTICATION: &str = "authentication.k8s.io";
pub(crate) const AUTHORIZATION: &str = "authorization.k8s.io";
/// Plural names and kinds of the reviews.
pub(crate) const SELF: (&str, &str) = ("selfsubjectreviews", "SelfSubjectReview");
pub(crate) const ACCESS: (&str, &str) = ("selfsubjectaccessreviews", "SelfSubjectAccessReview");
pub(crate) const RULES: (&str, &str) = ("selfsubjectrulesreviews", "SelfSubjectRulesReview");
pub(crate) const OTHERS: (&str, &str) = ("subjectaccessreviews", "SubjectAccessReview");
pub(crate) const TOKENS: (&str, &str) = ("tokenreviews", "TokenReview");

/// The status of a review.
///
/// # Errors
/// When the review does not say what is asked.
pub(crate) fn status(
    server: &Server,
    identity: &Identity,
    request: &Request,
    review: &Value,
) -> Result<Value, Failure> {
    let spec = &review["spec"];
    match request.resource.kind.as_str() {
        kind if kind == SELF.1 => Ok(json!({"userInfo": user(identity)})),
        kind if kind == RULES.1 => match text(spec, "namespace") {
            "" => Err(Failure::bad_request("no namespace on request")),
            _ => Ok(rules(identity)),
        },
        kind if kind == OTHERS.1 && is_nobody(spec) => {
            let why = "at least one of user or group must be specified";
            let cause = Cause::invalid("spec.user", &"".into(), why);
            Err(Failure::invalid(&request.resource, "", &[cause]))
        }
        kind if kind == TOKENS.1 && text(spec, "token").is_empty() => {
            let why = "token is required for TokenReview in authentication";
            Err(Failure::bad_request(why))
        }
        kind if kind == OTHERS.1 => match other(spec) {
            Some(other) => access(server, &other, request, spec),
            None => Ok(
                json!({"allowed": false, "reason": "nobody of that name and those groups is known"}),
            ),
        },
        kind if kind == TOKENS.1 => Ok(json!({
            "authenticated": false, "user": {}, "error": "clients are known by their certificates, not by tokens",
        })),
        _ => access(server, identity, request, spec),
    }
}

/// Whether the review names neither a user nor a group.
fn is_nobody(spec: &Value) -> bool {
    let groups = spec["groups"].as_array();
    text(spec, "user").is_empty() && groups.is_none_or(Vec::is_empty)
}

/// Who is asked about.
fn other(spec: &Value) -> Option<Identity> {
    let groups = spec["groups"].as_array().into_iter().flatten();
    Identity::named(text(spec, "user"), groups.filter_map(Value::as_str))
}

/// Whether it is a review that everybody may make.
pub(crate) fn is_about_oneself(resource: &Resource) -> bool {
    let kinds = [SELF, ACCESS, RULES].map(|(_, kind)| kind);
    resource.traits.offered == Offered::Asking && kinds.contains(&resource.kind.as_str())
}

fn user(identity: &Identity) -> Value {
    json!({"username": identity.user(), "groups": identity.groups()})
}

/// What the author may do in a namespace, as far as rules can say it.
fn rules(identity: &Identity) -> Value {
    match identity {
        Identity::Admin(_) => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        Identity::Host(_) => json!({
            "resourceRules": [], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
            "incomplete": true,
            "evaluationError": "what the agent of a host may do depends on each object",
        }),
    }
}

fn access(
    server: &Server,
    identity: &Identity,
    request: &Request,
    spec: &Value,
) -> Result<Value, Failure> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_object(), path.is_object()) {
        (true, true) => Err(refused(
            request,
            "spec.nonResourceAttributes",
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => Err(refused(
            request,
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        (true, false) => allowed(server, identity, resource),
        // Whoever gets in may ask for health, versions and descriptions.
        (false, true) => Ok(json!({
            "allowed": matches!(identity, Identity::Admin(_)) || text(path, "verb") == "get",
        })),
    }
}

fn refused(request: &Request, field: &str, why: &str) -> Failure {
    let cause = Cause::invalid(field, &Value::Null, why);
    Failure::invalid(&request.resource, "", &[cause])
}

fn allowed(server: &Server, identity: &Identity, asked: &Value) -> Result<Value, Failure> {
    if let Identity::Admin(_) = identity {
        return Ok(json!({"allowed": true}));
    }
    let Some(request) = imagined(server, asked) else {
        return Ok(json!({"allowed": false, "reason": "there is nothing of that kind to do"}));
    };
    match access::check(server, identity, &request) {
        Ok(()) => Ok(json!({"allowed": true})),
        Err(refused) if refused.code == 403 => {
            Ok(json!({"allowed": false, "reason": refused.message}))
        }
        Err(failure) => Err(failure),
    }
}

/// The request that is asked about; `None` if there could be none like it.
fn imagined(server: &Server, asked: &Value) -> Option<Request> {
    let registry = server.registry();
    let resource = registry.get(text(asked, "group"), text(asked, "resource"))?;
    let wanted = text(asked, "version");
    let version = match wanted {
        "" | "*" => resource.versions.first(),
        wanted => resource.version(wanted),
    }?;
    let subresource = match text(asked, "subresource") {
        "" => None,
        part => Some(Subresource::named(part, resource, version)?),
    };
    Some(Request {
        verb: Verb::named(text(asked, "verb"))?,
        version: version.name.clone(),
        namespace: text(asked, "namespace").to_owned(),
        name: text(asked, "name").to_owned(),
        subresource,
        query: Query::default(),
        resource: Arc::clone(resource),
    })
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
