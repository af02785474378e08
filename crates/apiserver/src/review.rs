//! Who a client is, and what it or another may do: `kubectl auth whoami` and `kubectl auth can-i`.
//!
//! The answers come from the same rules that decide about requests ([`crate::access`]).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::attributes::{Attributes, Place, Target};
use crate::access::rbac::Decision;
use crate::access::rules::Rule;
use crate::access::{self, Identity};
use crate::authentication::{self, Proven, account};
use crate::failure::{Cause, Failure};
use crate::object::meta_text;
use crate::query::Query;
use crate::request::{Request, Subresource, Verb};
use crate::server::Server;

pub(crate) const AUTHENTICATION: &str = "authentication.k8s.io";
pub(crate) const AUTHORIZATION: &str = "authorization.k8s.io";
/// Plural names and kinds of the reviews.
pub(crate) const SELF: (&str, &str) = ("selfsubjectreviews", "SelfSubjectReview");
pub(crate) const ACCESS: (&str, &str) = ("selfsubjectaccessreviews", "SelfSubjectAccessReview");
pub(crate) const RULES: (&str, &str) = ("selfsubjectrulesreviews", "SelfSubjectRulesReview");
pub(crate) const OTHERS: (&str, &str) = ("subjectaccessreviews", "SubjectAccessReview");
pub(crate) const LOCAL: (&str, &str) = ("localsubjectaccessreviews", "LocalSubjectAccessReview");
pub(crate) const TOKENS: (&str, &str) = ("tokenreviews", "TokenReview");
/// The same of what asks for the token of a service account, which has no path of its own.
pub(crate) const TOKEN: (&str, &str) = ("tokenrequests", "TokenRequest");

/// The status of a review.
///
/// # Errors
/// When the review does not say what is asked.
pub(crate) async fn status(
    server: &Server,
    identity: &Identity,
    request: &Request,
    review: &Value,
) -> Result<Value, Failure> {
    let (kind, spec) = (request.resource.kind.as_str(), &review["spec"]);
    match kind {
        kind if kind == SELF.1 => Ok(json!({"userInfo": identity.user_info()})),
        kind if kind == RULES.1 => match text(spec, "namespace") {
            "" => Err(Failure::bad_request("no namespace on request")),
            namespace => Ok(rules(server, identity, namespace)),
        },
        kind if kind == TOKENS.1 && text(spec, "token").is_empty() => {
            let why = "token is required for TokenReview in authentication";
            Err(Failure::bad_request(why))
        }
        kind if kind == TOKENS.1 => Ok(token(server, spec).await),
        _ => {
            let causes = problems(kind, review);
            match causes.is_empty() {
                true => access(server, &asking(identity, kind, spec), spec),
                false => Err(refused(&causes)),
            }
        }
    }
}

/// Whose a token is.
async fn token(server: &Server, spec: &Value) -> Value {
    let asked = words(&spec["audiences"]);
    let audiences = match asked.is_empty() {
        true => vec![account::AUDIENCE.to_owned()],
        false => asked,
    };
    match authentication::judge(server, text(spec, "token"), &audiences).await {
        Ok(Proven {
            identity,
            audiences,
        }) => {
            json!({"authenticated": true, "user": identity.user_info(), "audiences": audiences})
        }
        Err(why) => json!({"authenticated": false, "user": {}, "error": why.to_string()}),
    }
}

/// What is wrong with a question whether somebody may do something.
fn problems(kind: &str, review: &Value) -> Vec<Cause> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut causes = Vec::new();
    // As the fields are called where Kubernetes tells them.
    let told = json!({"Path": text(path, "path"), "Verb": text(path, "verb")});
    if resource.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        causes.push(Cause::invalid("spec.nonResourceAttributes", &told, why));
    }
    if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(Cause::invalid("spec.resourceAttributes", &Value::Null, why));
    }
    let groups = spec["groups"].as_array();
    let nobody = text(spec, "user").is_empty() && groups.is_none_or(Vec::is_empty);
    if kind != ACCESS.1 && nobody {
        let why = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &"".into(), why));
    }
    if kind != LOCAL.1 {
        return causes;
    }
    let namespace = text(resource, "namespace");
    if resource.is_object() && namespace != meta_text(review, "namespace") {
        let field = "spec.resourceAttributes.namespace";
        let why = "must match metadata.namespace";
        causes.push(Cause::invalid(field, &namespace.into(), why));
    }
    if path.is_object() {
        let why = "disallowed on this kind of request";
        causes.push(Cause::invalid("spec.nonResourceAttributes", &told, why));
    }
    causes
}

/// 422 as Kubernetes says it of reviews, which it does not name.
fn refused(causes: &[Cause]) -> Failure {
    let lines: Vec<String> = causes.iter().map(Cause::to_string).collect();
    let all = match lines.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let message = format!(".{AUTHORIZATION} \"\" is invalid: {all}");
    let mut failure = Failure::new(422, "Invalid", message).with_causes(causes);
    let group = AUTHORIZATION.into();
    failure.details.insert("group".to_owned(), group);
    failure
}

/// Who is asked about.
fn asking(identity: &Identity, kind: &str, spec: &Value) -> Identity {
    if kind == ACCESS.1 {
        return identity.clone();
    }
    let extra = spec["extra"].as_object().into_iter().flatten();
    Identity {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: words(&spec["groups"]),
        certificate: None,
        extra: extra
            .map(|(key, list)| (key.clone(), words(list)))
            .collect(),
    }
}

/// What the author may do in a namespace, as far as roles say it.
fn rules(server: &Server, identity: &Identity, namespace: &str) -> Value {
    let (rules, missing) = server.engine().authorizer.rules(identity, namespace);
    let (on_paths, on_resources): (Vec<Rule>, Vec<Rule>) = rules
        .into_iter()
        .partition(|rule| rule.resources.is_empty());
    let mut status = json!({
        "resourceRules": on_resources, "nonResourceRules": on_paths, "incomplete": false,
    });
    if identity.host_name().is_some() {
        status["incomplete"] = true.into();
        status["evaluationError"] = "what the agent of a host may do depends on each object".into();
    } else if !missing.is_empty() {
        status["evaluationError"] = missing.into();
    }
    status
}

fn access(server: &Server, identity: &Identity, spec: &Value) -> Result<Value, Failure> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (asked, target) = match resource.is_object() {
        true => (resource, Target::Resource(place(resource))),
        false => (path, Target::Path(text(path, "path").to_owned())),
    };
    let verb = text(asked, "verb").to_owned();
    let Decision { allowed, reason } =
        access::decide(server, identity, &Attributes { verb, target });
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    // What an agent may do shows in a request as it would make it.
    if let (false, Some(_), Some(request)) =
        (allowed, identity.host_name(), imagined(server, resource))
    {
        match access::check(server, identity, &request) {
            Ok(_) => status = json!({"allowed": true}),
            Err(refused) if refused.code == 403 => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(status)
}

fn place(asked: &Value) -> Place {
    let word = |field: &str| text(asked, field).to_owned();
    Place {
        group: word("group"),
        resource: word("resource"),
        subresource: word("subresource"),
        namespace: word("namespace"),
        name: word("name"),
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

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
