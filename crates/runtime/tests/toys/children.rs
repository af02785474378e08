//! What the harness promises about children: whose they are, what of them is kept, and how they go.

use api::{Conditions, READY, Result};
use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use runtime::{Ctx, Kinds, Never, Plan, Reconciler, Report};
use serde_json::json;

use crate::group::MemberReconciler;
use crate::kinds::{Child, ChildSpec, Member, MemberSpec, Parent, ParentStatus};
use crate::parent::{ParentReconciler, parent, wanted};
use crate::process::{Process, placed};

#[tokio::test(start_paused = true)]
async fn labels_of_the_plan_are_kept_and_those_of_others_stay() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process.create(&parent("p", 1, 3)).await;
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
    process.create(&parent("p", 1, 3)).await;
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
pub struct Forgetful;

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
    process.create(&parent("p", 2, 1)).await;
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
    process.delete::<Parent>("p").await;
    process.until_gone::<Parent>("p").await;
    process.until_gone::<Child>("p-0").await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_child_outlives_the_parent() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process.create(&parent("p", 2, 1)).await;
    let mut copy = process.until::<Child>("p-0", |_| true).await;
    copy.metadata = kube::core::ObjectMeta {
        name: Some("copy".into()),
        namespace: copy.metadata.namespace,
        labels: copy.metadata.labels,
        ..Default::default()
    };
    process.create(&copy).await;
    process.delete::<Parent>("p").await;
    process.until_gone::<Parent>("p").await;
    process.until_gone::<Child>("p-0").await;
    process.calm().await;
    process.until::<Child>("copy", |_| true).await;
}

#[tokio::test(start_paused = true)]
async fn orphans_outlive_the_parent() {
    let process = Process::start(|runtime| runtime.add(ParentReconciler));
    process.create(&parent("p", 2, 1)).await;
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
    process.delete::<Member>("a").await;
    process.until_gone::<Member>("a").await;
    let after = process
        .until::<Child>("g", |child| owners(child) == [("b".to_owned(), true)])
        .await;
    assert_eq!(after.uid(), before.uid());
    process.delete::<Member>("b").await;
    process.until_gone::<Member>("b").await;
    process.until_gone::<Child>("g").await;
}
