//! The rules of roles: what one permits, whether one covers another, and how they are told.
//!
//! Pure, and in the form of `rbac.authorization.k8s.io/v1` (`PolicyRule`). Who has which rules is [`super::rbac`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attributes::{Attributes, Place, Target};
use crate::failure::quoted;

/// Any verb, group, resource or path.
const ALL: &str = "*";

/// What may be done to what. An empty list of names means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) paths: Vec<String>,
}

impl Rule {
    /// The rules of a role. One that cannot be read permits nothing.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        Vec::deserialize(&role["rules"]).unwrap_or_default()
    }

    /// Everything: what only some may gather without looking.
    pub(super) fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Self {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                paths: all(),
                ..Self::default()
            },
        ]
    }

    /// Whether it permits that.
    pub(super) fn allows(&self, asked: &Attributes) -> bool {
        let done = has(&self.verbs, &asked.verb);
        done && match &asked.target {
            Target::Resource(place) => self.is_about(place),
            Target::Path(path) => self.paths.iter().any(|own| path_covers(own, path)),
        }
    }

    fn is_about(&self, place: &Place) -> bool {
        let named = self.resource_names.is_empty() || self.resource_names.contains(&place.name);
        named
            && has(&self.api_groups, &place.group)
            && self
                .resources
                .iter()
                .any(|own| resource_covers(own, &place.resource, &place.subresource))
    }

    /// Those of the wanted rights that no rule of these gives, one each.
    pub(super) fn lacking(own: &[Self], wanted: &[Self]) -> Vec<Self> {
        let single = wanted.iter().flat_map(Self::single);
        single
            .filter(|right| !own.iter().any(|rule| rule.covers(right)))
            .collect()
    }

    /// Its rights one by one: of each list at most one item.
    fn single(&self) -> Vec<Self> {
        let one = |word: &String| vec![word.clone()];
        let mut single = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let right = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    let named = self.resource_names.iter().map(|name| Self {
                        resource_names: one(name),
                        ..right.clone()
                    });
                    match self.resource_names.is_empty() {
                        true => single.push(right),
                        false => single.extend(named),
                    }
                }
            }
        }
        for path in &self.paths {
            single.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                paths: one(path),
                ..Self::default()
            }));
        }
        single
    }

    /// Whether it gives a single right.
    fn covers(&self, right: &Self) -> bool {
        let all_in = |own: &[String], wanted: &[String]| wanted.iter().all(|it| has(own, it));
        let named = self.resource_names.is_empty()
            || !right.resource_names.is_empty()
                && right
                    .resource_names
                    .iter()
                    .all(|name| self.resource_names.contains(name));
        let resources = right.resources.iter().all(|wanted| {
            let (resource, part) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources
                .iter()
                .any(|own| resource_covers(own, resource, part))
        });
        let paths = right
            .paths
            .iter()
            .all(|wanted| self.paths.iter().any(|own| path_covers(own, wanted)));
        all_in(&self.verbs, &right.verbs)
            && all_in(&self.api_groups, &right.api_groups)
            && resources
            && named
            && paths
    }

    /// Single rights as they are told: one a line, in order; those that differ in nothing but the verb are one.
    pub(super) fn told(rights: Vec<Self>) -> String {
        let mut compact: Vec<Self> = Vec::new();
        for right in rights {
            let alike = |other: &&mut Self| {
                right.paths.is_empty()
                    && (&other.api_groups, &other.resources, &other.resource_names)
                        == (&right.api_groups, &right.resources, &right.resource_names)
            };
            match compact.iter_mut().find(alike) {
                Some(other) => other.verbs.extend(right.verbs),
                None => compact.push(right),
            }
        }
        let lines: BTreeSet<String> = compact.iter().map(Self::line).collect();
        Vec::from_iter(lines).join("\n")
    }

    fn line(&self) -> String {
        let lists = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let said = lists.into_iter().filter(|(_, words)| !words.is_empty());
        let parts: Vec<String> = said
            .map(|(list, words)| format!("{list}:{}", quoted_all(words)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// Words as Go writes them (`%q`).
pub(super) fn quoted_all(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == ALL || word == wanted)
}

/// Whether a rule about `*`, `instances`, `instances/log` or `*/log` is about that resource, or part of one.
fn resource_covers(own: &str, resource: &str, part: &str) -> bool {
    let exactly = own.strip_prefix(resource).is_some_and(|rest| match part {
        "" => rest.is_empty(),
        part => rest.strip_prefix('/') == Some(part),
    });
    own == ALL || exactly || !part.is_empty() && own.strip_prefix("*/") == Some(part)
}

/// A path, or all that begins as what stands before the last `*`.
fn path_covers(own: &str, wanted: &str) -> bool {
    own == wanted || own.ends_with('*') && wanted.starts_with(own.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        let words = |words: &str| -> Vec<String> {
            let words = words.split(',').filter(|word| !word.is_empty());
            words
                .map(|word| word.trim_matches('\'').to_owned())
                .collect()
        };
        let rule = |line: &str| {
            let parts: Vec<Vec<String>> = line.split(' ').map(words).collect();
            match parts.as_slice() {
                [verbs, paths] => Rule {
                    verbs: verbs.clone(),
                    paths: paths.clone(),
                    ..Rule::default()
                },
                [verbs, groups, resources, names @ ..] => Rule {
                    verbs: verbs.clone(),
                    api_groups: groups.clone(),
                    resources: resources.clone(),
                    resource_names: names.first().cloned().unwrap_or_default(),
                    ..Rule::default()
                },
                _ => Rule::default(),
            }
        };
        let lines = text.split(';').filter(|line| !line.is_empty());
        lines.map(rule).collect()
    }

    /// Rules are `verbs groups resources names` or `verbs paths`, with `''` for the core group.
    #[test]
    fn rights_that_are_lacking_are_found_one_by_one() {
        let cases = [
            ("* * *", "get '' pods;* apps */scale a,b", ""),
            ("* * *", "get /version", "get /version"),
            ("get,list '' pods", "get '' pods;list '' pods n", ""),
            (
                "get '' pods n",
                "get '' pods n,m;get '' pods",
                "get '' pods m;get '' pods",
            ),
            ("get '' */log", "get '' pods/log,*/log", ""),
            (
                "get '' */log",
                "get '' pods/logs,pods",
                "get '' pods/logs;get '' pods",
            ),
            (
                "get '' pods",
                "get '' pods/log,po",
                "get '' pods/log;get '' po",
            ),
            (
                "get '' pods",
                "* '' pods;get * pods;get '' *",
                "* '' pods;get * pods;get '' *",
            ),
            ("get /a/*", "get /a/*,/a/b,/a/,/a,/*", "get /a;get /*"),
            ("get *", "get /,*;post *", "post *"),
            ("", "get '' pods", "get '' pods"),
        ];
        for (own, wanted, lacking) in cases {
            let found = Rule::lacking(&rules(own), &rules(wanted));
            assert_eq!(found, rules(lacking), "{own} gives {wanted}");
        }
    }

    #[test]
    fn a_rule_is_about_whole_names() {
        let cases = [
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/", "pods", "", false),
            ("pods/log", "pods", "log", true),
            ("pods/log", "pods", "", false),
            ("*/log", "pods", "log", true),
            ("*/log", "pods", "logs", false),
            ("*/", "pods", "", false),
            ("*", "pods", "log", true),
            ("po", "pods", "", false),
            ("pods", "po", "", false),
        ];
        for (own, resource, part, expected) in cases {
            assert_eq!(resource_covers(own, resource, part), expected, "{own}");
        }
    }
}
