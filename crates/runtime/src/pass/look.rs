//! The first half of a pass, which writes nothing: observe, plan, compare the children, hold back what is too early.

use std::collections::BTreeMap;

use api::Result;

use super::children::{Change, Family};
use super::finalizers;
use crate::ctx::Ctx;
use crate::kinds::Kinds;
use crate::object::{KindName, Object, ObjectRef, deleting};
use crate::reconcile::{Plan, Reconciler, Role, Wait};

/// What a pass knows before it acts.
pub(super) struct Look<R: Reconciler> {
    pub observed: R::Observed,
    /// With the steps that may be taken now and the waits of the harness.
    pub plan: Plan<R::Step>,
    pub changes: Vec<Change>,
}

pub(super) async fn look<R: Reconciler>(
    reconciler: &R,
    ctx: &Ctx,
    object: &R::Object,
) -> Result<Look<R>> {
    let observed = reconciler.observe(ctx, object).await?;
    let mut plan = reconciler.plan(object, &observed);
    if !deleting(object) && plan.refused.is_some() {
        return Ok(Look {
            observed,
            plan,
            changes: Vec::new(),
        });
    }
    let stages = deleting(object).then(|| unwant_children(&mut plan));
    let mut kinds = Kinds::default();
    R::uses(&mut kinds);
    let (mut changes, mut waits) = Family::of(object, &kinds.owned).compare(ctx, &plan).await?;
    if let Some(stages) = &stages {
        hold_back(&mut changes, &waits, stages);
        // Children first: what they stand on is taken away only when none is left.
        let mut too_early = !(changes.is_empty() && waits.is_empty());
        if let Some(wait) = guests::<R>(object) {
            too_early = true;
            waits.push(wait);
        }
        if too_early {
            plan.steps.clear();
        }
    }
    plan.waits.extend(waits);
    for wait in &plan.waits {
        if let Wait::Object(name, _) = wait {
            ctx.check(&name.kind)?;
        }
    }
    Ok(Look {
        observed,
        plan,
        changes,
    })
}

/// The stages of the children that a plan wants.
type Stages = BTreeMap<ObjectRef, u32>;

/// Children of an object that is being deleted are neither wanted nor waited for, whatever the plan says; what is left
/// of the plan is the order in which they go.
fn unwant_children<S>(plan: &mut Plan<S>) -> Stages {
    let planned: Stages = plan
        .children
        .drain(..)
        .map(|child| (child.reference(), child.stage()))
        .collect();
    plan.waits
        .retain(|wait| !matches!(wait, Wait::Object(name, _) if planned.contains_key(name)));
    planned
}

/// Lets only the latest stage that is left be deleted; children that the plan does not name go first.
fn hold_back(changes: &mut Vec<Change>, waits: &[Wait], stages: &Stages) {
    let stage = |name: &ObjectRef| stages.get(name).copied().unwrap_or(u32::MAX);
    let deleted = changes.iter().filter_map(Change::deleted).map(stage);
    let going = waits.iter().filter_map(|wait| match wait {
        Wait::Object(name, _) => Some(stage(name)),
        Wait::World(_) | Wait::Unreachable(_) | Wait::Until(..) => None,
    });
    let latest = deleted.chain(going).max();
    changes.retain(|change| {
        change
            .deleted()
            .is_none_or(|name| Some(stage(name)) == latest)
    });
}

/// Who still relies on an object that its owner would like to let go.
fn guests<R: Reconciler>(object: &R::Object) -> Option<Wait> {
    let own = KindName::of::<R::Object>().finalizer();
    let others: Vec<_> = finalizers(object)
        .filter(|finalizer| *finalizer != own)
        .collect();
    let relied_on = R::role() == Role::Owner && !others.is_empty();
    relied_on.then(|| {
        Wait::Object(
            object.reference(),
            format!("still relied on by {}", others.join(", ")),
        )
    })
}

impl<R: Reconciler> Look<R> {
    /// One line per act: `+` create, `~` change, `-` delete, `?` wait.
    pub fn lines(&self) -> Vec<String> {
        let changes = self.changes.iter().map(ToString::to_string);
        let steps = self.plan.steps.iter().map(ToString::to_string);
        let waits = self.plan.waits.iter().map(|wait| format!("? {wait}"));
        changes.chain(steps).chain(waits).collect()
    }
}
