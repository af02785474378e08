//! Restarts, probes, and how a container is asked to end.

use std::time::Duration;

use adapter::{ContainerPhase, ContainerSpec, LogOptions};
use api::Seconds;
use api::wdm::{Probe, ProbeAction, Stop};
use tokio::time::Instant;

use crate::bed::{Bed, LIMIT, idle, script};
use crate::image;

fn probe(action: ProbeAction) -> Probe {
    Probe {
        action,
        period_seconds: Seconds(1),
        timeout_seconds: Seconds(1),
        failure_threshold: 1,
    }
}

fn exec_probe(line: &str) -> Probe {
    probe(ProbeAction::Exec {
        command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_is_started_again_later_and_later() {
    let Some(bed) = Bed::new().await else { return };
    let started = Instant::now();
    let a = bed.start("a", &script("exit 3")).await;
    let state = bed
        .until(&a, "restarted", |state| state.restarts >= 3)
        .await;
    assert_eq!(state.last_exit.as_deref(), Some("exit status 3"));
    assert!(
        started.elapsed() >= Duration::from_millis(600),
        "200 + 400 ms of back-off"
    );
    bed.until(&a, "waiting", |state| {
        state.phase == ContainerPhase::BackOff
    })
    .await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_start_says_why() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.execution.command = vec!["/bin/none".to_owned()];
    let a = bed.start("a", &spec).await;
    let state = bed
        .until(&a, "failed", |state| state.last_exit.is_some())
        .await;
    let why = state.last_exit.expect("failed");
    assert!(
        why.starts_with("cannot be started: ") && why.contains("/bin/none"),
        "{why}"
    );
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_its_probe() {
    let Some(bed) = Bed::new().await else { return };
    let serve =
        "mkdir -p /tmp/www; cd /tmp/www; echo ok > index.html; httpd -p '[::]:8080' -h /tmp/www;";
    let http = ProbeAction::Http {
        port: 8080,
        path: "/health".to_owned(),
    };
    let probes = [
        (exec_probe("test -e /tmp/www/health"), "exec"),
        (probe(http), "http"),
    ];
    for (probe, name) in probes {
        let mut spec = script(&format!("{serve} exec sleep 1000"));
        spec.execution.readiness = Some(probe);
        let a = bed.start(name, &spec).await;
        bed.running(&a).await;
        assert!(!bed.state(&a).await.expect("there").ready, "{name}");
        assert_eq!(bed.exec(&a, "touch /tmp/www/health").await.2, 0);
        bed.until(&a, "ready", |state| state.ready).await;
        assert_eq!(bed.exec(&a, "rm /tmp/www/health").await.2, 0);
        bed.until(&a, "not ready any more", |state| !state.ready)
            .await;
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_probe_waits_for_the_listener() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = script(
        "while [ ! -e /tmp/go ]; do sleep 0.05; done; httpd -p '[::]:8081' -h /tmp; exec sleep 1000",
    );
    spec.execution.readiness = Some(probe(ProbeAction::Tcp { port: 8081 }));
    let a = bed.start("a", &spec).await;
    bed.running(&a).await;
    assert!(!bed.state(&a).await.expect("there").ready);
    assert_eq!(bed.exec(&a, "touch /tmp/go").await.2, 0);
    bed.until(&a, "ready", |state| state.ready).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_live_is_restarted() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.execution.liveness = Some(exec_probe("test ! -e /tmp/sick"));
    let a = bed.run("a", &spec).await;
    assert_eq!(bed.exec(&a, "touch /tmp/sick").await.2, 0);
    let state = bed
        .until(&a, "restarted", |state| state.restarts == 1 && state.ready)
        .await;
    let why = state.last_exit.expect("ended");
    assert!(
        why.starts_with("liveness probe failed: exit status 1"),
        "{why}"
    );
    bed.finish().await;
}

/// Runs a program that says `begun` when it has begun, and `asked` when it is asked to end.
async fn is_asked(bed: &Bed, mut spec: ContainerSpec) {
    spec.execution.stop = Stop {
        signal: None,
        grace_seconds: Seconds(30),
    };
    let a = bed.run("a", &spec).await;
    bed.logged(&a, "begun").await;
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let started = Instant::now();
    let (logs, ()) = tokio::join!(bed.logs_of(&a, follow), bed.remove(&a));
    assert!(logs.contains("asked"), "{logs:?}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "did not need its grace"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_signal_of_the_image_is_heard_before_the_end() {
    let Some(bed) = Bed::new().await else { return };
    let wish = image::Wish {
        stop_signal: Some("SIGUSR1"),
        ..image::Wish::default()
    };
    image::write(&bed.place.path().join("images"), "other", &wish);
    let mut spec =
        script("echo begun; trap 'echo asked; exit 0' USR1; while :; do sleep 0.05; done");
    spec.image = "layout:other".to_owned();
    is_asked(&bed, spec).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_asked_before_it_can_hear_is_asked_again() {
    let Some(bed) = Bed::new().await else { return };
    let late =
        "echo begun; sleep 0.5; trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done";
    is_asked(&bed, script(late)).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_the_signal_is_killed_after_its_grace() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = script("trap '' TERM; while :; do sleep 0.1; done");
    spec.execution.stop = Stop {
        signal: None,
        grace_seconds: Seconds(1),
    };
    let a = bed.run("a", &spec).await;
    let started = Instant::now();
    bed.remove(&a).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_take_too_long_leave_no_zombies() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.execution.readiness = Some(exec_probe("echo begun >> /tmp/probes; exec sleep 1000"));
    let a = bed.start("a", &spec).await;
    bed.running(&a).await;
    let end = Instant::now() + LIMIT;
    while bed.exec(&a, "grep -c begun /tmp/probes").await.0 != "6" {
        assert!(Instant::now() < end, "the probe is not repeated");
    }
    // The one that runs now, and those of the pause between two looks for orphans.
    while bed.zombies() > 4 {
        assert!(Instant::now() < end, "{} zombies", bed.zombies());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bed.finish().await;
}
