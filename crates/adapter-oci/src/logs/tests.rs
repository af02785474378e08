//! Logs: rotation, reading from the end, and following.

use futures::{FutureExt, StreamExt, TryStreamExt};
use tempfile::TempDir;

use super::*;

fn place(files: &[((u64, u64), &str)]) -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    for ((run, segment), content) in files {
        fs::write(place.path().join(segment_name(*run, *segment)), content).expect("written");
    }
    place
}

async fn read(place: &TempDir, options: LogOptions) -> String {
    let stream = stream(place.path().to_owned(), options).expect("opened");
    let chunks: Vec<Bytes> = stream.try_collect().await.expect("read");
    String::from_utf8(chunks.concat()).expect("text")
}

fn tail(lines: u32) -> LogOptions {
    LogOptions {
        tail_lines: Some(lines),
        ..LogOptions::default()
    }
}

#[tokio::test]
async fn segments_of_the_last_run_follow_each_other() {
    let place = place(&[
        ((3, 0), "old\n"),
        ((7, 9), "b\n"),
        ((7, 10), "c\n"),
        ((7, 8), "a\n"),
    ]);
    assert_eq!(read(&place, LogOptions::default()).await, "a\nb\nc\n");
    let previous = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    assert_eq!(read(&place, previous).await, "old\n");
}

#[tokio::test]
async fn the_last_lines_are_found_across_segments() {
    let place = place(&[((1, 0), "1\n2\n"), ((1, 1), "3\n"), ((1, 2), "4\n5")]);
    for (lines, expected) in [
        (0, ""),
        (1, "5"),
        (2, "4\n5"),
        (3, "3\n4\n5"),
        (4, "2\n3\n4\n5"),
        (9, "1\n2\n3\n4\n5"),
    ] {
        assert_eq!(read(&place, tail(lines)).await, expected, "{lines}");
    }
    fs::write(place.path().join(segment_name(1, 3)), "\n6\n").expect("written");
    assert_eq!(read(&place, tail(2)).await, "5\n6\n");
}

#[tokio::test]
async fn a_container_that_wrote_nothing_has_no_logs() {
    let place = place(&[]);
    assert_eq!(read(&place, LogOptions::default()).await, "");
    assert_eq!(read(&place, tail(3)).await, "");
}

#[tokio::test]
async fn a_follower_goes_on_into_new_segments_and_runs() {
    let place = place(&[((1, 0), "a")]);
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut stream = stream(place.path().to_owned(), options).expect("opened");
    assert_eq!(stream.next().await.expect("more").expect("read"), "a");
    assert!(stream.next().now_or_never().is_none(), "nothing yet");
    for (position, content) in [((1, 1), "b"), ((4, 0), "c")] {
        fs::write(
            place.path().join(segment_name(position.0, position.1)),
            content,
        )
        .expect("written");
        assert_eq!(stream.next().await.expect("more").expect("read"), content);
    }
    place.close().expect("removed");
    assert!(stream.next().await.is_none(), "ends with its container");
}
