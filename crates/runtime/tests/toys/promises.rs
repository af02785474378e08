//! What the harness promises to a reconciler and to a user, besides the laws and what it does with children.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use api::{Conditions, READY, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::CustomResourceExt;
use kube::api::PostParams;
use runtime::{Clock, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Runtime, Wait};
use serde_json::json;
use tokio::time::sleep;

use crate::children::Forgetful;
use crate::kinds::{Child, Job, JobSpec, JobStatus, Parent, ParentStatus, crds};
use crate::parent::{ParentReconciler, parent, wanted};
use crate::process::{Process, placed, says};
use crate::things::Step;

/// A reconciler of jobs whose plan is given.
struct Jobs<F>(F);

impl<F: Fn(&Ctx) -> Result<Plan<Step>> + Send + Sync + 'static> Reconciler for Jobs<F> {
    type Object = Job;
    type Observed = Arc<std::sync::Mutex<Plan<Step>>>;
    type Step = Step;
    type Status = JobStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.reads::<ConfigMap>();
    }

    async fn observe(&self, ctx: &Ctx, _: &Job) -> Result<Self::Observed> {
        Ok(Arc::new((self.0)(ctx)?.into()))
    }

    fn plan(&self, _: &Job, plan: &Self::Observed) -> Plan<Step> {
        std::mem::take(&mut plan.lock().unwrap())
    }

    async fn act(&self, _: &Ctx, _: &Job, _: &Step) -> Result<()> {
        N_ACTS.with(|n_acts| n_acts.fetch_add(1, Relaxed));
        Ok(())
    }

    fn report(&self, _: &Job, _: &Self::Observed) -> Report<JobStatus> {
        JobStatus::default().into()
    }
}

thread_local! {
    /// Each test has its own thread.
    static N_ACTS: AtomicUsize = const { AtomicUsize::new(0) };
}

fn job() -> Job {
    placed(Job::new("j", JobSpec { start_seconds: 0 }))
}

/// What `Ready` says of a job under a plan.
async fn ready(
    plan: impl Fn(&Ctx) -> Result<Plan<Step>> + Send + Sync + 'static,
) -> (String, String) {
    let process = Process::start(|runtime| runtime.add(Jobs(plan)));
    process.create(&job()).await;
    let conditions = |job: &Job| job.status.as_ref().map(|status| status.conditions.clone());
    let job = process
        .until::<Job>("j", |job| says(conditions(job).as_ref(), READY).is_some())
        .await;
    says(conditions(&job).as_ref(), READY).unwrap()
}

