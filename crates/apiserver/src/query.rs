//! Query parameters: parsed into what they mean, and refused where they would not be honoured.
//!
//! Kubernetes ignores a parameter that it does not know, and all but one of those that are given twice. Here a client
//! that asks for something gets it or hears why not, because a silently dropped `dryRun` deletes real things.
//! What clients of Kubernetes send although it changes nothing is taken all the same: `timeout` and `timeoutSeconds` of
//! what is answered at once, `gracePeriodSeconds` of what ends at once, `limit` of a watch, and `allowWatchBookmarks` of a list.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::failure::{Cause, Failure};

/// Longest query that is looked at, in bytes.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Longest `fieldManager`.
const FIELD_MANAGER_CHARS_MAX: usize = 128;

/// Parameters that every request may have. `timeout` is the client's own limit; answers come at once.
const ANY: &[&str] = &["pretty", "timeout"];
/// The version of a document that is remembered.
const DOCUMENT: &[&str] = &["hash"];
/// How much is told of health, and what is left out.
const HEALTH: &[&str] = &["exclude", "verbose"];
const GET: &[&str] = &["resourceVersion", "includeObject"];
const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "includeObject",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// What chooses the objects of a collection that are deleted, in pages if asked.
const CHOICE: &[&str] = &["continue", "fieldSelector", "labelSelector", "limit"];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// Only when a configuration is applied.
const PATCH: &[&str] = &["force"];
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
];

/// What the parameters of one request mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Answer with line breaks.
    pub pretty: bool,
    /// Stream changes instead of answering once.
    pub watch: bool,
    /// Send a bookmark now and then.
    pub bookmarks: bool,
    /// Start a watch with what is there.
    pub initial_events: Option<bool>,
    /// The version to read at, or to watch from; empty if not given.
    pub resource_version: String,
    /// How the version is meant.
    pub version_match: Option<VersionMatch>,
    /// Page size; 0 for everything.
    pub limit: usize,
    /// Where the next page starts; empty for the first.
    pub continue_token: String,
    /// As given; parsed once the resource is known.
    pub label_selector: String,
    /// As given; parsed once the resource is known.
    pub field_selector: String,
    /// When a watch ends.
    pub timeout: Option<Duration>,
    /// Decide, and do not store.
    pub dry_run: bool,
    /// What to do about unknown and repeated fields.
    pub field_validation: FieldValidation,
    /// Who writes; empty for the client's program.
    pub field_manager: String,
    /// Take what others own; only when applying.
    pub force: Option<bool>,
    /// What becomes of dependents.
    pub(crate) fate: Fate,
    /// How much of an object a row of a table carries.
    pub include_object: Option<IncludeObject>,
    /// Whether each check of health is told of.
    pub(crate) verbose: bool,
    /// Checks of health that are not asked.
    pub(crate) excluded: Vec<String>,
}

/// How `resourceVersion` of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// As it was at that version.
    Exact,
    /// Not older than that version.
    NotOlderThan,
}

/// What to do about fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

/// What a client says of the dependents of a deleted object, in one of two ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// As given; checked when it is needed.
    pub(crate) policy: Option<String>,
    /// The older way.
    pub(crate) orphans: Option<bool>,
}

impl Fate {
    pub(crate) fn is_said(&self) -> bool {
        self.policy.is_some() || self.orphans.is_some()
    }

    /// What it comes to.
    pub(crate) fn propagation(&self) -> Result<Option<Propagation>, Cause> {
        const FIELD: &str = "propagationPolicy";
        match (self.policy.as_deref(), self.orphans) {
            (Some(policy), Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                Err(Cause::invalid(FIELD, &policy.into(), why))
            }
            (Some(policy), None) => propagation(policy).map(Some).ok_or_else(|| {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                Cause::unsupported(FIELD, &policy.into(), &known)
            }),
            (None, Some(true)) => Ok(Some(Propagation::Orphan)),
            (None, Some(false)) => Ok(Some(Propagation::Background)),
            (None, None) => Ok(None),
        }
    }
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How much of an object a row of a table carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Which parameters a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Get,
    List,
    Write,
    Patch,
    Delete,
    DeleteMany,
    Document,
    Health,
    Other,
}

