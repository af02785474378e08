//! What a container is given, and what it cannot do.

use adapter::{ContainerPhase, ContainerRuntime};

use crate::bed::{Bed, id, idle, script};

#[tokio::test(flavor = "multi_thread")]
async fn starts_is_found_logs_and_is_removed() {
    let Some(bed) = Bed::new().await else { return };
    let id = bed.run("a", &script("echo hello; exec sleep 1000")).await;
    let state = bed.state(&id).await.expect("there");
    assert!(matches!(state.phase, ContainerPhase::Running { .. }));
    assert_eq!(state.restarts, 0);
    assert!(state.image_digest.is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(bed.runtime().list().await.expect("listed"), [id.clone()]);
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
    let _ = idle();
    bed.finish().await;
}