#[tokio::test(start_paused = true)]
async fn reading_an_undeclared_kind_is_an_error_and_not_absent() {
    let plan = |ctx: &Ctx| ctx.get::<Parent>(None, "p").map(|_| Plan::default());
    assert_eq!(ready(plan).await, ("Unknown".into(), "Internal".into()));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_undeclared_kind_is_an_error() {
    let wait = || Wait::Object(ObjectRef::new::<Parent>(None, "p"), "is missing".into());
    let plan = move |_: &Ctx| {
        Ok(Plan {
            waits: vec![wait()],
            ..Plan::default()
        })
    };
    assert_eq!(ready(plan).await, ("Unknown".into(), "Internal".into()));
}

#[tokio::test(start_paused = true)]
async fn a_built_in_kind_without_a_spec_is_readable() {
    let plan = |ctx: &Ctx| ctx.list::<ConfigMap>(None).map(|_| Plan::default());
    assert_eq!(ready(plan).await, ("True".into(), "Settled".into()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_is_unknown() {
    let plan = |_: &Ctx| {
        Ok(Plan {
            waits: vec![Wait::Unreachable("host away".into())],
            ..Plan::default()
        })
    };
    assert_eq!(ready(plan).await, ("Unknown".into(), "Unreachable".into()));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_never_settles_is_slowed_down() {
    let process = Process::start(|runtime| {
        runtime.add(Jobs(|_: &Ctx| {
            Ok(Plan {
                steps: vec![Step::Remove],
                ..Plan::default()
            })
        }))
    });
    process.create(&job()).await;
    sleep(Duration::from_secs(600)).await;
    let n_acts = N_ACTS.with(|n_acts| n_acts.load(Relaxed));
    assert!((9..40).contains(&n_acts), "{n_acts} acts in 600 s");
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_leaves_all_as_it_is_and_is_reported() {
    let process = Process::start(|runtime| runtime.add(Picky));
    process.create(&parent("p", 2, 1)).await;
    process.until::<Child>("p-1", |_| true).await;
    let patch = json!({"spec": {"replicas": 0}});
    process.merge::<Parent>("p", patch).await;
    let refused = |parent: &Parent| {
        let status = parent.status.as_ref();
        status.is_some_and(|status| {
            let said = says(Some(&status.conditions), READY);
            said == Some(("False".into(), "Invalid".into())) && status.ready == 7
        })
    };
    process.until::<Parent>("p", refused).await;
    process.calm().await;
    process.until::<Child>("p-1", |_| true).await;
    process.delete::<Parent>("p").await;
    process.until_gone::<Parent>("p").await;
    process.until_gone::<Child>("p-1").await;
}

/// Refuses parents without children.
struct Picky;

impl Reconciler for Picky {
    type Object = Parent;
    type Observed = ();
    type Step = Never;
    type Status = ParentStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Child>();
    }

    async fn observe(&self, _: &Ctx, _: &Parent) -> Result<()> {
        Ok(())
    }

    fn plan(&self, parent: &Parent, (): &()) -> Plan<Never> {
        let replicas = parent.spec.replicas;
        let refused = || api::Error::new(api::ErrorKind::Invalid, "replicas is 0");
        Plan {
            children: (0..replicas).map(|i| wanted(parent, i, 1)).collect(),
            refused: (replicas == 0).then(refused),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Parent, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Parent, (): &()) -> Report<ParentStatus> {
        ParentStatus {
            ready: 7,
            conditions: Conditions::default(),
        }
        .into()
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_parse_is_skipped_and_counted() {
    // A newer schema, under which a size may be a word.
    let mut newer = serde_json::to_value(Parent::crd()).unwrap();
    let schema = &mut newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["size"] =
        json!({"x-kubernetes-int-or-string": true});
    let mut served = crds();
    served[0] = serde_json::from_value(newer).unwrap();
    let process = Process::serving(served, |runtime| runtime.add(ParentReconciler));

    let mut odd = serde_json::to_value(parent("odd", 0, 1)).unwrap();
    odd["spec"]["size"] = "big".into();
    let resource = kube::api::ApiResource::erase::<Parent>(&());
    let any = kube::Api::<kube::api::DynamicObject>::namespaced_with(
        process.client.clone(),
        "default",
        &resource,
    );
    any.create(
        &PostParams::default(),
        &serde_json::from_value(odd).unwrap(),
    )
    .await
    .unwrap();
    process.create(&parent("even", 0, 1)).await;

    let settled = |parent: &Parent| {
        says(
            parent.status.as_ref().map(|status| &status.conditions),
            READY,
        )
        .is_some_and(|(status, _)| status == "True")
    };
    process.until::<Parent>("even", settled).await;
    assert_eq!(process.stats.n_unreadable.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_loop_ends_when_it_is_told_to() {
    let client = apiserver::Server::in_memory(crds()).client();
    let runtime =
        Runtime::new(client, Clock::starting_at(Timestamp::UNIX_EPOCH)).add(ParentReconciler);
    runtime.run(sleep(Duration::from_secs(5))).await;
}

#[tokio::test]
#[should_panic(expected = "Parent has two reconcilers with the role Owner")]
async fn two_owners_of_one_kind_are_refused() {
    let client = apiserver::Server::in_memory(crds()).client();
    let _ = Runtime::new(client, Clock::system())
        .add(ParentReconciler)
        .add(Forgetful);
}
