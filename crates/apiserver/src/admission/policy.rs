//! Policies: rules in CEL that a write must keep (`ValidatingAdmissionPolicy`), where a binding says so.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, ParamKind, ParamRef, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, Validation,
};
use serde_json::Value;

use super::expression::{Expression, Names};
use super::scope::{Conditions, Scope};
use super::{Attempt, Subject};
use crate::convert;
use crate::failure::Failure;
use crate::object::{Object, meta};
use crate::resource::Version;
use crate::selection::{LabelSelector, Selection};

/// Longest message that an expression may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// A policy with what binds it.
pub(super) struct Policy {
    name: String,
    /// Whether what goes wrong in judging is let through.
    ignores: bool,
    scope: Scope,
    params: Option<ParamKind>,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    rules: Vec<Rule>,
    bindings: Vec<Binding>,
}

struct Rule {
    holds: Expression,
    message: Option<String>,
    says: Option<Expression>,
    reason: String,
}

struct Binding {
    name: String,
    scope: Option<Scope>,
    params: Option<ParamRef>,
    denies: bool,
    warns: bool,
}

/// Why a write is refused.
struct Decision {
    message: String,
    reason: String,
}

/// The policies that something binds, by name.
pub(super) fn all(
    policies: Vec<ValidatingAdmissionPolicy>,
    bindings: &[ValidatingAdmissionPolicyBinding],
) -> Vec<Policy> {
    let policies = policies.into_iter();
    let policies = policies.map(|policy| Policy::new(policy, bindings));
    policies
        .filter(|policy| !policy.bindings.is_empty())
        .collect()
}

impl Policy {
    fn new(
        policy: ValidatingAdmissionPolicy,
        bindings: &[ValidatingAdmissionPolicyBinding],
    ) -> Self {
        let name = policy.metadata.name.unwrap_or_default();
        let spec = policy.spec.unwrap_or_default();
        let bound = bindings.iter().map(Binding::of);
        let variables = spec.variables.iter().flatten();
        Self {
            ignores: spec.failure_policy.as_deref() == Some("Ignore"),
            scope: Scope::of(&spec.match_constraints.unwrap_or_default()),
            params: spec.param_kind,
            conditions: Conditions::new(spec.match_conditions.as_ref()),
            variables: variables
                .map(|it| (it.name.clone(), Expression::new(&it.expression)))
                .collect(),
            rules: spec.validations.iter().flatten().map(Rule::new).collect(),
            bindings: bound
                .filter(|(policy, _)| *policy == name)
                .map(|(_, binding)| binding)
                .collect(),
            name,
        }
    }

