//! How a container starts and goes, and what it is and cannot do.

use adapter::{ContainerPhase, ContainerRuntime};
use api::wdm::WritablePath;
use api::{ErrorKind, Quantity};
use live::Skip;

use crate::bed::{Bed, id, idle, script};
use crate::image;

#[tokio::test(flavor = "multi_thread")]
async fn starts_is_found_logs_and_is_removed() {
    let Some(bed) = Bed::new().await else { return };
    let id = bed.run("a", &script("echo hello; exec sleep 1000")).await;
    let state = bed.state(&id).await.expect("there");
    assert!(matches!(state.phase, ContainerPhase::Running { .. }));
    assert_eq!(state.restarts, 0);
    assert!(
        state
            .image_digest
            .is_some_and(|digest| digest.starts_with("sha256:"))
    );
    assert_eq!(
        bed.runtime().list().await.expect("listed"),
        std::slice::from_ref(&id)
    );
    bed.logged(&id, "hello\n").await;
    bed.remove(&id).await;
    assert_eq!(bed.runtime().list().await.expect("listed"), []);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_no_error_to_remove() {
    let Some(bed) = Bed::new().await else { return };
    assert_eq!(bed.state(&id("none")).await, None);
    bed.remove(&id("none")).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spec_is_a_conflict_until_the_first_is_gone() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &idle()).await;
    bed.runtime()
        .ensure(&a, &idle())
        .await
        .expect("the same again is nothing new");
    let refused = bed.runtime().ensure(&a, &script("exec sleep 7")).await;
    assert_eq!(refused.expect_err("another spec").kind, ErrorKind::Conflict);
    let later = adapter::ContainerId {
        uid: "another".to_owned(),
        ..a.clone()
    };
    let refused = bed.runtime().ensure(&later, &idle()).await;
    assert_eq!(
        refused.expect_err("its interfaces are taken").kind,
        ErrorKind::Conflict
    );
    bed.remove(&a).await;
    bed.run("a", &script("exec sleep 7")).await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_at_once() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.image = "layout:none".to_owned();
    let refused = bed
        .runtime()
        .ensure(&id("a"), &spec)
        .await
        .expect_err("no image");
    assert_eq!(refused.kind, ErrorKind::NotFound);
    let mut spec = idle();
    spec.execution.capabilities = vec!["CAP_SYS_ADMIN".to_owned()];
    let refused = bed
        .runtime()
        .ensure(&id("a"), &spec)
        .await
        .expect_err("no such right");
    assert_eq!(refused.kind, ErrorKind::Invalid);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_declared_can_be_written() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.execution.writable = vec![WritablePath {
        path: "/var/cache/web".to_owned(),
        size: Quantity::whole(1 << 20),
    }];
    let a = bed.run("a", &spec).await;
    for path in [
        "/x",
        "/bin/x",
        "/etc/passwd",
        "/proc/sys/kernel/hostname",
        "/sys/x",
    ] {
        let (_, said, status) = bed.exec(&a, &format!("echo x > {path}")).await;
        assert_ne!(status, 0, "{path} was written: {said}");
    }
    for path in ["/tmp/x", "/run/x", "/var/cache/web/x"] {
        assert_eq!(
            bed.exec(&a, &format!("echo x > {path}")).await.2,
            0,
            "{path}"
        );
    }
    let (_, said, status) = bed
        .exec(&a, "dd if=/dev/zero of=/var/cache/web/big bs=64k count=64")
        .await;
    assert_ne!(status, 0, "more than its size: {said}");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_containers_share_an_image_and_nothing_else() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &idle()).await;
    let b = bed.run("b", &idle()).await;
    assert_eq!(bed.exec(&a, "echo mine > /tmp/x").await.2, 0);
    assert_ne!(bed.exec(&b, "cat /tmp/x").await.2, 0);
    let roots = std::fs::read_dir(bed.place.path().join("state/roots")).expect("listed");
    assert_eq!(roots.count(), 1, "unpacked once");
    bed.remove(&a).await;
    assert_eq!(bed.exec(&b, "true").await.2, 0, "the other goes on");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_filter_and_new_privileges_are_taken_from_process_and_exec_alike() {
    let Some(bed) = Bed::new().await else { return };
    let show = "grep -E '^(CapEff|CapBnd|CapPrm|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status";
    let mut spec = script(&format!("{show}; echo end; exec sleep 1000"));
    spec.execution.capabilities = vec!["CAP_NET_ADMIN".to_owned(), "CAP_KILL".to_owned()];
    let a = bed.run("a", &spec).await;
    let logs = bed.logged(&a, "end").await;
    let (said, _, _) = bed.exec(&a, show).await;
    // CAP_KILL is 5, CAP_NET_ADMIN is 12.
    for seen in [logs, said] {
        let lines: Vec<String> = seen.lines().map(|line| line.replace('\t', " ")).collect();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = format!("{set}: 0000000000001020");
            assert!(lines.contains(&line), "{set}: {seen}");
        }
        assert!(lines.contains(&"NoNewPrivs: 1".to_owned()), "{seen}");
        assert!(lines.contains(&"Seccomp: 2".to_owned()), "{seen}");
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_calls_fail_in_process_and_exec_alike() {
    let Some(bed) = Bed::new().await else { return };
    // `unshare -U` needs no capability: only the filter stops it.
    let line = "unshare -U true; echo status $?";
    let a = bed
        .run("a", &script(&format!("{line}; exec sleep 1000")))
        .await;
    let logs = bed.logged(&a, "status").await;
    let (out, err, _) = bed.exec(&a, line).await;
    for seen in [logs, format!("{out} {err}")] {
        assert!(seen.contains("status 1"), "{seen}");
        assert!(seen.contains("Operation not permitted"), "{seen}");
    }
    let (_, said, status) = bed.exec(&a, "mount -t tmpfs none /tmp").await;
    assert_ne!(status, 0, "{said}");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_image_runs_process_and_exec_with_its_capabilities() {
    let Some(bed) = Bed::new().await else { return };
    let wish = image::Wish {
        user: "web",
        ..image::Wish::default()
    };
    image::write(&bed.place.path().join("images"), "other", &wish);
    let show =
        "id -u; id -g; id -G; grep CapEff /proc/self/status; touch /tmp/x /run/x && echo written";
    let mut spec = script(&format!("{show}; exec sleep 1000"));
    spec.image = "layout:other".to_owned();
    spec.execution.capabilities = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    let a = bed.run("a", &spec).await;
    let logs = bed.logged(&a, "written").await;
    let (said, _, _) = bed.exec(&a, show).await;
    for seen in [logs, said] {
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..3], ["1234", "1235", "1235 77"], "{seen}");
        assert!(lines[3].ends_with("0000000000000400"), "{seen}");
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_host_name_are_set() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = script("hostname; env; echo end; exec sleep 1000");
    spec.environment = [("MODE".to_owned(), "fast".to_owned())].into();
    let a = bed.run("web-0", &spec).await;
    let logs = bed.logged(&a, "end").await;
    for line in ["web-0", "MODE=fast", "OF_IMAGE=yes", "PATH=/bin"] {
        assert!(logs.lines().any(|seen| seen == line), "{line}: {logs}");
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_write_as_much_as_it_reads() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &idle()).await;
    let input = "0123456789abcde\n".repeat(1 << 16);
    let (output, _, status) = bed.exec_with(&a, &["/bin/cat"], &input).await;
    assert_eq!((output.as_str(), status), (input.trim(), 0));
    bed.finish().await;
}

/// Asks for sockets that reach past the container's network, by a family and by one with bits that the kernel ignores.
const FAMILIES: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    long forbidden[] = {40, 0x100000028L};
    for (int i = 0; i < 2; i++)
        if (syscall(SYS_socket, forbidden[i], 1L, 0L) >= 0 || errno != EPERM)
            return printf("%lx: %d\n", forbidden[i], errno), 1;
    if (syscall(SYS_socket, 10L, 1L, 0L) < 0)
        return puts("no socket at all"), 2;
    return puts("refused"), 0;
}
"#;

