//! Jobs: a thing that starts only at a time.

use api::{Conditions, Result};
use futures::stream::BoxStream;
use jiff::Timestamp;
use runtime::{Ctx, ObjectRef, Plan, Reconciler, Report, Wait, deleting};

use crate::kinds::{Job, JobStatus};
use crate::things::{Step, Thing, Things, plan, word};

pub struct JobReconciler(pub Things);

impl Reconciler for JobReconciler {
    type Object = Job;
    type Observed = (Timestamp, Option<Thing>);
    type Step = Step;
    type Status = JobStatus;

    async fn observe(&self, ctx: &Ctx, job: &Job) -> Result<Self::Observed> {
        Ok((ctx.now(), self.0.find(job, "body").await?))
    }

    fn plan(&self, job: &Job, (now, thing): &Self::Observed) -> Plan<Step> {
        let start = Timestamp::from_second(job.spec.start_seconds).unwrap();
        if thing.is_none() && *now < start && !deleting(job) {
            return Plan {
                waits: vec![Wait::Until(start, "starts".into())],
                ..Plan::default()
            };
        }
        plan((!deleting(job)).then_some(1), thing)
    }

    async fn act(&self, _: &Ctx, job: &Job, step: &Step) -> Result<()> {
        self.0.apply(job, "body", step).await
    }

    fn report(&self, _: &Job, (_, thing): &Self::Observed) -> Report<JobStatus> {
        JobStatus {
            thing: word(thing),
            conditions: Conditions::default(),
        }
        .into()
    }

    fn changes(&self, _: &Ctx) -> BoxStream<'static, ObjectRef> {
        self.0.hints()
    }
}
