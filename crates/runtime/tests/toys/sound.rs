//! Sound toys keep the laws, alone and together, in one process and in several.

use std::time::Duration;

use runtime::Runtime;
use runtime::laws::{Case, Process, Sample, applied, laws};
use serde_json::Value;

use crate::child::ChildReconciler;
use crate::group::MemberReconciler;
use crate::guest::Sealer;
use crate::job::JobReconciler;
use crate::kinds::{Job, JobSpec, Member, MemberSpec, Region, RegionSpec, crds};
use crate::parent::{ParentReconciler, RegionReconciler};
use crate::things::Things;

/// The start of a life plus so many seconds.
pub fn job(start: i64) -> Value {
    let mut job = Job::new(
        "j",
        JobSpec {
            start_seconds: 1_767_225_600 + start,
        },
    );
    job.metadata.namespace = Some("default".into());
    applied(&job)
}

pub fn parent(replicas: u32, size: u32) -> Value {
    applied(&crate::parent::parent("p", replicas, size))
}

fn member(name: &str, size: u32) -> Value {
    let mut member = Member::new(
        name,
        MemberSpec {
            group: "g".into(),
            size,
        },
    );
    member.metadata.namespace = Some("default".into());
    applied(&member)
}

pub fn family() -> Case<Things> {
    let build = |runtime: Runtime, things: &Things| {
        runtime
            .add(ParentReconciler)
            .add(ChildReconciler(things.clone()))
    };
    Case {
        objects: vec![parent(2, 1)],
        edits: vec![parent(1, 2)],
        ..Case::new(crds(), Things::new, build)
    }
}

#[tokio::test(start_paused = true)]
async fn parent_and_child_keep_the_laws() {
    laws(&family()).await;
}

#[tokio::test(start_paused = true)]
async fn the_laws_hold_when_the_parent_is_seen_later_than_its_children() {
    let lag = |plural: &str| Duration::from_millis(if plural == "children" { 5 } else { 500 });
    laws(&Case { lag, ..family() }).await;
}

#[tokio::test(start_paused = true)]
async fn job_keeps_the_laws() {
    let build = |runtime: Runtime, things: &Things| runtime.add(JobReconciler(things.clone()));
    laws(&Case {
        objects: vec![job(120)],
        edits: vec![job(60)],
        ..Case::new(crds(), Things::new, build)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_three_together_keep_the_laws() {
    let build = |runtime: Runtime, things: &Things| {
        let child = ChildReconciler(things.clone());
        runtime
            .add(ParentReconciler)
            .add(child)
            .add(JobReconciler(things.clone()))
    };
    let objects = vec![parent(2, 1), job(7)];
    laws(&Case {
        objects,
        edits: vec![parent(3, 1)],
        ..Case::new(crds(), Things::new, build)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_and_its_guest_keep_the_laws_in_one_process() {
    let build = |runtime: Runtime, things: &Things| {
        runtime
            .add(ParentReconciler)
            .add(ChildReconciler(things.clone()))
            .add(Sealer(things.clone()))
    };
    laws(&Case {
        processes: vec![Process { name: "all", build }],
        ..family()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_and_its_guest_keep_the_laws_in_three_processes() {
    let processes = vec![
        Process {
            name: "control",
            build: |runtime, _| runtime.add(ParentReconciler),
        },
        Process {
            name: "agent",
            build: |runtime, things: &Things| runtime.add(ChildReconciler(things.clone())),
        },
        Process {
            name: "sealer",
            build: |runtime, things: &Things| runtime.add(Sealer(things.clone())),
        },
    ];
    laws(&Case {
        processes,
        ..family()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn members_that_share_a_child_keep_the_laws() {
    let build = |runtime: Runtime, things: &Things| {
        runtime
            .add(MemberReconciler)
            .add(ChildReconciler(things.clone()))
    };
    let objects = vec![member("a", 1), member("b", 1), member("c", 1)];
    let case = Case {
        objects,
        edits: vec![member("b", 2)],
        ..Case::new(crds(), Things::new, build)
    };
    laws(&Case {
        sample: Sample::Seeded(40),
        ..case
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_region_without_namespace_keeps_the_laws() {
    let build = |runtime: Runtime, things: &Things| {
        runtime
            .add(RegionReconciler)
            .add(ChildReconciler(things.clone()))
    };
    let region = |size| applied(&Region::new("r", RegionSpec { size }));
    laws(&Case {
        objects: vec![region(1)],
        edits: vec![region(2)],
        ..Case::new(crds(), Things::new, build)
    })
    .await;
}