impl Query {
    pub(crate) fn parse(text: &str, allowed: Allowed) -> Result<Self, Failure> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(Failure::bad_request(format!(
                "the query is longer than {QUERY_BYTES_MAX} bytes"
            )));
        }
        let mut query = Self::default();
        let mut seen = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !allowed.has(&name) {
                let message = format!("query parameter {name:?} is not honoured for this request");
                return Err(Failure::bad_request(message));
            }
            if !seen.insert(name.clone()) && name != "exclude" {
                let message = format!("query parameter {name:?} is given twice");
                return Err(Failure::bad_request(message));
            }
            let refuse = |why| match (&*name, allowed) {
                ("dryRun", Allowed::Delete | Allowed::DeleteMany) => {
                    Failure::delete_options(&no_run(&[&value]))
                }
                _ => Failure::bad_request(format!("query parameter {name}={value}: {why}")),
            };
            query.set(&name, &value).map_err(refuse)?;
        }
        query.check()?;
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            // Any value but these asks for line breaks, as in Kubernetes.
            "pretty" => self.pretty = !matches!(value, "false" | "0"),
            "watch" => self.watch = truth(value)?,
            "allowWatchBookmarks" => self.bookmarks = truth(value)?,
            "sendInitialEvents" => self.initial_events = Some(truth(value)?),
            "resourceVersion" => self.resource_version = version(value)?,
            "resourceVersionMatch" => self.version_match = version_match(value)?,
            "limit" => self.limit = number(value)?,
            "continue" => self.continue_token = value.to_owned(),
            "labelSelector" => self.label_selector = value.to_owned(),
            "fieldSelector" => self.field_selector = value.to_owned(),
            "timeoutSeconds" => self.timeout = timeout(value)?,
            "dryRun" => self.dry_run = dry_run(value)?,
            "fieldManager" => self.field_manager = field_manager(value)?,
            "force" => self.force = Some(truth(value)?),
            "fieldValidation" => self.field_validation = field_validation(value)?,
            "propagationPolicy" => self.fate.policy = Some(value.to_owned()),
            "orphanDependents" => self.fate.orphans = Some(truth(value)?),
            "includeObject" => self.include_object = Some(include_object(value)?),
            // Objects here stop nothing themselves, so every grace period is honoured by deleting at once.
            "gracePeriodSeconds" => drop(whole::<i64>(value)?),
            // The document itself compares it.
            "timeout" | "hash" => {}
            "verbose" => self.verbose = true,
            "exclude" => self.excluded.push(value.to_owned()),
            other => unreachable!("{other} is in no list of allowed parameters"),
        }
        Ok(())
    }

    /// What only shows when the parameters are seen together.
    fn check(&self) -> Result<(), Failure> {
        if self.watch && !self.continue_token.is_empty() {
            return Err(Failure::bad_request("continue is forbidden for watch"));
        }
        let wrong = match self.watch {
            true => self.wrong_watch(),
            false => self.wrong_list(),
        };
        match wrong {
            Some((field, why)) => Err(Failure::list_options(&Cause::forbidden(field, why))),
            None => self.check_position(),
        }
    }

    /// A page goes on where the one before ended, and nowhere else.
    fn check_position(&self) -> Result<(), Failure> {
        let elsewhere = !matches!(self.resource_version.as_str(), "" | "0");
        if !self.watch && !self.continue_token.is_empty() && elsewhere {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(why));
        }
        Ok(())
    }

    fn wrong_watch(&self) -> Option<(&'static str, &'static str)> {
        const MATCH: &str = "resourceVersionMatch";
        match (self.initial_events, self.version_match) {
            (Some(_), None | Some(VersionMatch::Exact)) => Some((
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )),
            (None, Some(_)) => Some((
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
            _ => None,
        }
    }

    fn wrong_list(&self) -> Option<(&'static str, &'static str)> {
        let why = match (self.version_match, self.resource_version.as_str()) {
            _ if self.initial_events.is_some() => {
                let why = "sendInitialEvents is forbidden for list";
                return Some(("sendInitialEvents", why));
            }
            (Some(_), "") => "resourceVersionMatch is forbidden unless resourceVersion is provided",
            (Some(_), _) if !self.continue_token.is_empty() => {
                "resourceVersionMatch is forbidden when continue is provided"
            }
            (Some(VersionMatch::Exact), "0") => {
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
            }
            _ => return None,
        };
        Some(("resourceVersionMatch", why))
    }
}

impl Allowed {
    fn has(self, name: &str) -> bool {
        self.names().any(|allowed| allowed == name)
    }

    /// The parameters that such a request may have.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let lists: &[&[&str]] = match self {
            Self::Get => &[ANY, GET],
            Self::List => &[ANY, LIST],
            Self::Write => &[ANY, WRITE],
            Self::Patch => &[ANY, WRITE, PATCH],
            Self::Delete => &[ANY, DELETE],
            Self::DeleteMany => &[ANY, CHOICE, DELETE],
            Self::Document => &[ANY, DOCUMENT],
            Self::Health => &[ANY, HEALTH],
            Self::Other => &[ANY],
        };
        lists.iter().copied().flatten().copied()
    }
}

fn truth(value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" | "True" | "TRUE" | "t" | "T" | "" => Ok(true),
        "false" | "0" | "False" | "FALSE" | "f" | "F" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    whole(value).map_err(|why| why + ", not negative")
}

