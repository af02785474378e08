//! Which of the names that a definition wants it gets: those that no other definition of its group has.
//!
//! The rules and the words are those of the naming controller in `apiextensions-apiserver`. Decided under the lock of the
//! state, so that of two definitions that come at the same moment one gets a name.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// What others of the group are called.
#[derive(Default)]
pub(super) struct Taken {
    /// Plural, singular and short names.
    resources: BTreeSet<String>,
    /// Kinds and kinds of lists.
    kinds: BTreeSet<String>,
}

/// The names of a definition, and the first thing that is in the way of those it wants.
pub(super) struct Given {
    /// As in `status.acceptedNames`.
    pub(super) names: Value,
    pub(super) conflict: Option<Conflict>,
}

/// Why a name is not given.
pub(super) struct Conflict {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Taken {
    /// Adds the names that somebody has.
    pub(super) fn add(&mut self, names: &Value) {
        let text = |field: &str| names.get(field).and_then(Value::as_str).map(str::to_owned);
        let short = names.get("shortNames").and_then(Value::as_array);
        let short = short.into_iter().flatten().filter_map(Value::as_str);
        self.resources.extend(short.map(str::to_owned));
        self.resources.extend(text("plural"));
        self.resources.extend(text("singular"));
        self.kinds.extend(text("kind"));
        self.kinds.extend(text("listKind"));
    }
}

/// The names of a definition that wants some and may have some already.
pub(super) fn give(wanted: &Value, had: &Value, taken: &Taken) -> Given {
    let mut given = had.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    for (field, reason, used) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        match in_use(&wanted[field], &had[field], used) {
            None => set(&mut given, field, &wanted[field]),
            Some(message) => conflict = Some(Conflict { reason, message }),
        }
    }
    set(&mut given, "categories", &wanted["categories"]);
    for field in ["plural", "kind"] {
        given.entry(field).or_insert_with(|| json!(""));
    }
    Given {
        names: given.into(),
        conflict,
    }
}

/// Which of the wanted names somebody else has.
fn in_use(wanted: &Value, had: &Value, used: &BTreeSet<String>) -> Option<String> {
    let mut messages = words(wanted)
        .filter(|name| !words(had).any(|own| own == *name) && used.contains(*name))
        .map(|name| format!("{name:?} is already in use"));
    let first = messages.next()?;
    let all: Vec<String> = std::iter::once(first).chain(messages).collect();
    Some(match all.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    })
}

fn words(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.chain([value]).filter_map(Value::as_str)
}

fn set(names: &mut Map<String, Value>, field: &str, value: &Value) {
    match value {
        Value::Null => names.remove(field),
        value => names.insert(field.to_owned(), value.clone()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short})
    }

    #[test]
    fn a_name_is_given_once_and_kept() {
        let mut taken = Taken::default();
        taken.add(&names("gears", "Gear", &["g"]));
        let given = give(&names("cogs", "Gear", &["g", "c"]), &Value::Null, &taken);
        let conflict = given.conflict.expect("the kind is taken");
        assert_eq!(
            (conflict.reason, conflict.message.as_str()),
            ("ListKindConflict", "\"GearList\" is already in use")
        );
        assert_eq!(given.names, json!({"plural": "cogs", "kind": ""}));
        let own = names("cogs", "Cog", &["c"]);
        let kept = give(&names("cogs", "Cog", &["c", "g"]), &own, &taken);
        assert_eq!(
            kept.conflict.expect("a short name is taken").reason,
            "ShortNamesConflict"
        );
        assert_eq!(kept.names, own, "what it has it keeps");
        assert!(give(&own, &Value::Null, &taken).conflict.is_none());
    }
}
