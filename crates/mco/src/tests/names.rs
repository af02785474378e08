//! A workload alone and a group of the same name: the second is told why it waits, and gets its turn.

use std::sync::Arc;

use api::{READY, Workload};

use super::players::Agents;
use super::process::{Ground, Process};
use super::world::*;
use crate::host::{Leases, SILENCE_MAX};
use crate::orchestration;

async fn begin() -> (Ground, Process) {
    let ground = Ground::new();
    let hosts = [host("mad-1", "mad", 4), host("bcn-1", "bcn", 4)];
    ground.prepare(&hosts).await;
    let leases = Arc::new(Leases::new(SILENCE_MAX));
    let build = |runtime| Agents::default().play(orchestration(runtime, leases));
    let process = ground.start(usize::MAX, build);
    (ground, process)
}

fn group() -> [Workload; 2] {
    ["shop-a", "shop-b"].map(|name| grouped(name, "shop", &["shop-a", "shop-b"]))
}

async fn ready(ground: &Ground, workload: &Workload) {
    let look = async || {
        let found = ground.get(workload).await?;
        found.status?.conditions.is_true(READY).then_some(())
    };
    ground.until("it is ready", look).await;
}

async fn says(ground: &Ground, workload: &Workload, expected: &str) {
    let look = async || {
        let conditions = ground.get(workload).await?.status?.conditions;
        let message = &conditions.get(READY)?.message;
        message.contains(expected).then_some(())
    };
    ground.until(expected, look).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_waits_for_a_workload_of_its_name() {
    let (ground, _process) = begin().await;
    let alone = workload("shop", 1);
    ground.create(&alone).await;
    ready(&ground, &alone).await;
    for member in &group() {
        ground.create(member).await;
        let why = "is of Workload shop, which has the name of the group shop";
        says(&ground, member, why).await;
    }
    ready(&ground, &alone).await;
    ground.delete(&alone).await;
    for member in &group() {
        ready(&ground, member).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_waits_for_a_group_of_its_name() {
    let (ground, _process) = begin().await;
    for member in &group() {
        ground.create(member).await;
    }
    for member in &group() {
        ready(&ground, member).await;
    }
    let alone = workload("shop", 1);
    ground.create(&alone).await;
    let why = "is of the group shop, which has the name of Workload shop";
    says(&ground, &alone, why).await;
    for member in &group() {
        ready(&ground, member).await;
        ground.delete(member).await;
    }
    ready(&ground, &alone).await;
}
