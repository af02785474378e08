//! How many objects a namespace may have: `ResourceQuota`s with `count/PLURAL.GROUP`, of any resource that is served.
//!
//! Counted is what is decided, so that many who write at once get no more than one after the other. Amounts that
//! workloads reserve are not for here: what they take is known where they are placed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::Quantity;
use serde_json::{Map, Value, json};

use crate::engine::{Engine, Outcome};
use crate::failure::{Cause, Failure};
use crate::history::{Change, Event};
use crate::object::{Key, Object};
use crate::resource::{Home, Resource};
use crate::state::State;

pub(crate) const PLURAL: &str = "resourcequotas";
/// What names a number of objects begin with.
const COUNT: &str = "count/";
/// What Kubernetes counts under names of their own.
const NAMED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    PLURAL,
    "secrets",
    "services",
];

/// How many objects there are, and which quotas.
#[derive(Default)]
pub(crate) struct Tally {
    decided: HashMap<Arc<Home>, HashMap<String, u64>>,
    /// The names of visible quotas by their namespaces.
    quotas: BTreeMap<String, BTreeSet<String>>,
    /// Namespaces whose quotas do not say yet what is used.
    stale: BTreeSet<String>,
}

impl Tally {
    /// Takes in an object that is there.
    pub(crate) fn count(&mut self, home: &Arc<Home>, namespace: &str, name: &str) {
        if is_quota(home) {
            let names = self.quotas.entry(namespace.to_owned()).or_default();
            names.insert(name.to_owned());
        }
        *self.decided(home, namespace) += 1;
    }

    /// How many are decided.
    fn decided(&mut self, home: &Arc<Home>, namespace: &str) -> &mut u64 {
        let of_home = self.decided.entry(home.clone()).or_default();
        // Mostly it is there, and the name need not be copied.
        if !of_home.contains_key(namespace) {
            of_home.insert(namespace.to_owned(), 0);
        }
        of_home.get_mut(namespace).expect("it was just put there")
    }

    /// Counts what was decided.
    pub(crate) fn decide(&mut self, event: &Event) {
        let key = &event.new.key;
        match event.change {
            Change::Added => *self.decided(&key.home, &key.namespace) += 1,
            Change::Modified => {}
            Change::Deleted => *self.decided(&key.home, &key.namespace) -= 1,
        }
    }

    /// Counts what was decided and will never be.
    pub(crate) fn undo(&mut self, event: &Event) {
        let key = &event.new.key;
        match event.change {
            Change::Added => *self.decided(&key.home, &key.namespace) -= 1,
            Change::Modified => {}
            Change::Deleted => *self.decided(&key.home, &key.namespace) += 1,
        }
    }

    /// Notes which quotas must say something else since a change is visible.
    pub(crate) fn show(&mut self, event: &Event) {
        let key = &event.new.key;
        if is_quota(&key.home) {
            let names = self.quotas.entry(key.namespace.clone()).or_default();
            match event.change {
                Change::Deleted => names.remove(&key.name),
                Change::Added | Change::Modified => names.insert(key.name.clone()),
            };
        }
        let counts = event.change != Change::Modified || is_quota(&key.home);
        if counts && self.quotas.contains_key(&key.namespace) {
            self.stale.insert(key.namespace.clone());
        }
    }

    fn used(&self, home: &Home, namespace: &str) -> u64 {
        let of_home = self.decided.get(home);
        let used = of_home.and_then(|of_home| of_home.get(namespace));
        used.copied().unwrap_or_default()
    }
}

fn is_quota(home: &Home) -> bool {
    home.group.is_empty() && home.plural == PLURAL
}

/// Whether a namespace may have one more object.
pub(crate) fn admits(state: &State, resource: &Resource, key: &Key) -> Result<(), Failure> {
    let quotas = state.tally.quotas.get(&key.namespace);
    for name in quotas.into_iter().flatten() {
        let Some(quota) = state.latest(&quota_key(&key.namespace, name)) else {
            continue;
        };
        for (counted, limit) in limits(&quota.value) {
            let used = state.tally.used(&key.home, &key.namespace);
            if counts(counted) == Some(home_text(&key.home)) && used >= limit {
                let why = format!(
                    "exceeded quota: {name}, requested: {counted}=1, used: {counted}={used}, limited: {counted}={limit}"
                );
                return Err(Failure::forbidden(resource, &key.name, &why));
            }
        }
    }
    Ok(())
}

