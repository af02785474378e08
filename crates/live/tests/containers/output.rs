//! Logs across segments and runs, and programs run inside.

use adapter::{ContainerRuntime, ExecOutput, LogOptions};
use futures::StreamExt;

use crate::bed::{Bed, idle, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_every_byte_across_segments() {
    let Some(bed) = Bed::new().await else { return };
    // About 2.7 MiB: more than two segments, fewer than are kept.
    let lines = 400_000;
    let line = format!(
        "while [ ! -e /tmp/go ]; do sleep 0.02; done; seq 1 {lines}; echo end; exec sleep 1000"
    );
    let a = bed.run("a", &script(&line)).await;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut stream = bed.runtime().logs(&a, options).await.expect("logs");
    assert_eq!(bed.exec(&a, "touch /tmp/go").await.2, 0);
    let mut text = Vec::new();
    while !text.ends_with(b"end\n") {
        text.extend(stream.next().await.expect("goes on").expect("read"));
    }
    let seen: Vec<u32> = String::from_utf8(text)
        .expect("text")
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(
        seen.iter().copied().eq(1..=lines),
        "{} of {lines} lines",
        seen.len()
    );
    let last = LogOptions {
        tail_lines: Some(2),
        ..LogOptions::default()
    };
    assert_eq!(bed.logs_of(&a, last).await, format!("{lines}\nend\n"));
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_the_run_before_is_kept() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed
        .run(
            "a",
            &script("echo run $(date +%N); while [ ! -e /tmp/end ]; do sleep 0.02; done; exit 1"),
        )
        .await;
    let first = bed.logged(&a, "run").await;
    assert_eq!(bed.exec(&a, "touch /tmp/end").await.2, 0);
    bed.until(&a, "restarted", |state| state.restarts == 1 && state.ready)
        .await;
    let previous = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    assert_eq!(bed.logs_of(&a, previous).await, first);
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_have_their_streams_and_status() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &idle()).await;
    let line = "cat; echo problem >&2; exit 42";
    let seen = bed
        .exec_with(&a, &["/bin/sh", "-c", line], "question")
        .await;
    assert_eq!(seen, ("question".to_owned(), "problem".to_owned(), 42));
    assert_eq!(bed.exec(&a, "kill -9 $$").await.2, 128 + 9);
    let (_, said, status) = bed.exec_with(&a, &["/bin/none"], "").await;
    assert_eq!((status, said.as_str()), (127, "/bin/none: not found"));
    assert_eq!(bed.exec(&a, "echo $OF_IMAGE; hostname").await.0, "yes\na");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_its_listener_and_with_its_container() {
    let Some(bed) = Bed::new().await else { return };
    let a = bed.run("a", &idle()).await;
    let request = adapter::ExecRequest {
        command: ["/bin/sh", "-c", "echo here; exec sleep 5000"]
            .map(str::to_owned)
            .to_vec(),
        stdin: futures::stream::pending().boxed(),
    };
    let mut output = bed.runtime().exec(&a, request).await.expect("started");
    output.next().await.expect("it began").expect("streamed");
    drop(output);
    let sleeping = "grep -l 50[0]0 /proc/[0-9]*/cmdline 2>/dev/null";
    while !bed.exec(&a, sleeping).await.0.is_empty() {
        tokio::task::yield_now().await;
    }
    let request = adapter::ExecRequest {
        command: ["/bin/sh", "-c", "echo here; exec sleep 6000"]
            .map(str::to_owned)
            .to_vec(),
        stdin: futures::stream::pending().boxed(),
    };
    let output = bed.runtime().exec(&a, request).await.expect("started");
    let mut output = output.map(|item| item.expect("streamed"));
    output.next().await.expect("it began");
    bed.remove(&a).await;
    assert_eq!(output.next().await, Some(ExecOutput::Exit(128 + 9)));
    bed.finish().await;
}
