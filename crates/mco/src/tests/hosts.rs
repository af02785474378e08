//! Hosts are lost, come back, or are forgotten: replicas move by rule only, and nothing is ever doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use api::mco::AssignmentState;
use api::{
    Host, Instance, Placement, READY, Ref, SYSTEM_NAMESPACE, Seconds, Workload, WorkloadRecord,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use runtime::{Runtime, Task, spawn};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::players::Agents;
use super::process::{Ground, Process};
use super::world::*;
use crate::host::{Leases, SILENCE_MAX, keep_lease};
use crate::{orchestration, repository};

/// A telco of two sites with one host each, their agents, and the control plane.
struct Story {
    ground: Ground,
    agents: Agents,
    /// What renews the Lease of each host whose agent is not cut off.
    keepers: BTreeMap<String, Task<()>>,
    process: Option<Process>,
}

const HOSTS: [&str; 2] = ["bcn-1", "mad-1"];

impl Story {
    async fn begin() -> Self {
        let ground = Ground::new();
        let hosts = [host("mad-1", "mad", 2), host("bcn-1", "bcn", 2)];
        ground.prepare(&hosts).await;
        let mut story = Self {
            ground,
            agents: Agents::default(),
            keepers: BTreeMap::new(),
            process: None,
        };
        HOSTS.into_iter().for_each(|host| story.reconnect(host));
        story.start();
        story
    }

    /// Starts the control plane.
    fn start(&mut self) {
        let agents = self.agents.clone();
        let build = move |runtime: Runtime| {
            let leases = Arc::new(Leases::new(SILENCE_MAX));
            let runtime = repository(runtime, leases.clone());
            agents.play(orchestration(runtime, leases))
        };
        self.process = Some(self.ground.start(usize::MAX, build));
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn cut_off(&mut self, host: &str) {
        self.agents.cut_off(host);
        self.keepers.remove(host);
    }

    fn reconnect(&mut self, host: &str) {
        self.agents.reconnect(host);
        let (client, name) = (self.ground.user.clone(), host.to_owned());
        let keeper = async move { keep_lease(client, &name, &Notify::new(), pending()).await };
        self.keepers.insert(host.to_owned(), spawn(keeper));
    }

    async fn run(&self, workload: &Workload) -> String {
        self.ground.create(workload).await;
        self.ready(workload).await;
        let places = self.places().await;
        assert_eq!(places.len(), 1, "{places:?}");
        places[0].1.clone()
    }

    async fn ready(&self, workload: &Workload) {
        let is_ready = async || {
            let found = self.ground.get(workload).await?;
            let conditions = &found.status.as_ref()?.conditions;
            conditions
                .is_true_for(READY, found.metadata.generation)
                .then_some(())
        };
        self.ground.until("the workload is ready", is_ready).await;
    }

    async fn host_says(&self, name: &str, ready: &str) {
        let says = async || {
            let hosts = self.ground.all::<Host>().await;
            let host = hosts
                .into_iter()
                .find(|host| host.metadata.name.as_deref() == Some(name))?;
            let conditions = host.status?.conditions;
            let found = conditions.get(READY)?;
            (found.status == ready).then_some(())
        };
        self.ground.until(&format!("{name} is {ready}"), says).await;
    }

    /// State and host of each assignment.
    async fn places(&self) -> Vec<(AssignmentState, String)> {
        let placements = self.ground.all::<Placement>().await;
        let assignments = placements.iter().flat_map(|it| &it.spec.assignments);
        assignments
            .map(|item| (item.state, item.host.to_string()))
            .collect()
    }

    async fn moved_to(&self, host: &str) {
        let moved = async || {
            let places = self.places().await;
            places
                .contains(&(AssignmentState::Active, host.to_owned()))
                .then_some(())
        };
        self.ground
            .until(&format!("it moved to {host}"), moved)
            .await;
    }

    async fn instances(&self) -> BTreeSet<String> {
        let instances = self.ground.all::<Instance>().await;
        instances
            .iter()
            .map(|instance| instance.spec.host.to_string())
            .collect()
    }
}

fn moving(seconds: Option<u32>) -> Workload {
    let mut workload = workload("web", 1);
    workload.spec.migration.after_unreachable_seconds = seconds.map(Seconds);
    workload
}

fn other(host: &str) -> &'static str {
    HOSTS.into_iter().find(|name| *name != host).unwrap()
}

#[tokio::test(start_paused = true)]
async fn with_a_rule_a_replica_moves_and_its_old_host_comes_back_to_nothing() {
    let mut story = Story::begin().await;
    let web = moving(Some(30));
    let old = story.run(&web).await;
    let new = other(&old);
    story.cut_off(&old);
    story.host_says(&old, "Unknown").await;
    assert_eq!(
        story.places().await,
        [(AssignmentState::Active, old.clone())]
    );
    story.moved_to(new).await;
    let both = BTreeSet::from([old.clone(), new.to_owned()]);
    let replaced = async || {
        let places = story.places().await;
        (places.len() == 2 && story.instances().await == both).then_some(())
    };
    story
        .ground
        .until("the old place stays reserved", replaced)
        .await;

    story.reconnect(&old);
    story.host_says(&old, "True").await;
    story.ready(&web).await;
    assert_eq!(
        story.places().await,
        [(AssignmentState::Active, new.to_owned())]
    );
    assert_eq!(story.instances().await, BTreeSet::from([new.to_owned()]));
    let records = story.ground.all::<WorkloadRecord>().await;
    let open = |record: &&WorkloadRecord| record.spec.to.is_none();
    assert_eq!((records.len(), records.iter().filter(open).count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_a_replica_stays_however_long_its_host_is_silent() {
    let mut story = Story::begin().await;
    let web = moving(None);
    let host = story.run(&web).await;
    story.cut_off(&host);
    story.host_says(&host, "Unknown").await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        story.places().await,
        [(AssignmentState::Active, host.clone())]
    );
    story.reconnect(&host);
    story.ready(&web).await;
    assert_eq!(story.instances().await, BTreeSet::from([host]));
}

#[tokio::test(start_paused = true)]
async fn a_restart_evicts_nobody() {
    let mut story = Story::begin().await;
    let web = moving(Some(30));
    let host = story.run(&web).await;
    story.cut_off(&host);
    story.host_says(&host, "Unknown").await;
    sleep(Duration::from_secs(10)).await;
    story.stop();
    sleep(Duration::from_secs(60)).await;
    story.start();
    story.host_says(&host, "True").await;
    story.host_says(&host, "Unknown").await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        story.places().await,
        [(AssignmentState::Active, host.clone())],
        "far more than thirty seconds in all, but not seen by one process"
    );
    story.moved_to(other(&host)).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_took_the_same_room_the_younger_moves() {
    let mut story = Story::begin().await;
    let (old, young) = (workload("old", 2), workload("young", 2));
    let crowded = story.run(&old).await;
    story.ground.create(&young).await;
    story.ready(&young).await;
    story.stop();
    // As another process had decided that did not know of the first.
    let placements: Api<Placement> = Api::namespaced(story.ground.user.clone(), TENANT);
    let mut placement = placements.get("young").await.unwrap();
    placement.spec.assignments[0].host = Ref::new(&*crowded);
    placement.spec.assignments[0].site = Ref::new(crowded.trim_end_matches("-1"));
    let how = PostParams::default();
    placements.replace("young", &how, &placement).await.unwrap();
    story.start();
    let free = other(&crowded).to_owned();
    story.moved_to(&free).await;
    story.ready(&young).await;
    let settled = async || (story.places().await.len() == 2).then_some(());
    story
        .ground
        .until("the crowded host is left", settled)
        .await;
    let placements = story.ground.all::<Placement>().await;
    let hosts = placements
        .iter()
        .map(|it| it.spec.assignments[0].host.to_string());
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [crowded, free],
        "of old and young"
    );
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_host_is_waited_for_by_nobody() {
    let mut story = Story::begin().await;
    let web = moving(None);
    let old = story.run(&web).await;
    story.cut_off(&old);
    story.host_says(&old, "Unknown").await;
    story.ground.delete(&host(&old, "any", 1)).await;
    story.moved_to(other(&old)).await;
    story.ready(&web).await;
    let new = other(&old).to_owned();
    assert_eq!(
        story.places().await,
        [(AssignmentState::Active, new.clone())]
    );
    assert_eq!(story.instances().await, BTreeSet::from([new]));
    let leases: Api<Lease> = Api::namespaced(story.ground.user.clone(), SYSTEM_NAMESPACE);
    let gone = async || leases.get_opt(&old).await.unwrap().is_none();
    assert!(gone().await, "its lease went with it");
    story.reconnect(&old);
    sleep(Duration::from_secs(60)).await;
    assert!(
        gone().await,
        "a host that was forgotten gets no lease again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_deleted_leaves_nothing_but_its_records() {
    let story = Story::begin().await;
    let web = moving(None);
    story.run(&web).await;
    story.ground.delete(&web).await;
    let gone = async || story.ground.get(&web).await.is_none().then_some(());
    story.ground.until("the workload is gone", gone).await;
    assert!(story.places().await.is_empty() && story.instances().await.is_empty());
    let records = story.ground.all::<WorkloadRecord>().await;
    assert!(
        records.len() == 1 && records[0].spec.to.is_some(),
        "{records:?}"
    );
}
