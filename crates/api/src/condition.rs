//! Conditions: what is known of an object, in the form Kubernetes gives them.
//!
//! `Ready`: the last plan for this generation was empty. `Available`: it serves its users now, even while it changes.
//! Each condition item has one writer.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The last plan for this generation was empty.
pub const READY: &str = "Ready";
/// It serves its users now.
pub const AVAILABLE: &str = "Available";

/// The conditions of one object, at most one of each type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Condition>);

impl Conditions {
    /// The condition of a type.
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether a condition is True, for whichever generation it was observed.
    pub fn is_true(&self, type_: &str) -> bool {
        self.get(type_)
            .is_some_and(|condition| condition.status == "True")
    }

    /// Whether a condition is True for this generation, not for an older one.
    pub fn is_true_for(&self, type_: &str, generation: Option<i64>) -> bool {
        self.get(type_).is_some_and(|condition| {
            condition.status == "True" && condition.observed_generation == generation
        })
    }
}

/// Why an object of this generation is not ready, in the words of its own `Ready`, so that whoever stands above it can
/// tell its user the cause; `None` if it is ready.
pub fn unready(conditions: Option<&Conditions>, generation: Option<i64>) -> Option<&str> {
    let ready = conditions.and_then(|conditions| conditions.get(READY));
    match ready {
        None => Some("is not ready"),
        Some(ready) if ready.observed_generation != generation => Some("is not up to date"),
        Some(ready) if ready.status == "True" => None,
        Some(ready) if ready.message.is_empty() => Some("is not ready"),
        Some(ready) => Some(&ready.message),
    }
}

impl JsonSchema for Conditions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = <Vec<Condition>>::json_schema(generator);
        schema.insert("x-kubernetes-list-type".into(), "map".into());
        schema.insert("x-kubernetes-list-map-keys".into(), vec!["type"].into());
        schema
    }
}

/// A condition without time and generation; whoever writes the status fills these in.
pub fn condition(
    type_: &str,
    status: Truth,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.word().to_owned(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
    }
}

/// The reasons of `Available`, and those of conditions about what leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvailableReason {
    /// It serves its users. Nothing to do.
    Serving,
    /// No replica is wanted. Raise `replicas` if some should run.
    NothingWanted,
    /// No replica serves. The message of `Ready` says what they wait for.
    NoReplica,
    /// Some components or connections do not serve; the message names them. Look there.
    PartsMissing,
    /// Its readiness probe fails. `groma logs` shows what the program says.
    NotReady,
    /// Its program ended and is started again after a pause. `status.lastExit` and `groma logs` say how it ended.
    BackOff,
    /// It was asked to end. Nothing to do.
    Stopping,
    /// Its container is being made. If it stays so, `Ready` says what is missing.
    Starting,
    /// Its container does not exist yet. If it stays so, look at its host.
    NoContainer,
    /// It is being deleted. Nothing to do.
    Deleting,
}

impl From<AvailableReason> for String {
    fn from(reason: AvailableReason) -> Self {
        format!("{reason:?}")
    }
}

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}