    /// Refuses the write, or says what the client should be warned of.
    pub(super) async fn judge(
        &self,
        attempt: &Attempt<'_>,
        subject: Subject<'_>,
    ) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        let version = match self.scope.version(attempt, subject) {
            Ok(Some(version)) => version,
            Ok(None) => return Ok(warnings),
            Err(why) => {
                return self
                    .misconfigured((attempt, subject), None, &why.message)
                    .map(|()| warnings);
            }
        };
        for binding in &self.bindings {
            let concerned = match &binding.scope {
                Some(scope) => scope.version(attempt, subject).map(|it| it.is_some()),
                None => Ok(true),
            };
            let params = match concerned {
                Ok(false) => continue,
                Ok(true) => self.params(attempt, binding).await,
                Err(failure) => Err(failure.message),
            };
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    self.misconfigured((attempt, subject), Some(binding), &why)?;
                    continue;
                }
            };
            let seen = attempt.seen(version, subject).await?;
            let namespace = self.namespace(attempt)?;
            for param in &params {
                let names = self.names(attempt, version, seen.subject(), (param, &namespace));
                for decision in self.decisions(names) {
                    let Decision { message, .. } = &decision;
                    if binding.warns {
                        let (policy, by) = (&self.name, &binding.name);
                        warnings.push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{by}': {message}"
                        ));
                    }
                    if binding.denies {
                        return Err(self.denied((attempt, subject), Some(binding), &decision));
                    }
                }
            }
        }
        Ok(warnings)
    }

    /// What its expressions may name.
    fn names(
        &self,
        attempt: &Attempt<'_>,
        version: &Version,
        subject: Subject<'_>,
        (params, namespace): (&Value, &Value),
    ) -> Names {
        let mut request = attempt.described("", version, subject);
        let (object, old) = (request["object"].take(), request["oldObject"].take());
        let mut names = Names::new([
            ("object", &object),
            ("oldObject", &old),
            ("request", &request),
            ("params", params),
            ("namespaceObject", namespace),
        ]);
        names.define(&self.variables);
        names
    }

    /// Everything that speaks against the write.
    fn decisions(&self, names: Names) -> Vec<Decision> {
        let failed = |message: String| Decision {
            message,
            reason: "Invalid".to_owned(),
        };
        match self.conditions.hold(&names) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(_) if self.ignores => return Vec::new(),
            Err(why) => return vec![failed(why)],
        }
        let judged = self
            .rules
            .iter()
            .map(|rule| match rule.holds.holds(&names) {
                Ok(true) => None,
                Ok(false) => Some(Decision {
                    message: rule.message(&names),
                    reason: rule.reason.clone(),
                }),
                Err(_) if self.ignores => None,
                Err(why) => Some(failed(why)),
            });
        judged.flatten().collect()
    }

    /// What stands for `params`, one after the other.
    async fn params(&self, attempt: &Attempt<'_>, binding: &Binding) -> Result<Vec<Value>, String> {
        let (Some(kind), Some(wanted)) = (&self.params, &binding.params) else {
            return Ok(vec![Value::Null]);
        };
        let (api_version, name) = (
            kind.api_version.clone().unwrap_or_default(),
            kind.kind.clone().unwrap_or_default(),
        );
        let registry = attempt.server.registry();
        let found = registry.by_kind(&api_version, &name);
        let (resource, version) = found
            .ok_or_else(|| format!("paramKind kind `{api_version}, Kind={name}` not known"))?;
        let namespace = match (&wanted.namespace, resource.namespaced) {
            (Some(_), false) => {
                let why =
                    "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
                return Err(why.to_owned());
            }
            (Some(namespace), true) => namespace.clone(),
            (None, true) if attempt.request.namespace.is_empty() => {
                let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
                return Err(why.to_owned());
            }
            (None, true) => attempt.request.namespace.clone(),
            (None, false) => String::new(),
        };
        let objects: Vec<Arc<Object>> = match &wanted.name {
            Some(name) => {
                let key = resource.key(&namespace, name);
                attempt.server.engine().latest(&key).into_iter().collect()
            }
            None => {
                let selection = Selection {
                    namespace: resource.namespaced.then_some(namespace),
                    labels: LabelSelector::given(wanted.selector.as_ref())?,
                    ..Selection::all(resource.home.clone())
                };
                attempt.server.snapshot(&selection).0
            }
        };
        if objects.is_empty() && wanted.parameter_not_found_action.as_deref() == Some("Deny") {
            let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
            return Err(why.to_owned());
        }
        let version = resource.version(&version);
        let version = version.ok_or("the version was served a moment ago")?;
        let served = convert::all_served(resource, version, &objects).await;
        let served = served.map_err(|failure| failure.message)?;
        Ok(served.iter().map(|object| object.value.clone()).collect())
    }

    /// The namespace as expressions see it.
    fn namespace(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let found = match attempt.request.resource.is_namespace() {
            true => None,
            false => attempt.namespace()?,
        };
        Ok(found.map_or(Value::Null, |namespace| {
            let mut seen = namespace.value.clone();
            let metadata = meta(&namespace.value).iter();
            let metadata = metadata.filter(|(field, _)| *field != crate::ownership::FIELD);
            seen["metadata"] = metadata
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect();
            seen
        }))
    }

    /// What is wrong with the policy or its binding refuses the write, unless the policy ignores it.
    fn misconfigured(
        &self,
        of: (&Attempt<'_>, Subject<'_>),
        binding: Option<&Binding>,
        why: &str,
    ) -> Result<(), Failure> {
        if self.ignores {
            return Ok(());
        }
        let what = binding.map_or("policy", |_| "binding");
        let decision = Decision {
            message: format!("failed to configure {what}: {why}"),
            reason: "Invalid".to_owned(),
        };
        Err(self.denied(of, binding, &decision))
    }

    fn denied(
        &self,
        (attempt, subject): (&Attempt<'_>, Subject<'_>),
        binding: Option<&Binding>,
        decision: &Decision,
    ) -> Failure {
        let Decision { message, reason } = decision;
        let by = binding.map_or_else(String::new, |binding| {
            format!(" with binding '{}'", binding.name)
        });
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{by} denied request: {message}",
            self.name
        );
        let mut failure = attempt.forbidden(subject, &message);
        failure.code = match reason.as_str() {
            "Unauthorized" => 401,
            "Forbidden" => 403,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        failure.reason = reason.clone().into();
        let causes = serde_json::json!([{"message": message}]);
        failure.details.insert("causes".to_owned(), causes);
        failure
    }
}

impl Rule {
    fn new(given: &Validation) -> Self {
        Self {
            holds: Expression::new(&given.expression),
            message: given.message.clone(),
            says: given.message_expression.as_deref().map(Expression::new),
            reason: given.reason.clone().unwrap_or_else(|| "Invalid".to_owned()),
        }
    }

    fn message(&self, names: &Names) -> String {
        let said = self.says.as_ref().and_then(|says| says.said(names).ok());
        let said = said.map(|text| text.trim().to_owned());
        let said = said.filter(|text| {
            text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n') && !text.is_empty()
        });
        let given = self.message.as_ref().map(|text| text.trim().to_owned());
        said.or(given.filter(|text| !text.is_empty()))
            .unwrap_or_else(|| format!("failed expression: {}", self.holds.text().trim()))
    }
}

impl Binding {
    /// The binding, with the name of its policy.
    fn of(given: &ValidatingAdmissionPolicyBinding) -> (&str, Self) {
        let spec = &given.spec;
        let acts = |action: &str| spec.validation_actions.iter().any(|it| it == action);
        let scope = |resources: &MatchResources| Scope::of(resources);
        let binding = Self {
            name: given.metadata.name.clone().unwrap_or_default(),
            scope: spec.match_resources.as_ref().map(scope),
            params: spec.param_ref.clone(),
            denies: acts("Deny"),
            warns: acts("Warn"),
        };
        (spec.policy_name.as_str(), binding)
    }
}
