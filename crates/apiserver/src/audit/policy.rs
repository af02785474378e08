//! Which requests are recorded, and how much of them: the `Policy` of `audit.k8s.io/v1`.
//!
//! The first rule that fits decides; where none does, nothing is recorded. A policy that would not do what it says is
//! refused as a whole, with all that is wrong with it. What is recorded whatever a policy says is not decided here.

#[cfg(test)]
mod tests;

use api::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use crate::about::About;
use crate::access::Identity;
use crate::failure::Cause;
use crate::names;

/// Rules about what is recorded.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// How far a request has come when it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What becomes of the record of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) level: Level,
    /// By the order of [`Stage::ALL`].
    omitted: [bool; 4],
    pub(crate) omits_managed_fields: bool,
    /// Recorded only if the author may not do it.
    pub(crate) only_refused: bool,
}

impl Level {
    const ALL: [Self; 4] = [
        Self::None,
        Self::Metadata,
        Self::Request,
        Self::RequestResponse,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::RequestReceived,
        Self::ResponseStarted,
        Self::ResponseComplete,
        Self::Panic,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

impl Decision {
    const NOTHING: Self = Self {
        level: Level::None,
        omitted: [false; 4],
        omits_managed_fields: false,
        only_refused: false,
    };

    pub(crate) fn records(&self, stage: Stage) -> bool {
        let all = Stage::ALL.iter().zip(self.omitted);
        let omitted = all
            .into_iter()
            .any(|(one, omitted)| *one == stage && omitted);
        self.level > Level::None && !omitted
    }
}

#[derive(Debug)]
struct Rule {
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
    decision: Decision,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<GivenRule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GivenRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

impl Policy {
    /// All writes, and whatever its author may not do, without bodies and in one line each.
    #[must_use]
    pub fn standard() -> Self {
        let decision = Decision {
            level: Level::Metadata,
            omitted: [true, false, false, false],
            ..Decision::NOTHING
        };
        let rule = |verbs: &[&str], decision| Rule {
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: verbs.iter().copied().map(str::to_owned).collect(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            paths: Vec::new(),
            decision,
        };
        let reads = Decision {
            only_refused: true,
            ..decision
        };
        let rules = vec![
            rule(&["get", "list", "watch", "head", "options"], reads),
            rule(&[], decision),
        ];
        Self { rules }
    }

    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// With every field that is wrong, its value, and what would be right.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::new(
                ErrorKind::Invalid,
                format!("the audit policy is wrong: {why}"),
            )
        };
        let given: Given =
            serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
        let causes = given.check();
        if !causes.is_empty() {
            let lines: Vec<String> = causes.iter().map(Cause::to_string).collect();
            return Err(refuse(lines.join("; ")));
        }
        let rules = given.rules.iter().map(|rule| rule.decision(&given));
        let decisions: Vec<Decision> = rules.collect();
        let rules = given.rules.into_iter().zip(decisions);
        Ok(Self {
            rules: rules.map(|(rule, decision)| rule.with(decision)).collect(),
        })
    }

    pub(crate) fn decide(&self, identity: &Identity, about: &About<'_>) -> Decision {
        let first = self.rules.iter().find(|rule| rule.fits(identity, about));
        first.map_or(Decision::NOTHING, |rule| rule.decision)
    }
}

impl Given {
    fn check(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        let typed = [
            ("apiVersion", &self.api_version, "audit.k8s.io/v1"),
            ("kind", &self.kind, "Policy"),
        ];
        for (field, value, right) in typed {
            if value != right {
                causes.push(Cause::unsupported(field, &value.as_str().into(), &[right]));
            }
        }
        if self.rules.is_empty() {
            causes.push(Cause::required("rules", "at least one rule"));
        }
        check_stages(&self.omit_stages, "omitStages", &mut causes);
        for (n, rule) in self.rules.iter().enumerate() {
            rule.check(&format!("rules[{n}]"), &mut causes);
        }
        causes
    }
}

impl GivenRule {
    fn check(&self, at: &str, causes: &mut Vec<Cause>) {
        let level = format!("{at}.level");
        if self.level.is_empty() {
            let levels = Level::ALL.map(Level::name).join(", ");
            causes.push(Cause::required(level, &format!("one of {levels}")));
        } else if named(&Level::ALL, Level::name, &self.level).is_none() {
            let levels = Level::ALL.map(Level::name);
            causes.push(Cause::unsupported(
                &level,
                &self.level.as_str().into(),
                &levels,
            ));
        }
        check_stages(&self.omit_stages, &format!("{at}.omitStages"), causes);
        check_paths(&self.non_resource_urls, at, causes);
        let names_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if names_resources && !self.non_resource_urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            let field = format!("{at}.nonResourceURLs");
            causes.push(Cause::invalid(
                field,
                &self.non_resource_urls.clone().into(),
                why,
            ));
        }
        for (n, resources) in self.resources.iter().enumerate() {
            resources.check(&format!("{at}.resources[{n}]"), causes);
        }
    }

