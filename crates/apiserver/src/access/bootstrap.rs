//! The roles and bindings that every server has from its first start on, written down in `bootstrap/policy.yaml`.
//!
//! They are a user's to extend: what is missing of them is added at each start, and what was added stays. One whose
//! annotation says so is left as it is.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::aggregation;
use super::rbac::{CLUSTER_BINDINGS, CLUSTER_ROLES, GROUP};
use super::rules::Rule;
use crate::boot;
use crate::failure::Failure;
use crate::object::{meta, meta_mut, meta_text};
use crate::server::Server;

static POLICY: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let policy = api::documents(include_str!("bootstrap/policy.yaml"));
    let policy = policy.expect("the tests read it, too");
    policy.into_iter().map(marked).collect()
});
/// Marks what comes from here.
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// Whether a start may add to it.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Makes what is not there, and adds what is missing: all at once, so that it is put together once.
pub(crate) fn reconcile(server: &Server) -> Result<(), Failure> {
    let roles = boot::built_in(server, GROUP, CLUSTER_ROLES)?;
    let bindings = boot::built_in(server, GROUP, CLUSTER_BINDINGS)?;
    let engine = server.engine();
    let mut state = engine.state();
    for wanted in POLICY.iter() {
        let resource = match wanted["kind"] == "ClusterRole" {
            true => &roles,
            false => &bindings,
        };
        let key = resource.key("", meta_text(wanted, "name"));
        let old = state.latest(&key);
        let value = match &old {
            None => boot::fresh(wanted, boot::stamp(server)),
            Some(old) => reconciled(&old.value, wanted),
        };
        if old.is_none_or(|old| *old.value != value) {
            state.set(&key, value);
        }
    }
    drop(state);
    engine.submit();
    aggregation::keep(engine);
    // The first request may come before they are visible.
    engine.authorizer.expect(&engine.state());
    Ok(())
}

/// With what all of them carry.
fn marked(mut wanted: Value) -> Value {
    wanted["apiVersion"] = format!("{GROUP}/v1").into();
    let metadata = &mut wanted["metadata"];
    metadata["labels"][LABEL.0] = LABEL.1.into();
    metadata["annotations"] = json!({AUTOUPDATE: "true"});
    wanted
}

/// The object with what is missing of it.
fn reconciled(old: &Value, wanted: &Value) -> Value {
    let mut value = old.clone();
    let annotations = meta(old).get("annotations");
    if annotations.is_some_and(|annotations| annotations[AUTOUPDATE] == "false") {
        return value;
    }
    for field in ["labels", "annotations"] {
        let own = meta_mut(&mut value)
            .entry(field)
            .or_insert_with(|| json!({}));
        for (key, word) in wanted["metadata"][field].as_object().into_iter().flatten() {
            own[key] = word.clone();
        }
    }
    if wanted["roleRef"] != old["roleRef"] {
        for field in ["roleRef", "subjects"] {
            value[field] = wanted[field].clone();
        }
    }
    add(&mut value, wanted, "/subjects");
    add(&mut value, wanted, "/aggregationRule/clusterRoleSelectors");
    // What is put together says nothing itself.
    if wanted.get("aggregationRule").is_none() && wanted.get("rules").is_some() {
        let mut rules = Rule::all_of(old);
        rules.extend(Rule::lacking(&rules, &Rule::all_of(wanted)));
        if rules != Rule::all_of(old) {
            value["rules"] = json!(rules);
        }
    }
    value
}

/// Adds the items that a list lacks.
fn add(value: &mut Value, wanted: &Value, list: &str) {
    let Some(wanted) = wanted.pointer(list).and_then(Value::as_array) else {
        return;
    };
    let (parent, field) = list.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = parent.strip_prefix('/')
        && value[parent].is_null()
    {
        value[parent] = json!({});
    }
    let Some(Value::Object(parent)) = value.pointer_mut(parent) else {
        return;
    };
    let own = parent.entry(field).or_insert_with(|| json!([]));
    if let Some(own) = own.as_array_mut() {
        for item in wanted {
            if !own.contains(item) {
                own.push(item.clone());
            }
        }
    }
}
