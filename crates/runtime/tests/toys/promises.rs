//! What the harness promises to a reconciler and to a user, besides the laws.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use api::{Conditions, READY, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{CustomResourceExt, ResourceExt};
use runtime::{Clock, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Runtime, Wait};
use serde_json::json;
use tokio::time::sleep;

use crate::group::MemberReconciler;
use crate::kinds::{
    Child, ChildSpec, Job, JobSpec, JobStatus, Member, MemberSpec, Parent, ParentSpec,
    ParentStatus, crds,
};
use crate::parent::{ParentReconciler, wanted};
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
async fn labels_of_the_plan_are_kept_and_those_of_others_stay() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process
        .create(&placed(Parent::new(
            "p",
            ParentSpec {
                replicas: 1,
                size: 3,
            },
        )))
        .await;
    let label = |child: &Child, label: &str| child.labels().get(label).cloned();
    process
        .until::<Child>("p-0", |child| label(child, "size").as_deref() == Some("3"))
        .await;
    process
        .merge::<Child>(
            "p-0",
            json!({"metadata": {"labels": {"size": null, "mine": "yes"}}}),
        )
        .await;
    let mended = process
        .until::<Child>("p-0", |child| label(child, "size").is_some())
        .await;
    assert_eq!(label(&mended, "mine").as_deref(), Some("yes"));
}

#[tokio::test(start_paused = true)]
async fn a_child_of_another_is_not_taken() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process
        .create(&placed(Child::new(
            "p-0",
            ChildSpec {
                size: 9,
                note: None,
            },
        )))
        .await;
    process
        .create(&placed(Parent::new(
            "p",
            ParentSpec {
                replicas: 1,
                size: 3,
            },
        )))
        .await;
    let conditions = |parent: &Parent| {
        parent
            .status
            .as_ref()
            .map(|status| status.conditions.clone())
    };
    let waits = |parent: &Parent| {
        conditions(parent).is_some_and(|all| {
            all.get(READY)
                .is_some_and(|ready| ready.message.contains("belongs to another"))
        })
    };
    process.until::<Parent>("p", waits).await;
    assert_eq!(
        process.api::<Child>().get("p-0").await.unwrap().spec.size,
        9
    );
}

/// A parent that declares the executors of all its children dead.
struct Forgetful;

impl Reconciler for Forgetful {
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
        let children: Vec<_> = (0..parent.spec.replicas)
            .map(|i| wanted(parent, i, 1))
            .collect();
        let forgotten = (0..2).map(|i| wanted(parent, i, 1).reference()).collect();
        Plan {
            children,
            forgotten,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Parent, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Parent, (): &()) -> Report<ParentStatus> {
        ParentStatus {
            ready: 0,
            conditions: Conditions::default(),
        }
        .into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_child_goes_without_its_executor() {
    let process = Process::start(|runtime| runtime.add(Forgetful));
    process
        .create(&placed(Parent::new(
            "p",
            ParentSpec {
                replicas: 2,
                size: 1,
            },
        )))
        .await;
    for name in ["p-0", "p-1"] {
        process.until::<Child>(name, |_| true).await;
        // What its executor would have done, and then the host died.
        process
            .merge::<Child>(
                name,
                json!({"metadata": {"finalizers": ["groma.dev/child"]}}),
            )
            .await;
    }
    process
        .merge::<Parent>("p", json!({"spec": {"replicas": 1}}))
        .await;
    process.until_gone::<Child>("p-1").await;
    assert!(
        process
            .api::<Child>()
            .get("p-0")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
    process
        .api::<Parent>()
        .delete("p", &DeleteParams::default())
        .await
        .unwrap();
    process.until_gone::<Parent>("p").await;
    process.until_gone::<Child>("p-0").await;
}

fn two_children() -> Parent {
    let spec = ParentSpec {
        replicas: 2,
        size: 1,
    };
    placed(Parent::new("p", spec))
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_child_outlives_the_parent() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process.create(&two_children()).await;
    let mut copy = process.until::<Child>("p-0", |_| true).await;
    copy.metadata = kube::core::ObjectMeta {
        name: Some("copy".into()),
        namespace: copy.metadata.namespace,
        labels: copy.metadata.labels,
        ..Default::default()
    };
    process.create(&copy).await;
    let parents = process.api::<Parent>();
    parents.delete("p", &DeleteParams::default()).await.unwrap();
    process.until_gone::<Parent>("p").await;
    process.until_gone::<Child>("p-0").await;
    process.calm().await;
    process.until::<Child>("copy", |_| true).await;
}

#[tokio::test(start_paused = true)]
async fn orphans_outlive_the_parent() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process.create(&two_children()).await;
    for name in ["p-0", "p-1"] {
        process.until::<Child>(name, |_| true).await;
    }
    process.calm().await;
    let orphaning = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    let parents = process.api::<Parent>();
    parents.delete("p", &orphaning).await.unwrap();
    process.until_gone::<Parent>("p").await;
    process.calm().await;
    for name in ["p-0", "p-1"] {
        let alone = |child: &Child| child.owner_references().is_empty();
        process.until::<Child>(name, alone).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_leaves_all_as_it_is_and_is_reported() {
    let process = Process::start(|runtime| runtime.add(Picky));
    process.create(&two_children()).await;
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
    let parents = process.api::<Parent>();
    parents.delete("p", &DeleteParams::default()).await.unwrap();
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

    let mut odd = serde_json::to_value(placed(Parent::new(
        "odd",
        ParentSpec {
            replicas: 0,
            size: 1,
        },
    )))
    .unwrap();
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
    process
        .create(&placed(Parent::new(
            "even",
            ParentSpec {
                replicas: 0,
                size: 1,
            },
        )))
        .await;

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

#[tokio::test(start_paused = true)]
async fn a_shared_child_is_handed_over_when_its_writer_goes() {
    let process = Process::start(|runtime| runtime.add(MemberReconciler));
    let member = |name: &str| {
        placed(Member::new(
            name,
            MemberSpec {
                group: "g".into(),
                size: 1,
            },
        ))
    };
    for name in ["a", "b"] {
        process.create(&member(name)).await;
    }
    let owners = |child: &Child| {
        let owners = child.owner_references().iter();
        owners
            .map(|owner| (owner.name.clone(), owner.controller.is_some()))
            .collect::<Vec<_>>()
    };
    let both = [("a".to_owned(), true), ("b".to_owned(), false)];
    let before = process
        .until::<Child>("g", |child| owners(child) == both)
        .await;
    process
        .api::<Member>()
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    process.until_gone::<Member>("a").await;
    let after = process
        .until::<Child>("g", |child| owners(child) == [("b".to_owned(), true)])
        .await;
    assert_eq!(after.uid(), before.uid());
    process
        .api::<Member>()
        .delete("b", &DeleteParams::default())
        .await
        .unwrap();
    process.until_gone::<Member>("b").await;
    process.until_gone::<Child>("g").await;
}
