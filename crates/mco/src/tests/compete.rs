//! Two groups want the last room, the process is killed again and again: never do both get it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::mco::AssignmentState;
use api::{Host, Placement, Quantity, Workload};
use runtime::Runtime;

use super::players::Agents;
use super::process::{Ground, Process};
use super::world::*;
use crate::host::{Leases, SILENCE_MAX};
use crate::orchestration;

/// Seeds that are tried with `GROMA_LAWS=all`, and without.
const RUNS: [u64; 2] = [1_000, 25];
/// A process is killed after so many calls at most; a start alone takes about thirty.
const CALLS_MAX: u64 = 90;
/// So often at most in one run.
const KILLS_MAX: u32 = 6;

#[allow(
    clippy::disallowed_methods,
    reason = "how much is tried is chosen by the environment of the test"
)]
fn wants_all() -> bool {
    std::env::var("GROMA_LAWS").is_ok_and(|value| value == "all")
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn start(ground: &Ground, last: usize) -> Process {
    let leases = Arc::new(Leases::new(SILENCE_MAX));
    let build = |runtime: Runtime| Agents::default().play(orchestration(runtime, leases));
    ground.start(last, build)
}

/// What is reserved on each host may never be more than it has.
async fn check_rooms(ground: &Ground, seed: u64) {
    let mut taken: BTreeMap<String, Quantity> = BTreeMap::new();
    for placement in ground.all::<Placement>().await {
        for assignment in &placement.spec.assignments {
            let host = taken.entry(assignment.host.to_string()).or_default();
            *host += assignment.reserved.get("cpu");
        }
    }
    for host in ground.all::<Host>().await {
        let name = host.metadata.name.clone().unwrap();
        let taken = taken.get(&name).copied().unwrap_or_default();
        let room = placement::allocatable(&host).get("cpu");
        assert!(
            taken <= room,
            "seed {seed}: {taken} of {room} taken on {name}"
        );
    }
}

fn group(name: &str) -> Vec<Workload> {
    let names = [format!("{name}-a"), format!("{name}-b")];
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    members
        .iter()
        .map(|member| grouped(member, name, &members))
        .collect()
}

/// A process that is killed and started anew until it was killed often enough.
struct Victim {
    process: Process,
    random: u64,
    n_kills: u32,
}

impl Victim {
    fn start(ground: &Ground, seed: u64) -> Self {
        let mut random = seed;
        let process = start(ground, calls(&mut random));
        Self {
            process,
            random,
            n_kills: 0,
        }
    }

    fn revive(&mut self, ground: &Ground) {
        if self.process.is_killed() {
            self.n_kills += 1;
            let last = match self.n_kills {
                ..KILLS_MAX => calls(&mut self.random),
                _ => usize::MAX,
            };
            self.process = start(ground, last);
        }
    }
}

fn calls(state: &mut u64) -> usize {
    usize::try_from(random(state) % CALLS_MAX).unwrap()
}

async fn run(seed: u64) -> u32 {
    let ground = Ground::new();
    let hosts = [host("mad-1", "mad", 2), host("bcn-1", "bcn", 1)];
    ground.prepare(&hosts).await;
    let mut victim = Victim::start(&ground, seed);
    for workload in group("one").iter().chain(&group("two")) {
        ground.create(workload).await;
    }
    let look = async || {
        check_rooms(&ground, seed).await;
        victim.revive(&ground);
        settled(&ground).await
    };
    let winner = ground.until("one group has the room", look).await;
    for workload in group(&winner) {
        ground.delete(&workload).await;
    }
    let look = async || {
        check_rooms(&ground, seed).await;
        victim.revive(&ground);
        let placements = ground.all::<Placement>().await;
        let other = |it: &Placement| it.metadata.name.as_deref() != Some(&*winner);
        (placements.len() == 1 && placements.iter().all(other)).then_some(())
    };
    ground.until("then the other gets it", look).await;
    victim.n_kills
}

/// The group that is wholly placed, once the other says why it is not.
async fn settled(ground: &Ground) -> Option<String> {
    let placements = ground.all::<Placement>().await;
    let [placement] = &placements[..] else {
        return None;
    };
    let active = |item: &&api::mco::Assignment| item.state == AssignmentState::Active;
    let n_active = placement.spec.assignments.iter().filter(active).count();
    let workloads = ground.all::<Workload>().await;
    let placed = |workload: &Workload| {
        let status = workload.status.as_ref();
        status.is_some_and(|status| status.conditions.is_true("Placed"))
    };
    let told = |workload: &Workload| {
        let status = workload.status.as_ref();
        status.is_some_and(|status| {
            let placed = status.conditions.get("Placed");
            placed.is_some_and(|placed| placed.reason == "InsufficientResources")
        })
    };
    let own = |workload: &&Workload| {
        let group = workload.spec.group.as_ref();
        group.map(|group| &group.name) == placement.metadata.name.as_ref()
    };
    let all = workloads.iter().filter(own).all(placed);
    let others = workloads.iter().filter(|it| !own(it)).all(told);
    (n_active == 2 && all && others).then(|| placement.metadata.name.clone())?
}

#[tokio::test(start_paused = true)]
async fn two_groups_never_both_get_the_last_room() {
    let [all, some] = RUNS;
    let n_runs = if wants_all() { all } else { some };
    let mut n_kills = 0;
    for seed in 0..n_runs {
        println!("seed {seed}");
        n_kills += run(seed).await;
    }
    println!("{n_runs} runs, {n_kills} kills");
    assert!(
        u64::from(n_kills) > n_runs,
        "only {n_kills} kills in {n_runs} runs: they prove nothing"
    );
}
