//! Children: they act on the world, wait for it and hear its hints.

use api::Result;
use futures::stream::BoxStream;
use runtime::{Ctx, ObjectRef, Plan, Reconciler, Report, deleting};
use serde::Serialize;

use crate::kinds::Child;
use crate::things::{Step, Thing, Things, plan, word};

pub struct ChildReconciler(pub Things);

/// The field that the owner writes; the seal is the guest's.
#[derive(Serialize)]
pub struct Status {
    pub thing: Option<String>,
}

impl Reconciler for ChildReconciler {
    type Object = Child;
    type Observed = Option<Thing>;
    type Step = Step;
    type Status = Status;

    async fn observe(&self, _: &Ctx, child: &Child) -> Result<Option<Thing>> {
        self.0.find(child, "body").await
    }

    fn plan(&self, child: &Child, thing: &Option<Thing>) -> Plan<Step> {
        plan((!deleting(child)).then_some(child.spec.size), thing)
    }

    async fn act(&self, _: &Ctx, child: &Child, step: &Step) -> Result<()> {
        self.0.apply(child, "body", step).await
    }

    fn report(&self, _: &Child, thing: &Option<Thing>) -> Report<Status> {
        Status { thing: word(thing) }.into()
    }

    fn changes(&self, _: &Ctx) -> BoxStream<'static, ObjectRef> {
        self.0.hints()
    }
}
