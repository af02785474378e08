//! Whose changes wake whom.

use std::sync::{Arc, Mutex};

use api::Result;
use kube::ResourceExt;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report};
use serde_json::json;

use crate::kinds::{Child, ChildSpec, Job, JobSpec, JobStatus, Member, MemberSpec};
use crate::process::{Process, names, placed};

/// The names of the jobs that were looked at, and the children that were seen.
type Log = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// Looks at jobs. A change of a child wakes the jobs that its note names, a change of a member wakes all.
struct Looker(Log);

impl Reconciler for Looker {
    type Object = Job;
    type Observed = ();
    type Step = Never;
    type Status = JobStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.maps::<Child>(|child| {
            let jobs = child.spec.note.iter().flat_map(|note| note.split(' '));
            jobs.map(|job| ObjectRef::new::<Job>(child.namespace().as_deref(), job))
                .collect()
        });
        kinds.wakes_all::<Member>();
    }

    async fn observe(&self, ctx: &Ctx, job: &Job) -> Result<()> {
        let children = names(&ctx.list::<Child>(job.namespace().as_deref())?);
        self.0.lock().unwrap().push((job.name_any(), children));
        Ok(())
    }

    fn plan(&self, _: &Job, (): &()) -> Plan<Never> {
        Plan::default()
    }

    async fn act(&self, _: &Ctx, _: &Job, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Job, (): &()) -> Report<JobStatus> {
        JobStatus::default().into()
    }
}

fn child(name: &str, note: &str) -> Child {
    placed(Child::new(
        name,
        ChildSpec {
            size: 1,
            note: Some(note.into()),
        },
    ))
}

/// Three settled jobs and an empty log.
async fn three_jobs(process: &Process, log: &Log) {
    for name in ["a", "b", "c"] {
        process
            .create(&placed(Job::new(name, JobSpec { start_seconds: 0 })))
            .await;
    }
    process.calm().await;
    log.lock().unwrap().clear();
}

fn looked_at(log: &Log) -> Vec<String> {
    let mut names: Vec<_> = log
        .lock()
        .unwrap()
        .drain(..)
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_what_the_object_names_before_and_after() {
    let log = Log::default();
    let process = Process::start(|runtime| runtime.add(Looker(log.clone())));
    three_jobs(&process, &log).await;
    process.create(&child("x", "a")).await;
    process.calm().await;
    assert_eq!(looked_at(&log), ["a"]);
    process
        .merge::<Child>("x", json!({"spec": {"note": "b"}}))
        .await;
    process.calm().await;
    assert_eq!(looked_at(&log), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_wakes_each_object_once() {
    let log = Log::default();
    let process = Process::start(|runtime| runtime.add(Looker(log.clone())));
    three_jobs(&process, &log).await;
    for i in 0..50 {
        process
            .create(&placed(Member::new(
                &format!("m{i}"),
                MemberSpec {
                    group: "g".into(),
                    size: i,
                },
            )))
            .await;
    }
    process.calm().await;
    assert_eq!(looked_at(&log), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_selecting_process_sees_only_its_own() {
    let log = Log::default();
    let process = Process::start(|runtime| {
        runtime
            .select::<Child>("metadata.name=mine")
            .add(Looker(log.clone()))
    });
    process.create(&child("mine", "")).await;
    process.create(&child("theirs", "")).await;
    three_jobs(&process, &log).await;
    process
        .create(&placed(Member::new(
            "m",
            MemberSpec {
                group: "g".into(),
                size: 1,
            },
        )))
        .await;
    process.calm().await;
    let seen: Vec<_> = log
        .lock()
        .unwrap()
        .drain(..)
        .map(|(_, children)| children)
        .collect();
    assert_eq!(seen, vec![vec!["mine".to_owned()]; 3]);
}
