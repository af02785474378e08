//! Limits that the kernel enforces: memory, processor, number of processes.

use std::fs;

use api::{Quantity, Resources};
use linux::cgroup::{Hierarchies, Version};
use live::Skip;

use crate::bed::{Bed, idle, script};

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_than_allowed_ends_it_with_the_reason() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = script("exec tail /dev/zero");
    spec.resources = Resources::from([("memory", Quantity::whole(16 << 20))]);
    let a = bed.start("a", &spec).await;
    let state = bed
        .until(&a, "ended", |state| state.last_exit.is_some())
        .await;
    let why = state.last_exit.expect("ended");
    assert_eq!(why, "killed by SIGKILL (out of memory)");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_processes_than_allowed_cannot_be_made() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.resources = Resources::from([("pids", Quantity::whole(8))]);
    let a = bed.run("a", &spec).await;
    let (_, said, _) = bed
        .exec(&a, "for i in $(seq 20); do sleep 1 & done; wait")
        .await;
    assert!(said.contains("fork"), "{said}");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processor_quota_is_set() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.resources = Resources::from([("cpu", Quantity::milli(250))]);
    bed.run("a", &spec).await;
    let hierarchies = Hierarchies::detect().expect("control groups");
    let keys = hierarchies.children(&format!("groma/{}", bed.host));
    let path = format!("groma/{}/{}/c", bed.host, keys.first().expect("one"));
    let read = |file: &str| fs::read_to_string(hierarchies.file("cpu", &path, file)).expect(file);
    let seen = match hierarchies.version() {
        Version::V1 => format!(
            "{} {}",
            read("cpu.cfs_quota_us").trim(),
            read("cpu.cfs_period_us").trim()
        ),
        Version::V2 => read("cpu.max").trim().to_owned(),
    };
    assert_eq!(seen, "25000 100000");
    bed.finish().await;
}

/// The tests above hold for the version that the machine has; what that leaves untried is said.
#[test]
fn limits_of_version_2_are_tried_or_told() {
    let Ok(hierarchies) = Hierarchies::detect() else {
        return;
    };
    if hierarchies.version() == Version::V1 {
        Skip::because("v2 limits: memory, cpu and pids are not on version 2 here").report();
    }
}

#[test]
fn version_2_kills_and_removes_all_at_once() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let Some(root) = unified.and_then(|line| line.split(' ').nth(4)) else {
        return Skip::because("no control groups of version 2 are mounted here").report();
    };
    if !rustix::process::geteuid().is_root() {
        return Skip::because("control groups need root").report();
    }
    let group =
        Hierarchies::unified(root.as_ref()).group(&format!("groma-test-{}", std::process::id()));
    let entrance = group.child("c").make().expect("made");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo 0 > \"$0\"; sleep 1000 & sleep 1000 & wait"]);
    command.arg(format!("{root}/{}/c/cgroup.procs", group.path()));
    let mut child = command.spawn().expect("started");
    drop(entrance);
    while group.processes().len() < 3 {
        std::thread::yield_now();
    }
    group.remove(crate::bed::LIMIT).expect("removed");
    assert!(!group.exists());
    let status = child.wait();
    // The removal may have reaped the child itself.
    assert!(status.is_err() || !status.expect("checked").success());
}
