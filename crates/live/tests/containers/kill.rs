//! Agents, shims and containers that are killed at any moment: the next agent goes on, nothing is doubled, nothing is left.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adapter::{ContainerId, ContainerRuntime, ContainerSpec};
use api::Seconds;
use api::wdm::{Probe, ProbeAction};
use linux::process::Process;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::bed::{AGENT, Bed, LIMIT, id, idle, only_folder, script};

/// How many kills the standard run makes.
const KILLS: u32 = 60;

/// How late a kill comes at most: past the start of a container.
const WINDOW_MICROS: u64 = 150_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_is_adopted_by_the_next_agent() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let a = bed.run("a", &script("echo once; exec sleep 1000")).await;
    let before = bed.running(&a).await;
    let members = bed.groups();
    bed.open().await;
    let after = bed.until(&a, "ready", |state| state.ready).await;
    assert_eq!(before, after);
    assert_eq!(members, bed.groups(), "the very same processes");
    assert_eq!(bed.logs(&a).await, "once\n");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_serves_is_not_doubted_by_the_next_agent() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let mut spec = idle();
    spec.execution.readiness = Some(Probe {
        action: ProbeAction::Exec {
            command: ["/bin/sleep", "1"].map(str::to_owned).to_vec(),
        },
        period_seconds: Seconds(1),
        timeout_seconds: Seconds(5),
        failure_threshold: 1,
    });
    let a = bed.run("a", &spec).await;
    let before = bed.state(&a).await;
    bed.open().await;
    assert_eq!(bed.state(&a).await, before, "shown before it was probed");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_being_removed_stays_being_removed() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let mut spec = script("trap '' TERM; while :; do sleep 0.1; done");
    spec.execution.stop.signal = None;
    spec.execution.stop.grace_seconds = api::Seconds(1);
    let a = bed.run("a", &spec).await;
    bed.runtime().remove(&a).await.expect("asked");
    bed.open().await;
    let seen = bed.state(&a).await;
    assert!(seen.is_none_or(|state| state.phase == adapter::ContainerPhase::Stopping));
    bed.remove(&a).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_without_memory_finds_is_removed() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.run("a", &idle()).await;
    bed.close().await;
    std::fs::remove_dir_all(bed.place.path().join("state")).expect("lost");
    bed.open().await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_record_is_broken_is_removed_and_the_others_go_on() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.run("a", &idle()).await;
    let broken = only_folder(&bed);
    let b = bed.run("b", &idle()).await;
    let before = bed.state(&b).await;
    bed.close().await;
    std::fs::write(broken.join("record.json"), "{\"id\"").expect("written");
    bed.open().await;
    let left = bed.runtime().list().await.expect("listed");
    assert_eq!(left, std::slice::from_ref(&b));
    assert_eq!(bed.state(&b).await, before);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_shims_and_containers_leave_one_copy() {
    let Some(bed) = Bed::new().await else { return };
    let mut random = Random::new();
    let spec = idle();
    for round in 0..KILLS / 2 {
        let a = bed.start("a", &spec).await;
        if round % 2 == 0 {
            bed.running(&a).await;
        }
        sleep(Duration::from_micros(random.below(WINDOW_MICROS))).await;
        let members: Vec<i32> = bed.groups().into_values().flatten().collect();
        if !members.is_empty() {
            let victim =
                members[usize::try_from(random.below(members.len() as u64)).expect("small")];
            kill(victim);
        }
        until_one_copy(&bed, std::slice::from_ref(&a)).await;
        bed.remove(&a).await;
        let left = bed.leftovers();
        assert!(
            left.iter().all(|one| one.starts_with("group")),
            "round {round}: {left:?}"
        );
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_agents_leave_one_copy() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.close().await;
    let mut random = Random::new();
    let containers: Vec<(ContainerId, ContainerSpec)> =
        ["a", "b", "c"].map(|name| (id(name), idle())).to_vec();
    let file = bed.place.path().join("agent.json");
    let text = serde_json::to_vec(&(&bed.host, bed.place.path(), &containers)).expect("written");
    std::fs::write(&file, text).expect("written");
    for round in 0..KILLS / 2 {
        let mut first = agent(&file);
        sleep(Duration::from_micros(random.below(2 * WINDOW_MICROS))).await;
        first.kill().expect("killed");
        if round % 3 == 0 {
            bed.groups().into_values().flatten().take(1).for_each(kill);
        }
        // The second one begins before what the first has started has settled.
        let mut second = agent(&file);
        first.wait().expect("reaped");
        wait_ready(&mut second);
        second.kill().expect("killed");
        second.wait().expect("reaped");
        bed.open().await;
        for (id, spec) in &containers {
            bed.runtime()
                .ensure(id, spec)
                .await
                .expect("the same as before");
        }
        let ids: Vec<ContainerId> = containers.iter().map(|(id, _)| id.clone()).collect();
        until_one_copy(&bed, &ids).await;
        for (id, _) in &containers {
            bed.remove(id).await;
        }
        bed.close().await;
        let left = bed.leftovers();
        assert!(
            left.iter().all(|one| one.starts_with("group")),
            "round {round}: {left:?}"
        );
    }
    bed.open().await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_shim_of_an_earlier_run_does_nothing() {
    let Some(bed) = Bed::new().await else { return };
    bed.run("a", &idle()).await;
    let folder = only_folder(&bed);
    let members = bed.groups();
    let late = Command::new(AGENT)
        .args(["shim", "run"])
        .arg(folder)
        .arg("0")
        .output();
    let late = late.expect("it ran");
    assert!(!late.status.success());
    assert!(String::from_utf8_lossy(&late.stderr).contains("over already"));
    assert_eq!(members, bed.groups());
    bed.finish().await;
}

/// Waits until there is one shim and one process for each container; there must never be two of either.
async fn until_one_copy(bed: &Bed, ids: &[ContainerId]) {
    let end = Instant::now() + LIMIT;
    loop {
        let groups = bed.groups();
        let mut good = groups.len() == ids.len();
        let mut seen = Vec::new();
        for (key, members) in &groups {
            let programs: Vec<String> = members.iter().map(|pid| program(*pid)).collect();
            let sleeping = programs
                .iter()
                .filter(|line| line.starts_with("sleep "))
                .count();
            // A shim that forks is seen twice for a moment; another run has another number in its line.
            let shims = programs.iter().filter(|line| line.contains(" shim run "));
            let shims = shims.collect::<BTreeSet<_>>().len();
            assert!(sleeping <= 1 && shims <= 1, "{key}: {programs:?}");
            good &= sleeping == 1 && shims == 1 && members.len() == 2;
            seen.push(format!("{key}: {programs:?}"));
        }
        for id in ids {
            let state = bed.state(id).await;
            good &= state.as_ref().is_some_and(|state| state.ready);
            seen.push(format!("{state:?}"));
        }
        if good {
            return;
        }
        assert!(Instant::now() < end, "{seen:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn program(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn kill(pid: i32) {
    let process = u32::try_from(pid)
        .ok()
        .and_then(|pid| Process::open(pid).ok());
    if let Some(process) = process {
        process.signal(Signal::KILL).expect("killed");
    }
}

fn agent(file: &std::path::Path) -> Child {
    let mut command = Command::new(AGENT);
    command.arg("agent").arg(file).stdout(Stdio::piped());
    command.spawn().expect("started")
}

fn wait_ready(agent: &mut Child) {
    let mut line = String::new();
    let output = agent.stdout.as_mut().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
}

/// Numbers that look random and can be had again: the seed is printed, and `GROMA_SEED` sets it.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("GROMA_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) | 1);
        println!("GROMA_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
