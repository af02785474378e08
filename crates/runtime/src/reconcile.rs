//! The contract between a reconciler and the harness: observe, plan, act, report.
//!
//! Only `observe` and `act` touch the outside; `plan` and `report` are pure. A reconciler never writes its own object:
//! status, conditions, finalizer, children and wake-ups are the harness's. It is never told why it runs, never trusts
//! its own earlier status, and may be killed after any line.

use std::fmt::{self, Display};

use api::{Error, Result};
use futures::stream::{BoxStream, StreamExt, pending};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::child::Child;
use crate::ctx::Ctx;
use crate::kinds::Kinds;
use crate::object::{Kind, ObjectRef};

/// One concern of one kind.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind it looks after.
    type Object: Kind;
    /// Everything a decision needs, the time included.
    type Observed: Send + Sync;
    /// One idempotent, level-shaped act on the world; `Display` is its line in a plan (`+ route …`).
    type Step: Display + Send + Sync;
    /// The status fields that this reconciler owns: exactly the keys that this type serialises. `null` removes a field,
    /// so never skip a `None`: a skipped key is disowned and stays for ever.
    type Status: Serialize + Send;

    /// Whether it owns the kind or is a guest on it.
    fn role() -> Role {
        Role::Owner
    }

    /// Declares the kinds that `plan` creates as children and those that are read or waited for.
    fn uses(_kinds: &mut Kinds) {}

    /// Looks at the world and at other objects; the only place that waits for answers.
    fn observe(
        &self,
        ctx: &Ctx,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Self::Observed>> + Send;

    /// What is missing between what is wanted and what was observed; pure.
    ///
    /// While the object is being deleted it plans the removal of what it made in the world. Children need no word:
    /// planned ones and waits that name them are ignored, existing ones go first, then the steps.
    fn plan(&self, object: &Self::Object, observed: &Self::Observed) -> Plan<Self::Step>;

    /// Does one step; idempotent, may be repeated after a crash.
    fn act(
        &self,
        ctx: &Ctx,
        object: &Self::Object,
        step: &Self::Step,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Says what is seen; pure.
    fn report(&self, object: &Self::Object, observed: &Self::Observed) -> Report<Self::Status>;

    /// Hints that the world changed under an object. They may be lost, repeated or late: they only save time.
    /// Hints of other kinds are ignored, so several reconcilers may share one provider.
    fn changes(&self, _ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        pending().boxed()
    }
}

/// What a reconciler is to the kind that it looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes `Ready` and has the kind's finalizer, `groma.dev/<kind>`; one per kind. While the object is being deleted
    /// its steps wait until its finalizer is the last one.
    Owner,
    /// Writes a condition of its own name; while the object is being deleted it acts at once.
    Guest {
        /// The type of its condition.
        condition: &'static str,
        /// Its own finalizer, or none if it leaves nothing behind.
        finalizer: Option<&'static str>,
    },
}

/// The decision of one pass. Settled = no step, no child difference, no wait.
#[derive(Debug)]
pub struct Plan<S> {
    /// All children that should exist, with deterministic names (see [`child`](crate::child())).
    pub children: Vec<Child>,
    /// What to do in the world, in this order; the first error ends the pass.
    pub steps: Vec<S>,
    /// What must happen elsewhere first.
    pub waits: Vec<Wait>,
    /// Children that are being deleted and whose executor is declared dead: the finalizer of their kind's owner is
    /// taken off them before anything else, also while the parent is being deleted.
    pub forgotten: Vec<ObjectRef>,
    /// Why the spec cannot work, though there is something to report: nothing else of the plan counts, all that exists
    /// stays as it is, and the pass fails with this. Ignored while the object is being deleted.
    pub refused: Option<Error>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self {
            children: Vec::new(),
            steps: Vec::new(),
            waits: Vec::new(),
            forgotten: Vec::new(),
            refused: None,
        }
    }
}

/// What must happen elsewhere first; the text is shown in `Ready`, so it must not change from pass to pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Woken by any change of this object, which need not exist yet.
    Object(ObjectRef, String),
    /// Woken by a hint of `changes`, or by a slow poll when the hint was lost.
    World(String),
    /// Like `World`, but nobody can tell how things are: shown as `Ready=Unknown`, reason `Unreachable`.
    Unreachable(String),
    /// Woken at this time.
    Until(Timestamp, String),
}

impl Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object, why) => write!(f, "{object}: {why}"),
            Self::World(why) | Self::Unreachable(why) => f.write_str(why),
            Self::Until(time, why) => write!(f, "{why} at {time}"),
        }
    }
}

/// What a pass says about its object.
#[derive(Debug)]
pub struct Report<S> {
    /// The status fields.
    pub status: S,
    /// Conditions besides the reconciler's own one; times and generation are filled in by the harness.
    pub conditions: Vec<Condition>,
}

impl<S> From<S> for Report<S> {
    fn from(status: S) -> Self {
        Self {
            status,
            conditions: Vec::new(),
        }
    }
}

/// The step of a reconciler that only has children.
#[derive(Debug)]
pub enum Never {}

impl Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
