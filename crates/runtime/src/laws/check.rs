//! What the laws look for in objects: that they are ready, and that they never said so too early.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ground::{label, text};
use crate::object::KindName;

/// A message shows so many calls.
const CALLS_SHOWN: usize = 8;

/// One reconciler, by what it writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watcher {
    pub kind: KindName,
    pub condition: &'static str,
}

/// The objects that some reconciler does not call settled.
pub(super) fn not_ready(objects: &[Value], watchers: &[Watcher]) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects {
        let kind = text(object, "/kind");
        let mut own = watchers
            .iter()
            .filter(|watcher| watcher.kind.kind == kind)
            .peekable();
        let deleting = own.peek().is_some() && !object["metadata"]["deletionTimestamp"].is_null();
        if deleting || own.any(|watcher| !is_true(object, watcher.condition)) {
            found.push(format!("{} {}", label(object), object["status"]));
        }
    }
    found
}

/// Whether a condition is True for the generation at hand.
fn is_true(object: &Value, type_: &str) -> bool {
    let generation = &object["metadata"]["generation"];
    conditions(object).any(|condition| {
        condition["type"] == type_
            && condition["status"] == "True"
            && condition["observedGeneration"] == *generation
    })
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
}

/// What was called settled may not turn out unfinished: within a generation it stays as it is.
pub(super) struct Honesty {
    lively: &'static [&'static str],
    /// The mark up to which history was judged.
    seen: usize,
    /// Generations, by uid, that were judged before: what a user changes elsewhere may unsettle them again.
    old: BTreeSet<Generation>,
}

type Generation = (String, i64);

impl Honesty {
    pub fn new(lively: &'static [&'static str]) -> Self {
        Self {
            lively,
            seen: 0,
            old: BTreeSet::new(),
        }
    }

    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Judges the states since the last judgement.
    pub fn judge(
        &mut self,
        (states, mark): (Vec<Value>, usize),
        watchers: &[Watcher],
    ) -> Result<(), String> {
        let mut settled: BTreeMap<Generation, Value> = BTreeMap::new();
        for state in &states {
            if conditions(state).any(|condition| condition["reason"] == "Conflict") {
                return Err(format!("law 1: {} shows a conflict", label(state)));
            }
            let generation = generation(state);
            let says = self.says(state, watchers);
            match settled.get(&generation) {
                Some(first) if *first != says => {
                    return Err(format!(
                        "law 1: {} was settled too early: {first} became {says}",
                        label(state)
                    ));
                }
                None if is_true(state, api::READY) && !self.old.contains(&generation) => {
                    settled.insert(generation, says);
                }
                _ => {}
            }
        }
        self.old.extend(states.iter().map(generation));
        self.seen = mark;
        Ok(())
    }

    /// The part of a status that may not change any more: all of it, or `Ready` alone if others write it too.
    fn says(&self, state: &Value, watchers: &[Watcher]) -> Value {
        let kind = text(state, "/kind");
        let n_writers = watchers
            .iter()
            .filter(|watcher| watcher.kind.kind == kind)
            .count();
        if n_writers == 1 && !self.lively.contains(&kind) {
            return state["status"].clone();
        }
        conditions(state)
            .find(|condition| condition["type"] == api::READY)
            .map_or(Value::Null, |ready| ready["status"].clone())
    }
}

fn generation(state: &Value) -> Generation {
    (
        text(state, "/metadata/uid").to_owned(),
        state["metadata"]["generation"].as_i64().unwrap_or_default(),
    )
}

pub(super) fn last(trace: &[String]) -> &[String] {
    &trace[trace.len().saturating_sub(CALLS_SHOWN)..]
}
