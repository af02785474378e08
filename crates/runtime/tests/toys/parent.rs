//! Parents and regions: children and nothing else.

use std::sync::Arc;

use api::{Conditions, READY, Result};
use kube::ResourceExt;
use runtime::{Child as Wanted, Ctx, Kind, Kinds, Never, Plan, Reconciler, Report, Wait, child};

use crate::kinds::{Child, ChildSpec, Parent, ParentSpec, ParentStatus, Region};
use crate::process::placed;

/// A parent of that many children of that size.
pub fn parent(name: &str, replicas: u32, size: u32) -> Parent {
    placed(Parent::new(name, ParentSpec { replicas, size }))
}

pub struct ParentReconciler;

impl Reconciler for ParentReconciler {
    type Object = Parent;
    type Observed = Vec<String>;
    type Step = Never;
    type Status = ParentStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Child>();
    }

    async fn observe(&self, ctx: &Ctx, parent: &Parent) -> Result<Vec<String>> {
        ready_children(ctx, parent)
    }

    fn plan(&self, parent: &Parent, ready: &Vec<String>) -> Plan<Never> {
        let children = (0..parent.spec.replicas).map(|i| wanted(parent, i, parent.spec.size));
        with_waits(children.collect(), ready)
    }

    async fn act(&self, _: &Ctx, _: &Parent, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Parent, ready: &Vec<String>) -> Report<ParentStatus> {
        report(ready)
    }
}

pub struct RegionReconciler;

impl Reconciler for RegionReconciler {
    type Object = Region;
    type Observed = Vec<String>;
    type Step = Never;
    type Status = ParentStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Child>();
    }

    async fn observe(&self, ctx: &Ctx, region: &Region) -> Result<Vec<String>> {
        ready_children(ctx, region)
    }

    fn plan(&self, region: &Region, ready: &Vec<String>) -> Plan<Never> {
        let size = region.spec.size;
        let mut child = Child::new(&region.name_any(), ChildSpec { size, note: None });
        child.metadata.namespace = Some("default".into());
        with_waits(vec![Wanted::named(region, child)], ready)
    }

    async fn act(&self, _: &Ctx, _: &Region, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Region, ready: &Vec<String>) -> Report<ParentStatus> {
        report(ready)
    }
}

pub fn wanted(owner: &impl Kind, suffix: u32, size: u32) -> Wanted {
    child(owner, suffix, |name| {
        let mut child = Child::new(name, ChildSpec { size, note: None });
        child.metadata.labels = Some([("size".to_owned(), size.to_string())].into());
        child
    })
}

pub fn ready_children(ctx: &Ctx, owner: &impl Kind) -> Result<Vec<String>> {
    let ready = |child: &&Arc<Child>| {
        let conditions = child.status.as_ref().map(|status| &status.conditions);
        conditions.is_some_and(|all| all.is_true_for(READY, child.metadata.generation))
    };
    let children = ctx.children::<Child>(owner)?;
    Ok(children
        .iter()
        .filter(ready)
        .map(|child| child.name_any())
        .collect())
}

pub fn with_waits(children: Vec<Wanted>, ready: &[String]) -> Plan<Never> {
    let names = children.iter().map(Wanted::reference);
    let unready = names.filter(|child| !ready.contains(&child.name));
    let waits = unready
        .map(|child| Wait::Object(child, "is not ready".into()))
        .collect();
    Plan {
        children,
        waits,
        ..Plan::default()
    }
}

pub fn report(ready: &[String]) -> Report<ParentStatus> {
    ParentStatus {
        ready: ready.len() as u32,
        conditions: Conditions::default(),
    }
    .into()
}
