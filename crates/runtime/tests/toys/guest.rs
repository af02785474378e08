//! A guest on children: it seals each, and takes its seal off before the owner may take the body away.

use api::{Error, ErrorKind, Result};
use futures::stream::BoxStream;
use runtime::{Ctx, ObjectRef, Plan, Reconciler, Report, Role, deleting};
use serde::Serialize;

use crate::kinds::Child;
use crate::things::{Step, Thing, Things, plan, word};

pub struct Sealer(pub Things);

#[derive(Serialize)]
pub struct Status {
    pub seal: Option<String>,
}

pub struct Observed {
    seal: Option<Thing>,
    body: Option<Thing>,
}

impl Reconciler for Sealer {
    type Object = Child;
    type Observed = Observed;
    type Step = Step;
    type Status = Status;

    fn role() -> Role {
        Role::Guest {
            condition: "Sealed",
            finalizer: Some("toys.groma.dev/seal"),
        }
    }

    async fn observe(&self, _: &Ctx, child: &Child) -> Result<Observed> {
        let seal = self.0.find(child, "seal").await?;
        Ok(Observed {
            seal,
            body: self.0.find(child, "body").await?,
        })
    }

    fn plan(&self, child: &Child, observed: &Observed) -> Plan<Step> {
        plan((!deleting(child)).then_some(1), &observed.seal)
    }

    async fn act(&self, ctx: &Ctx, child: &Child, step: &Step) -> Result<()> {
        let body = self.observe(ctx, child).await?.body;
        let had_body = child
            .status
            .as_ref()
            .is_some_and(|status| status.thing.is_some());
        if *step == Step::Remove && had_body && body.is_none() {
            let why = "cannot unseal: the owner took the body away while its guest was there";
            return Err(Error::new(ErrorKind::Internal, why));
        }
        self.0.apply(child, "seal", step).await
    }

    fn report(&self, _: &Child, observed: &Observed) -> Report<Status> {
        Status {
            seal: word(&observed.seal),
        }
        .into()
    }

    fn changes(&self, _: &Ctx) -> BoxStream<'static, ObjectRef> {
        self.0.hints()
    }
}
