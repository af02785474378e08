//! Configuration files: given while it runs, refused, and put back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use adapter::{ContainerRuntime, ContainerSpec};
use api::Seconds;
use api::wdm::{OnChange, Probe, ProbeAction};
use linux::process::Process;
use rustix::process::Signal;

use crate::bed::{Bed, script};

const PATH: &str = "/etc/web/mode";

/// Before this the trial of bad files cannot be over.
const LIMIT: Duration = Duration::from_secs(15);

fn with_file(mut spec: ContainerSpec, content: &str) -> ContainerSpec {
    spec.files = BTreeMap::from([(PATH.to_owned(), content.as_bytes().to_vec())]);
    spec
}

/// Applies its file when asked to by SIGHUP, and ends if it does not like it.
fn signalled(content: &str) -> ContainerSpec {
    let line = format!(
        "load() {{ grep -q bad {PATH} && exit 9; echo loaded $(cat {PATH}); }}; trap load HUP; load; while :; do sleep 0.05; done"
    );
    let mut spec = with_file(script(&line), content);
    spec.on_change = OnChange::Signal {
        signal: "SIGHUP".to_owned(),
    };
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_applies_new_files_in_place() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &signalled("one")).await;
    bed.logged(&a, "loaded one").await;
    let next = signalled("two");
    bed.runtime().ensure(&a, &next).await.expect("taken");
    let digest = Some(next.files_digest());
    let state = bed
        .until(&a, "applied", |state| state.files.applied == digest)
        .await;
    bed.logged(&a, "loaded two").await;
    assert_eq!((state.restarts, state.files.refused), (0, None));
    assert_ne!(
        bed.exec(&a, &format!("echo x > {PATH}")).await.2,
        0,
        "read-only inside"
    );
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_end_it_are_put_back() {
    let Some(bed) = Bed::new().await else { return };
    let good = signalled("one");
    let a = bed.run("a", &good).await;
    bed.logged(&a, "loaded one").await;
    let bad = signalled("bad");
    bed.runtime().ensure(&a, &bad).await.expect("taken");
    let state = bed
        .until(&a, "refused and back", |state| {
            state.files.refused.is_some() && state.ready
        })
        .await;
    let refused = state.files.refused.expect("refused");
    assert_eq!(
        (refused.digest, refused.why.as_str()),
        (bad.files_digest(), "exit status 9")
    );
    assert_eq!(state.files.applied, Some(good.files_digest()));
    assert_eq!(bed.exec(&a, &format!("cat {PATH}")).await.0, "one");
    bed.runtime().ensure(&a, &good).await.expect("taken");
    bed.until(&a, "not refused any more", |state| {
        state.files.refused.is_none()
    })
    .await;
    bed.finish().await;
}