/// The program, which needs no library; or why it cannot be made.
fn families() -> Result<Vec<u8>, Skip> {
    let place = tempfile::tempdir().expect("a folder");
    let (source, program) = (place.path().join("a.c"), place.path().join("a"));
    std::fs::write(&source, FAMILIES).expect("written");
    let compiled = std::process::Command::new("cc")
        .args(["-static", "-o"])
        .args([&program, &source])
        .output();
    match compiled {
        Ok(done) if done.status.success() => Ok(std::fs::read(program).expect("made")),
        Ok(done) => Err(Skip::because(format!(
            "cc -static fails: {}",
            String::from_utf8_lossy(&done.stderr)
        ))),
        Err(error) => Err(Skip::because(format!("cc cannot be run: {error}"))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_past_the_network_is_refused_in_process_and_exec_alike() {
    let Some(bed) = Bed::new().await else { return };
    let program = match families() {
        Ok(program) => program,
        Err(skip) => return skip.report(),
    };
    let wish = image::Wish {
        program: Some(program),
        ..image::Wish::default()
    };
    image::write(&bed.place.path().join("images"), "other", &wish);
    let mut spec = script("/bin/program; exec sleep 1000");
    spec.image = "layout:other".to_owned();
    let a = bed.run("a", &spec).await;
    bed.logged(&a, "\n").await;
    assert_eq!(bed.logs(&a).await, "refused\n");
    assert_eq!(bed.exec(&a, "/bin/program").await.0, "refused");
    bed.finish().await;
}
