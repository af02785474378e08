//! `metadata.managedFields`: who owns which fields, as it is read and written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FIELD;
use super::set::FieldSet;
use crate::object::meta;

/// The most entries of managers that do not apply; older ones are merged.
const UPDATERS_MAX: usize = 10;
/// Who owns what merged entries owned.
const ANCIENT: &str = "ancient-changes";
/// The form of `fieldsV1`.
const FIELDS_V1: &str = "FieldsV1";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// By server-side apply: it says all that it wants.
    Apply,
    /// In any other way.
    Update,
}

/// Who writes, and in which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    /// Such as `status`; empty for the whole object.
    pub(crate) subresource: String,
}

/// One writer and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) writer: Writer,
    /// When it last changed something; RFC 3339.
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

/// Everybody who owns something of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managers(pub(super) Vec<Manager>);

/// An entry as it travels.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    manager: String,
    operation: Operation,
    #[serde(default)]
    api_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    fields_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields_v1: Option<Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl Writer {
    /// Whether both are one manager. Whoever applies is the same in every version.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        version
            && self.operation == other.operation
            && self.name == other.name
            && self.subresource == other.subresource
    }

    /// As a message of Kubernetes names it.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            shown += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            shown += &format!(" using {}", self.api_version);
        }
        shown
    }
}

impl Managers {
    /// Reads `managedFields`.
    pub(crate) fn parse(list: Option<&Value>) -> Result<Self, String> {
        let entries = list.and_then(Value::as_array).into_iter().flatten();
        let managers = entries.map(|entry| {
            let entry = Entry::deserialize(entry).map_err(|error| error.to_string())?;
            if entry.fields_type != FIELDS_V1 {
                return Err(format!("fieldsType {:?} is unknown", entry.fields_type));
            }
            let fields = entry.fields_v1.as_ref().map(FieldSet::parse);
            Ok(Manager {
                fields: fields.transpose()?.unwrap_or_default(),
                time: entry.time,
                writer: Writer {
                    name: entry.manager,
                    operation: entry.operation,
                    api_version: entry.api_version,
                    subresource: entry.subresource,
                },
            })
        });
        managers.collect::<Result<_, _>>().map(Self)
    }

    /// Writes `managedFields`: those who apply first, then by time.
    pub(crate) fn to_value(&self) -> Value {
        let mut managers: Vec<&Manager> = self.0.iter().collect();
        managers.sort_by(|one, other| one.order().cmp(&other.order()));
        let entries = managers.into_iter().map(|manager| Entry {
            manager: manager.writer.name.clone(),
            operation: manager.writer.operation,
            api_version: manager.writer.api_version.clone(),
            time: manager.time.clone(),
            fields_type: FIELDS_V1.to_owned(),
            fields_v1: Some(manager.fields.to_value()),
            subresource: manager.writer.subresource.clone(),
        });
        let entries = entries.map(|entry| serde_json::to_value(entry).expect("all keys are texts"));
        Value::Array(entries.collect())
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Manager> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a manager out.
    pub(crate) fn take(&mut self, writer: &Writer) -> Option<Manager> {
        let at = self
            .0
            .iter()
            .position(|manager| manager.writer.is(writer))?;
        Some(self.0.remove(at))
    }

    /// Puts a manager in, unless it owns nothing.
    pub(crate) fn put(&mut self, manager: Manager) {
        if !manager.fields.is_empty() {
            self.0.push(manager);
        }
    }

    /// Merges the oldest of those who do not apply until few enough are left.
    pub(super) fn forget_ancient(&mut self) {
        let updates = |manager: &Manager| manager.writer.operation == Operation::Update;
        while self.0.iter().filter(|manager| updates(manager)).count() > UPDATERS_MAX {
            let positions = (0..self.0.len()).filter(|at| {
                let manager = &self.0[*at];
                updates(manager) && manager.writer.name != ANCIENT
            });
            let Some(oldest) = positions.min_by_key(|at| self.0[*at].order()) else {
                return;
            };
            let oldest = self.0.remove(oldest);
            let writer = Writer {
                name: ANCIENT.to_owned(),
                subresource: String::new(),
                ..oldest.writer
            };
            let ancient = self.take(&writer);
            let fields = ancient.map(|ancient| ancient.fields).unwrap_or_default();
            self.put(Manager {
                writer,
                time: oldest.time,
                fields: fields.union(oldest.fields),
            });
        }
    }
}

impl IntoIterator for Managers {
    type Item = Manager;
    type IntoIter = std::vec::IntoIter<Manager>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Manager {
    fn order(&self) -> (Operation, Option<&str>, &str, &str, &str) {
        let Writer {
            name,
            operation,
            api_version,
            subresource,
        } = &self.writer;
        (
            *operation,
            self.time.as_deref(),
            name,
            api_version,
            subresource,
        )
    }
}

/// Whether two states of an object are the same, whatever the times of their managers: nothing is written then, or one
/// who applies again and again what nobody keeps would write a version each time.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    let (Some(fields), Some(others)) = (one.as_object(), other.as_object()) else {
        return one == other;
    };
    let managers = |value| meta(value).get(FIELD).and_then(Value::as_array);
    same_but("metadata", fields, others)
        && same_but(FIELD, meta(one), meta(other))
        && same_managers(managers(one), managers(other))
}

fn same_managers(some: Option<&Vec<Value>>, others: Option<&Vec<Value>>) -> bool {
    let same = |one: &Value, other: &Value| {
        let fields = one.as_object().zip(other.as_object());
        fields.is_some_and(|(one, other)| same_but("time", one, other))
    };
    let others = || others.into_iter().flatten();
    let mut some = some.into_iter().flatten();
    // As many on both sides: a manager is there once.
    some.clone().count() == others().count() && some.all(|one| others().any(|it| same(one, it)))
}

/// Whether all fields but one are the same.
fn same_but(name: &str, one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let same = |(field, value)| field == name || other.get(field) == Some(value);
    one.len() == other.len() && one.iter().all(same)
}