/// As [`signalled`], with the file in another folder.
fn elsewhere(content: &str) -> ContainerSpec {
    let mut spec = signalled(content);
    let content = spec.files.remove(PATH).expect("it has one");
    spec.files.insert("/etc/other/mode".to_owned(), content);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_move_to_another_folder_and_back_are_where_they_belong() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &signalled("one")).await;
    bed.logged(&a, "loaded one").await;
    for spec in [elsewhere("two"), signalled("three")] {
        bed.runtime().ensure(&a, &spec).await.expect("taken");
        let digest = Some(spec.files_digest());
        bed.until(&a, "applied", |state| {
            state.ready && state.files.applied == digest
        })
        .await;
        let (path, content) = spec.files.first_key_value().expect("one file");
        let seen = bed.exec(&a, &format!("cat {path}")).await.0;
        assert_eq!(seen.as_bytes(), content, "{path}");
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_does_not_wait_for_the_end_of_the_trial() {
    let Some(bed) = Bed::new().await else { return };
    let ready = |content: &str| {
        let mut spec = told(
            content,
            "grep -q bad /etc/web/mode && rm -f /tmp/ok || touch /tmp/ok",
        );
        spec.execution.readiness = Some(Probe {
            action: ProbeAction::Exec {
                command: ["/bin/sh", "-c", "test ! -e /tmp/told || test -e /tmp/ok"]
                    .map(str::to_owned)
                    .to_vec(),
            },
            period_seconds: Seconds(1),
            timeout_seconds: Seconds(1),
            failure_threshold: 1,
        });
        spec
    };
    let a = bed.run("a", &ready("one")).await;
    bed.exec(&a, "touch /tmp/ok /tmp/told").await;
    let begun = Instant::now();
    bed.runtime()
        .ensure(&a, &ready("bad"))
        .await
        .expect("taken");
    bed.until(&a, "not ready", |state| !state.ready).await;
    let good = ready("two");
    bed.runtime().ensure(&a, &good).await.expect("taken");
    let digest = Some(good.files_digest());
    let state = bed
        .until(&a, "corrected", |state| {
            state.ready && state.files.applied == digest
        })
        .await;
    assert_eq!(state.files.refused, None, "nobody waited for a verdict");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_or_hidden_is_known_before() {
    let Some(bed) = Bed::new().await else { return };
    let good = script("exec sleep 1000");
    bed.runtime().check(&good).await.expect("it can run");
    let mut absent = good.clone();
    absent.execution.command = vec!["/nope".to_owned()];
    let refused = bed
        .runtime()
        .check(&absent)
        .await
        .expect_err("no such program");
    assert_eq!(
        refused.what,
        "execution.command: the image has no program `/nope`"
    );
    let program = &good.execution.command[0];
    let folder = Path::new(program)
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let mut hidden = good.clone();
    hidden.files.insert(format!("{folder}/x"), Vec::new());
    let refused = bed
        .runtime()
        .check(&hidden)
        .await
        .expect_err("it is hidden");
    assert!(
        refused.what.contains("hidden by configuration.files"),
        "{refused}"
    );
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_applies_new_files_and_puts_back_what_never_gets_ready() {
    let Some(bed) = Bed::new().await else { return };
    let spec = |content: &str| {
        let mut spec = with_file(
            script(&format!("grep -q bad {PATH} && exit 8; exec sleep 1000")),
            content,
        );
        spec.execution.readiness = Some(Probe {
            action: ProbeAction::Exec {
                command: ["/bin/sh", "-c", &format!("cat {PATH}")]
                    .map(str::to_owned)
                    .to_vec(),
            },
            period_seconds: Seconds(1),
            timeout_seconds: Seconds(1),
            failure_threshold: 1,
        });
        spec
    };
    let a = bed.run("a", &spec("one")).await;
    bed.runtime().ensure(&a, &spec("two")).await.expect("taken");
    let digest = Some(spec("two").files_digest());
    let state = bed
        .until(&a, "applied", |state| {
            state.files.applied == digest && state.ready
        })
        .await;
    assert_eq!(state.restarts, 0, "asked for, so not counted");
    assert_eq!(bed.exec(&a, &format!("cat {PATH}")).await.0, "two");
    bed.runtime().ensure(&a, &spec("bad")).await.expect("taken");
    let state = bed
        .until(&a, "refused and back", |state| {
            state.files.refused.is_some() && state.ready
        })
        .await;
    assert_eq!(state.files.refused.expect("refused").why, "exit status 8");
    assert_eq!(bed.exec(&a, &format!("cat {PATH}")).await.0, "two");
    bed.finish().await;
}

/// Answers a POST with what its file says.
fn asked(content: &str) -> ContainerSpec {
    let answer = format!("#!/bin/sh\necho \"Status: $(cat {PATH})\"; echo; echo because\n");
    let line = format!(
        "mkdir -p /tmp/www/cgi-bin; printf '%s' '{answer}' > /tmp/www/cgi-bin/reload; chmod 755 /tmp/www/cgi-bin/reload; httpd -p '[::]:8082' -h /tmp/www; exec sleep 1000"
    );
    let mut spec = with_file(script(&line), content);
    spec.on_change = OnChange::Http {
        port: 8082,
        path: "/cgi-bin/reload".to_owned(),
    };
    spec.execution.readiness = Some(Probe {
        action: ProbeAction::Tcp { port: 8082 },
        period_seconds: Seconds(1),
        timeout_seconds: Seconds(1),
        failure_threshold: 1,
    });
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_applies_new_files_unless_it_is_answered_otherwise() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &asked("200 First")).await;
    let second = asked("200 Second");
    bed.runtime().ensure(&a, &second).await.expect("taken");
    let digest = Some(second.files_digest());
    bed.until(&a, "applied", |state| state.files.applied == digest)
        .await;
    let third = asked("422 Bad");
    bed.runtime().ensure(&a, &third).await.expect("taken");
    let state = bed
        .until(&a, "refused", |state| state.files.refused.is_some())
        .await;
    let refused = state.files.refused.expect("refused");
    assert_eq!(refused.digest, third.files_digest());
    assert!(
        refused.why.contains("422") && refused.why.contains("because"),
        "{}",
        refused.why
    );
    assert_eq!(state.files.applied, Some(second.files_digest()));
    while bed.exec(&a, &format!("cat {PATH}")).await.0 != "200 Second" {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.state(&a).await.expect("there").restarts, 0);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_survives_the_agent() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let a = bed.run("a", &signalled("one")).await;
    bed.logged(&a, "loaded one").await;
    let next = signalled("two");
    bed.runtime().ensure(&a, &next).await.expect("taken");
    bed.open().await;
    let digest = Some(next.files_digest());
    bed.until(&a, "applied", |state| state.files.applied == digest)
        .await;
    bed.logged(&a, "loaded two").await;
    bed.finish().await;
}

/// Does this when it is told of new files.
fn told(content: &str, action: &str) -> ContainerSpec {
    let line = format!("trap '{action}' HUP; echo begun; while :; do sleep 0.05; done");
    let mut spec = with_file(script(&line), content);
    spec.on_change = OnChange::Signal {
        signal: "SIGHUP".to_owned(),
    };
    spec
}

/// Is not ready with bad files, which it notices after some seconds.
fn sickened(content: &str, seconds: u32) -> ContainerSpec {
    let mut spec = told(
        content,
        &format!(
            "sleep {seconds}; if grep -q bad {PATH}; then touch /tmp/sick; else rm -f /tmp/sick; fi"
        ),
    );
    spec.execution.readiness = Some(Probe {
        action: ProbeAction::Exec {
            command: ["/bin/sh", "-c", "test ! -e /tmp/sick"]
                .map(str::to_owned)
                .to_vec(),
        },
        period_seconds: Seconds(1),
        timeout_seconds: Seconds(1),
        failure_threshold: 2,
    });
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_not_blamed_for_the_end_of_a_shim() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &signalled("one")).await;
    bed.logged(&a, "loaded one").await;
    let next = signalled("two");
    bed.runtime().ensure(&a, &next).await.expect("taken");
    bed.logged(&a, "loaded two").await;
    kill_shims(&bed);
    let digest = Some(next.files_digest());
    let state = bed
        .until(&a, "applied", |state| state.files.applied == digest)
        .await;
    assert_eq!((state.restarts, state.files.refused), (1, None));
    bed.finish().await;
}

fn kill_shims(bed: &Bed) {
    for pid in bed.groups().into_values().flatten() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains("shim\0run") {
            let shim = Process::open(u32::try_from(pid).expect("a number")).expect("it runs");
            shim.signal(Signal::KILL).expect("killed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_end_it_after_they_were_taken_are_put_back() {
    let Some(bed) = Bed::new().await else { return };
    let late = format!("sleep 3; grep -q bad {PATH} && exit 9");
    let good = told("good", &late);
    let a = bed.run("a", &good).await;
    bed.logged(&a, "begun").await;
    let bad = told("bad", &late);
    bed.runtime().ensure(&a, &bad).await.expect("taken");
    let digest = Some(bad.files_digest());
    bed.until(&a, "taken", |state| state.files.applied == digest)
        .await;
    let state = bed
        .until(&a, "refused and back", |state| {
            state.files.refused.is_some() && state.ready
        })
        .await;
    let refused = state.files.refused.expect("refused");
    assert_eq!(refused.why, "exit status 9");
    assert_eq!(state.files.applied, Some(good.files_digest()));
    assert_eq!(bed.exec(&a, &format!("cat {PATH}")).await.0, "good");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_which_it_is_not_ready_any_more_are_put_back() {
    let Some(bed) = Bed::new().await else { return };
    let (good, bad) = (sickened("good", 3), sickened("bad", 3));
    let a = bed.run("a", &good).await;
    bed.logged(&a, "begun").await;
    bed.runtime().ensure(&a, &bad).await.expect("taken");
    let state = bed
        .until(&a, "refused", |state| state.files.refused.is_some())
        .await;
    let why = state.files.refused.expect("refused").why;
    assert!(why.starts_with("not ready any more: "), "{why}");
    let state = bed.until(&a, "ready again", |state| state.ready).await;
    assert_eq!(state.files.applied, Some(good.files_digest()));
    assert_eq!(state.restarts, 0, "put back in place");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_ready_with_new_files_does_not_seem_to_be() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &sickened("good", 0)).await;
    bed.logged(&a, "begun").await;
    let bad = sickened("bad", 0);
    bed.runtime().ensure(&a, &bad).await.expect("taken");
    bed.until(&a, "not ready", |state| {
        assert_eq!(state.files.refused, None, "it was never shown");
        !state.ready
    })
    .await;
    bed.finish().await;
}
