//! Which writes a webhook or a policy is about: rules, selectors and match conditions.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, RuleWithOperations,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Given;

use super::expression::{Expression, Names};
use super::{Attempt, Subject};
use crate::failure::Failure;
use crate::object::meta;
use crate::request::Subresource;
use crate::resource::Version;
use crate::selection::LabelSelector;

/// What a webhook or a policy is about.
pub(crate) struct Scope {
    rules: Vec<Rule>,
    /// What it is not about, although the rules say so.
    except: Vec<Rule>,
    /// Whether the same object in another version is meant too.
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

struct Rule {
    rule: RuleWithOperations,
    /// The only objects that it is about, if there are any.
    names: Vec<String>,
}

impl Scope {
    pub(crate) fn new(
        rules: &[RuleWithOperations],
        policy: Option<&str>,
        namespaces: Option<&Given>,
        objects: Option<&Given>,
    ) -> Self {
        let rule = |rule: &RuleWithOperations| Rule {
            rule: rule.clone(),
            names: Vec::new(),
        };
        Self {
            rules: rules.iter().map(rule).collect(),
            except: Vec::new(),
            equivalent: policy != Some("Exact"),
            namespaces: LabelSelector::given(namespaces),
            objects: LabelSelector::given(objects),
        }
    }

    /// That of a policy or a binding.
    pub(crate) fn of(resources: &MatchResources) -> Self {
        Self {
            rules: resources
                .resource_rules
                .iter()
                .flatten()
                .map(named)
                .collect(),
            except: resources
                .exclude_resource_rules
                .iter()
                .flatten()
                .map(named)
                .collect(),
            equivalent: resources.match_policy.as_deref() != Some("Exact"),
            namespaces: LabelSelector::given(resources.namespace_selector.as_ref()),
            objects: LabelSelector::given(resources.object_selector.as_ref()),
        }
    }

    /// The version in which the write is about it, if it is; without rules it is about all that there is.
    pub(crate) fn version<'a>(
        &self,
        attempt: &Attempt<'a>,
        subject: Subject<'_>,
    ) -> Result<Option<&'a Version>, Failure> {
        let version = attempt.request.served();
        let found = match self.rules.is_empty() {
            true => Some(version),
            false => self.ruled(&self.rules, attempt, subject),
        };
        let Some(found) = found else { return Ok(None) };
        if self.ruled(&self.except, attempt, subject).is_some()
            || !self.selects_namespace(attempt, subject)?
            || !self.selects_object(subject)?
        {
            return Ok(None);
        }
        Ok(Some(found))
    }

    /// The version in which one of the rules is about the write.
    fn ruled<'a>(
        &self,
        rules: &[Rule],
        attempt: &Attempt<'a>,
        subject: Subject<'_>,
    ) -> Option<&'a Version> {
        let name = attempt.name(subject);
        let matches = |version: &Version| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.matches(attempt, &version.name, name))
        };
        let version = attempt.request.served();
        if matches(version) {
            return Some(version);
        }
        let mut others = attempt.request.resource.versions.iter();
        others.find(|other| self.equivalent && matches(other))
    }

    fn selects_namespace(
        &self,
        attempt: &Attempt<'_>,
        subject: Subject<'_>,
    ) -> Result<bool, Failure> {
        let selector = self.namespaces.as_ref().map_err(Failure::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        if attempt.request.resource.is_namespace() {
            let value = subject.object.or(subject.old);
            return Ok(selector.matches(value.and_then(|value| meta(value).get("labels"))));
        }
        match attempt.namespace()? {
            Some(namespace) => Ok(selector.matches(meta(&namespace.value).get("labels"))),
            // What lives in none is not kept out by one.
            None => Ok(true),
        }
    }

    fn selects_object(&self, subject: Subject<'_>) -> Result<bool, Failure> {
        let selector = self.objects.as_ref().map_err(Failure::internal)?;
        let mut states = [subject.object, subject.old].into_iter().flatten();
        Ok(selector.is_empty() || states.any(|value| selector.matches(meta(value).get("labels"))))
    }
}

fn named(given: &NamedRuleWithOperations) -> Rule {
    let NamedRuleWithOperations {
        api_groups,
        api_versions,
        operations,
        resource_names,
        resources,
        scope,
    } = given.clone();
    Rule {
        rule: RuleWithOperations {
            api_groups,
            api_versions,
            operations,
            resources,
            scope,
        },
        names: resource_names.unwrap_or_default(),
    }
}

impl Rule {
    fn matches(&self, attempt: &Attempt<'_>, version: &str, name: &str) -> bool {
        let request = attempt.request;
        let resource = &request.resource;
        let Self { rule, names } = self;
        let one_of = |list: &Option<Vec<String>>, value: &str| {
            let mut list = list.iter().flatten();
            list.any(|it| it == "*" || it == value)
        };
        one_of(&rule.operations, attempt.operation.name())
            && one_of(&rule.api_groups, &resource.group)
            && one_of(&rule.api_versions, version)
            && self.names_resource(&resource.plural, request.subresource)
            && match rule.scope.as_deref() {
                Some("Namespaced") => resource.namespaced,
                Some("Cluster") => !resource.namespaced,
                _ => true,
            }
            && (names.is_empty() || names.iter().any(|it| it == name))
    }

    fn names_resource(&self, plural: &str, subresource: Option<Subresource>) -> bool {
        let part = subresource.map_or("", Subresource::name);
        let mut resources = self.rule.resources.iter().flatten();
        resources.any(|resource| {
            let (name, given) = resource.split_once('/').unwrap_or((resource, ""));
            (name == "*" || name == plural) && (given == "*" || given == part)
        })
    }
}

/// Conditions that all have to hold, by name.
pub(crate) struct Conditions(Vec<(String, Expression)>);

impl Conditions {
    pub(crate) fn new(given: Option<&Vec<MatchCondition>>) -> Self {
        let given = given.into_iter().flatten();
        Self(
            given
                .map(|it| (it.name.clone(), Expression::new(&it.expression)))
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not hold outweighs others that fail.
    pub(crate) fn hold(&self, names: &Names) -> Result<bool, String> {
        let mut failed = Ok(true);
        for (name, expression) in &self.0 {
            match expression.holds(names) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => {
                    failed = failed.and(Err(format!(
                        "failed to evaluate matchCondition '{name}': {why}"
                    )));
                }
            }
        }
        failed
    }
}