fn whole<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| "must be a whole number".to_owned())
}

fn version(value: &str) -> Result<String, String> {
    if !value.is_empty() {
        number::<u64>(value)?;
    }
    Ok(value.to_owned())
}

fn version_match(value: &str) -> Result<Option<VersionMatch>, String> {
    match value {
        "" => Ok(None),
        "Exact" => Ok(Some(VersionMatch::Exact)),
        "NotOlderThan" => Ok(Some(VersionMatch::NotOlderThan)),
        _ => Err("must be Exact or NotOlderThan".to_owned()),
    }
}

/// Zero means the server's own limit, as in Kubernetes.
fn timeout(value: &str) -> Result<Option<Duration>, String> {
    let seconds = number(value)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn dry_run(value: &str) -> Result<bool, String> {
    match value {
        "All" => Ok(true),
        _ => Err("must be All".to_owned()),
    }
}

fn field_manager(value: &str) -> Result<String, String> {
    if value.len() > FIELD_MANAGER_CHARS_MAX || value.chars().any(char::is_control) {
        return Err(format!(
            "must be at most {FIELD_MANAGER_CHARS_MAX} printable characters"
        ));
    }
    Ok(value.to_owned())
}

fn field_validation(value: &str) -> Result<FieldValidation, String> {
    match value {
        "Ignore" => Ok(FieldValidation::Ignore),
        "Warn" | "" => Ok(FieldValidation::Warn),
        "Strict" => Ok(FieldValidation::Strict),
        _ => Err("must be Ignore, Warn or Strict".to_owned()),
    }
}

pub(crate) fn propagation(value: &str) -> Option<Propagation> {
    match value {
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        _ => None,
    }
}

/// Why a deletion that asks for another dry run than that of everything is refused.
pub(crate) fn no_run(asked: &[&str]) -> Cause {
    Cause::unsupported("dryRun", &json!(asked), &["All"])
}

fn include_object(value: &str) -> Result<IncludeObject, String> {
    match value {
        "None" => Ok(IncludeObject::None),
        "Metadata" | "" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        _ => Err("must be None, Metadata or Object".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_honoured() {
        let text = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
            &fieldSelector=metadata.name%3Da&labelSelector=a%20in%20(b%2Cc)&timeoutSeconds=290";
        let query = Query::parse(text, Allowed::List).expect("all of it is honoured");
        assert!(query.watch && query.bookmarks);
        assert_eq!(query.initial_events, Some(true));
        assert_eq!(query.field_selector, "metadata.name=a");
        assert_eq!(query.label_selector, "a in (b,c)");
        assert_eq!(query.timeout, Some(Duration::from_secs(290)));
    }

    #[test]
    fn every_allowed_parameter_means_something_or_is_known_to_mean_nothing() {
        let nothing = ["gracePeriodSeconds", "hash", "timeout"];
        for name in [
            ANY, DOCUMENT, HEALTH, GET, LIST, CHOICE, WRITE, PATCH, DELETE,
        ]
        .concat()
        {
            let values = ["true", "5", "All", "Exact", "Strict", "Orphan", "Object"];
            let mut taken = values.into_iter().filter_map(|value| {
                let mut query = Query::default();
                query.set(name, value).ok().map(|()| query)
            });
            let changes = taken.any(|query| query != Query::default());
            assert_ne!(changes, nothing.contains(&name), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_not_honoured() {
        let cases = [
            ("nonsense=1", Allowed::List),
            ("nonsense=1", Allowed::Other),
            ("hash=1", Allowed::Other),
            ("limit=1&limit=1", Allowed::List),
            ("dryRun=All", Allowed::Get),
            ("force=true", Allowed::Write),
            ("force=perhaps", Allowed::Patch),
            ("dryRun=some", Allowed::Write),
            ("fieldValidation=maybe", Allowed::Write),
            ("resourceVersion=abc", Allowed::List),
            ("limit=-1", Allowed::List),
            ("dryRun=some", Allowed::Delete),
            ("gracePeriodSeconds=soon", Allowed::Delete),
            ("resourceVersion=1", Allowed::DeleteMany),
            ("watch=true", Allowed::DeleteMany),
            ("timeoutSeconds=1", Allowed::DeleteMany),
            ("resourceVersionMatch=Exact", Allowed::List),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                Allowed::List,
            ),
            ("sendInitialEvents=true&watch=true", Allowed::List),
            ("continue=x&resourceVersion=5", Allowed::List),
        ];
        for (text, allowed) in cases {
            let failure = Query::parse(text, allowed).expect_err(text);
            assert!([400, 422].contains(&failure.code), "{text}");
        }
        let long = format!("pretty={}", "1".repeat(QUERY_BYTES_MAX));
        Query::parse(&long, Allowed::Get).expect_err("too long");
    }
}
