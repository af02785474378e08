//! Roles that are put together: a ClusterRole with an `aggregationRule` has the rules of all whose labels it selects.
//!
//! What such a role says itself counts for nothing. It follows from the other roles alone, however they select each
//! other, so that one look settles it. Driven by whatever changes a ClusterRole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Given;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rbac::{CLUSTER_ROLES, GROUP};
use super::rules::Rule;
use crate::engine::{Engine, Outcome};
use crate::failure::Failure;
use crate::object::{Object, meta};
use crate::selection::LabelSelector;
use crate::state::State;

/// Gives the roles that are put together the rules that they have.
pub(crate) fn keep(engine: &Arc<Engine>) {
    let registry = engine.registry();
    let Some(resource) = registry.get(GROUP, CLUSTER_ROLES) else {
        return;
    };
    let there: Vec<Arc<Object>> = engine.state().latest_at(&resource.home);
    let roles: BTreeMap<&str, &Value> = there
        .iter()
        .map(|object| (object.key.name.as_str(), &*object.value))
        .collect();
    for object in &there {
        let Some(rules) = gathered(&roles, &object.key.name) else {
            continue;
        };
        if Rule::all_of(&object.value) == rules {
            continue;
        }
        let decide = |old: Option<&Arc<Object>>| match old {
            Some(old) if old.revision == object.revision => {
                let mut value = old.value.clone();
                value["rules"] = json!(rules);
                Ok(Outcome::Set(value))
            }
            // It has changed since: whoever changed it goes on.
            _ => Err(Failure::no_such_path()),
        };
        let admit = |_: &State, _: &mut Outcome| Ok(());
        match engine.decide(&object.key, decide, admit) {
            Ok(_) => {}
            Err(why) if why.code == 404 => {}
            Err(why) => {
                tracing::error!(name = object.key.name, %why, "a role is not as it should be");
            }
        }
    }
}

/// The rules of a role that is put together; `None` if it is not.
fn gathered(roles: &BTreeMap<&str, &Value>, name: &str) -> Option<Vec<Rule>> {
    selectors(roles.get(name)?)?;
    let (mut rules, mut seen) = (Vec::new(), BTreeSet::new());
    gather(roles, name, &mut seen, &mut rules);
    Some(rules)
}

fn gather<'r>(
    roles: &BTreeMap<&'r str, &'r Value>,
    name: &'r str,
    seen: &mut BTreeSet<&'r str>,
    rules: &mut Vec<Rule>,
) {
    let (true, Some(role)) = (seen.insert(name), roles.get(name)) else {
        return;
    };
    let Some(selectors) = selectors(role) else {
        for rule in Rule::all_of(role) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        return;
    };
    for selector in &selectors {
        for (other, role) in roles {
            if selector.matches(meta(role).get("labels")) {
                gather(roles, other, seen, rules);
            }
        }
    }
}

/// What a role selects others by; one that cannot be read selects nothing.
fn selectors(role: &Value) -> Option<Vec<LabelSelector>> {
    let given = role.pointer("/aggregationRule/clusterRoleSelectors")?;
    let given = Vec::<Given>::deserialize(given).ok()?;
    let read = given.iter().map(|given| LabelSelector::given(Some(given)));
    Some(read.filter_map(Result::ok).collect())
}