    fn decision(&self, policy: &Given) -> Decision {
        let omits = |stage: &Stage| {
            let mut all = self.omit_stages.iter().chain(&policy.omit_stages);
            all.any(|omitted| omitted == stage.name())
        };
        let omits_managed_fields = self.omit_managed_fields;
        Decision {
            level: named(&Level::ALL, Level::name, &self.level).unwrap_or(Level::None),
            omitted: Stage::ALL.each_ref().map(omits),
            omits_managed_fields: omits_managed_fields.unwrap_or(policy.omit_managed_fields),
            only_refused: false,
        }
    }

    fn with(self, decision: Decision) -> Rule {
        Rule {
            users: self.users,
            user_groups: self.user_groups,
            verbs: self.verbs,
            resources: self.resources,
            namespaces: self.namespaces,
            paths: self.non_resource_urls,
            decision,
        }
    }
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == text)
}

fn check_stages(stages: &[String], at: &str, causes: &mut Vec<Cause>) {
    for (n, stage) in stages.iter().enumerate() {
        if named(&Stage::ALL, Stage::name, stage).is_none() {
            let known = Stage::ALL.map(Stage::name).join(",");
            let why = format!("allowed stages are {known}");
            let field = format!("{at}[{n}]");
            causes.push(Cause::invalid(field, &stage.as_str().into(), &why));
        }
    }
}

fn check_paths(paths: &[String], at: &str, causes: &mut Vec<Cause>) {
    let paths = paths.iter().enumerate().filter(|(_, path)| *path != "*");
    for (n, path) in paths {
        let field = format!("{at}.nonResourceURLs[{n}]");
        let mut refuse = |why| {
            causes.push(Cause::invalid(field.clone(), &path.as_str().into(), why));
        };
        if !path.starts_with('/') {
            refuse("non-resource URL rules must begin with a '/' character");
        }
        if path.find('*').is_some_and(|at| at + 1 < path.len()) {
            refuse("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
}

impl GroupResources {
    fn check(&self, at: &str, causes: &mut Vec<Cause>) {
        let group = self.group.as_str();
        if !matches!(group, "" | "*")
            && let Err(why) = names::check_subdomain(group)
        {
            causes.push(Cause::invalid(format!("{at}.group"), &group.into(), &why));
        }
        if self.resources.is_empty() && !self.resource_names.is_empty() {
            let why = "using resourceNames requires at least one resource";
            let names = self.resource_names.clone().into();
            causes.push(Cause::invalid(format!("{at}.resourceNames"), &names, why));
        }
    }

    fn fits(&self, about: &About<'_>) -> bool {
        if self.group != "*" && self.group != about.group {
            return false;
        }
        let named = || self.resource_names.is_empty() || has(&self.resource_names, about.name);
        let mut resources = self.resources.iter();
        self.resources.is_empty()
            || named() && resources.any(|pattern| resource_fits(pattern, about))
    }
}

/// `*`, `a`, `a/b`, `a/*` and `*/b`.
fn resource_fits(pattern: &str, about: &About<'_>) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || about.subresource.is_empty() && pattern == about.resource,
        Some(("*", part)) => !about.subresource.is_empty() && part == about.subresource,
        Some((resource, "*")) => resource == about.resource,
        Some((resource, part)) => resource == about.resource && part == about.subresource,
    }
}

impl Rule {
    fn fits(&self, identity: &Identity, about: &About<'_>) -> bool {
        let by_user = || self.users.is_empty() || has(&self.users, &identity.name);
        let by_group = || {
            let mut groups = identity.groups.iter();
            self.user_groups.is_empty() || groups.any(|group| has(&self.user_groups, group))
        };
        let by_verb = self.verbs.is_empty() || has(&self.verbs, about.verb);
        by_verb && self.fits_place(about) && by_user() && by_group()
    }

    fn fits_place(&self, about: &About<'_>) -> bool {
        if !(self.namespaces.is_empty() && self.resources.is_empty()) {
            let mut resources = self.resources.iter();
            return !about.resource.is_empty()
                && (self.namespaces.is_empty() || has(&self.namespaces, about.namespace))
                && (self.resources.is_empty() || resources.any(|one| one.fits(about)));
        }
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => about.path.starts_with(start),
            None => pattern == about.path,
        };
        self.paths.is_empty() || about.resource.is_empty() && self.paths.iter().any(fits)
    }
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|one| one == text)
}