/// Lets quotas say what is used. Whoever has made changes visible calls it.
pub(crate) fn keep(engine: &Arc<Engine>) {
    let keys: Vec<Key> = {
        let mut state = engine.state();
        let stale = std::mem::take(&mut state.tally.stale);
        let quotas = stale
            .iter()
            .filter_map(|it| Some((it, state.tally.quotas.get(it)?)));
        let keys = quotas
            .flat_map(|(namespace, names)| names.iter().map(|name| quota_key(namespace, name)));
        keys.collect()
    };
    for key in keys {
        let decide = |old: Option<&Arc<Object>>| match old {
            Some(old) => Ok(Outcome::Set(old.value.clone())),
            None => Err(Failure::no_such_path()),
        };
        let admit = |state: &State, outcome: &mut Outcome| {
            if let Outcome::Set(quota) = outcome {
                let status = status(state, quota, &key.namespace);
                match quota["status"] == status {
                    true => *outcome = Outcome::Keep,
                    false => quota["status"] = status,
                }
            }
            Ok(())
        };
        match engine.decide(&key, decide, admit) {
            Ok(_) => {}
            // It went meanwhile.
            Err(why) if why.code == 404 => {}
            Err(why) => tracing::error!(name = key.name, %why, "a quota does not say what is used"),
        }
    }
}

/// Has every quota looked at.
pub(crate) fn suspect_all(state: &mut State) {
    let all = state.tally.quotas.keys().cloned().collect();
    state.tally.stale = all;
}

fn status(state: &State, quota: &Value, namespace: &str) -> Value {
    let mut used = Map::new();
    for (counted, _) in limits(quota) {
        if let Some((plural, group)) = counts(counted) {
            let home = Home {
                group: group.to_owned(),
                plural: plural.to_owned(),
            };
            let count = state.tally.used(&home, namespace);
            used.insert(counted.to_owned(), count.to_string().into());
        }
    }
    json!({"hard": quota["spec"]["hard"], "used": used})
}

fn quota_key(namespace: &str, name: &str) -> Key {
    let home = Home {
        group: String::new(),
        plural: PLURAL.to_owned(),
    };
    Key {
        home: Arc::new(home),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// What a quota names, with how much there may be of it.
fn limits(quota: &Value) -> impl Iterator<Item = (&str, u64)> {
    let hard = quota["spec"]["hard"].as_object();
    let hard = hard.into_iter().flatten();
    hard.filter_map(|(name, limit)| Some((&**name, whole(limit)?)))
}

/// A number of objects.
fn whole(limit: &Value) -> Option<u64> {
    let limit: Quantity = limit.as_str()?.parse().ok()?;
    u64::try_from(limit.as_whole()).ok()
}

/// Plural and group of the resource whose objects a name counts; `None` if it counts none.
fn counts(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix(COUNT) {
        Some(resource) => Some(resource.split_once('.').unwrap_or((resource, ""))),
        None => NAMED.contains(&name).then_some((name, "")),
    }
}

fn home_text(home: &Home) -> (&str, &str) {
    (&home.plural, &home.group)
}

/// What is wrong with a quota: nothing is named that nobody would count.
pub(crate) fn problems(_: Option<&Value>, quota: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let hard = quota["spec"]["hard"].as_object();
    for (name, limit) in hard.into_iter().flatten() {
        let field = format!("spec.hard[{name}]");
        if counts(name).is_none() {
            let why = "must be count/PLURAL.GROUP, such as count/services.groma.dev";
            causes.push(Cause::invalid(field, &json!(name), why));
        } else if whole(limit).is_none() {
            causes.push(Cause::invalid(
                field,
                limit,
                "must be a whole number of objects",
            ));
        }
    }
    for scoped in ["scopes", "scopeSelector"] {
        if !quota["spec"][scoped].is_null() {
            let field = format!("spec.{scoped}");
            causes.push(Cause::forbidden(
                field,
                "objects are counted whatever they are",
            ));
        }
    }
    causes
}
