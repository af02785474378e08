//! The last part of a pass: says what was found, if that is news, in the fields and conditions that are its own.

use std::sync::Arc;

use api::condition::condition;
use api::{ErrorKind, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Map, Value, json};

use super::look::Look;
use super::patch::patch;
use super::{End, Patience};
use crate::ctx::Ctx;
use crate::object::Object;
use crate::reason::ReadyReason;
use crate::reconcile::{Reconciler, Wait};

/// A message names at most so many steps or waits.
const ITEMS_SHOWN_MAX: usize = 3;

/// Writes what the pass found: not a conflict, nor an outage that may be over in a moment.
pub(super) async fn conclude<R: Reconciler>(
    reconciler: &R,
    ctx: &Ctx,
    object: &mut Arc<R::Object>,
    look: Option<&Look<R>>,
    end: End,
    patience: Patience,
) -> Result<End> {
    if unremarkable(&end, patience) {
        return Ok(end);
    }
    let (fields, mut conditions) = match look.map(|look| reconciler.report(object, &look.observed))
    {
        Some(report) => (
            serde_json::to_value(report.status).expect("a status serialises"),
            report.conditions,
        ),
        None => (Value::Null, Vec::new()),
    };
    conditions.push(own_condition(R::role().condition(), &end, look));
    let current = object.json()["status"].take();
    let generation = object.metadata().generation;
    let operations = operations(&current, fields, conditions, (generation, Time(ctx.now())));
    if !operations.is_empty() {
        match (
            patch::<R::Object>(ctx, object, Some("status"), operations).await,
            &end,
        ) {
            (Ok(newest), _) => *object = newest,
            // A failing pass that cannot say so is still a failing pass.
            (Err(_), End::Failed(_)) => {}
            (Err(error), _) => return Err(error),
        }
    }
    Ok(end)
}

fn unremarkable(end: &End, patience: Patience) -> bool {
    match end {
        End::Acted { world: true } => patience.with_acting,
        End::Failed(error) => match error.kind {
            ErrorKind::Conflict => true,
            ErrorKind::Unavailable => patience.with_outage,
            _ => false,
        },
        _ => false,
    }
}

/// `Ready` of an owner, or the condition that a guest has instead.
fn own_condition<R: Reconciler>(type_: &str, end: &End, look: Option<&Look<R>>) -> Condition {
    let reason = ReadyReason::of(end);
    let message = match end {
        End::Settled | End::Gone => String::new(),
        End::Acted { .. } => sentence(look.map(Look::lines).unwrap_or_default()),
        End::Waiting(waits) => sentence(waits.iter().map(Wait::to_string).collect()),
        End::Failed(error) => error.what.clone(),
    };
    condition(type_, reason.truth(), format!("{reason:?}"), message)
}

fn sentence(mut items: Vec<String>) -> String {
    let n_more = items.len().saturating_sub(ITEMS_SHOWN_MAX);
    items.truncate(ITEMS_SHOWN_MAX);
    if n_more > 0 {
        items.push(format!("and {n_more} more"));
    }
    items.join("; ")
}

/// The operations that make the owned part of `current` as reported; none if it is already.
fn operations(
    current: &Value,
    fields: Value,
    conditions: Vec<Condition>,
    stamp: (Option<i64>, Time),
) -> Vec<Value> {
    let empty = Map::new();
    let have = current.as_object().unwrap_or(&empty);
    let old: Vec<Condition> = have
        .get("conditions")
        .and_then(|old| serde_json::from_value(old.clone()).ok())
        .unwrap_or_default();
    let new = merge(&old, conditions, stamp);
    let mut operations = Vec::new();
    for (name, value) in fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "conditions")
    {
        let path = format!("/status/{name}");
        match (have.get(name), value) {
            (None, value) if blank(value) => {}
            (Some(old), value) if old == value => {}
            (Some(_), Value::Null) => operations.push(json!({"op": "remove", "path": path})),
            (_, value) => operations.push(json!({"op": "add", "path": path, "value": value})),
        }
    }
    if new != old {
        operations.push(json!({"op": "add", "path": "/status/conditions", "value": new}));
    }
    if current.is_null() && !operations.is_empty() {
        // Safe only because the patch carries the version: another writer's status cannot be wiped.
        operations.insert(0, json!({"op": "add", "path": "/status", "value": {}}));
    }
    operations
}

/// An empty value that the kind leaves out on the wire is no difference.
fn blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Puts each condition in its place; the others stay. The time of a transition is that of a change of `status`.
fn merge(
    old: &[Condition],
    conditions: Vec<Condition>,
    (generation, now): (Option<i64>, Time),
) -> Vec<Condition> {
    let mut merged = old.to_vec();
    for mut condition in conditions {
        condition.observed_generation = generation;
        condition.last_transition_time = now.clone();
        match merged.iter_mut().find(|slot| slot.type_ == condition.type_) {
            Some(slot) => {
                if slot.status == condition.status {
                    condition.last_transition_time = slot.last_transition_time.clone();
                }
                *slot = condition;
            }
            None => merged.push(condition),
        }
    }
    merged
}
