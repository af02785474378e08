//! What every container runtime keeps, tried on one: the simulated one always, the real one where the machine allows it.

use std::time::Duration;

use api::{Error, ErrorKind};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};

use super::{
    ContainerId, ContainerPhase, ContainerRuntime, ContainerSpec, ContainerState, ExecOutput,
    ExecRequest, LogOptions,
};

/// How long a runtime may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A configuration file of the containers that are tried.
pub const FILE: &str = "/etc/contract/file";

/// How the content of [`FILE`] begins that they must refuse.
pub const INVALID: &str = "invalid";

/// Tries all that a runtime promises, on one without containers. The spec must be of a container that becomes ready,
/// unless [`FILE`] begins with [`INVALID`], and must be runnable under any id. Its image must not be `layout:absent`,
/// which must not exist.
///
/// # Panics
///
/// If it does not keep a promise.
pub async fn check(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    assert_eq!(list(runtime).await, [], "it is empty at first");
    what_is_absent_is_no_error_to_find_or_remove(runtime).await;
    refuses_what_can_never_run(runtime, spec).await;
    runs_what_is_ensured(runtime, spec).await;
    refuses_another_spec_until_the_first_is_gone(runtime, spec).await;
    an_id_with_another_uid_is_another_container(runtime, spec).await;
    gives_new_files_in_place(runtime, spec).await;
    puts_refused_files_back(runtime, spec).await;
    tells_of_changes(runtime, spec).await;
    assert_eq!(list(runtime).await, [], "nothing is left");
}

async fn what_is_absent_is_no_error_to_find_or_remove(runtime: &impl ContainerRuntime) {
    let none = id("none", "1");
    assert_eq!(find(runtime, &none).await, None);
    runtime.remove(&none).await.expect("nothing to remove");
    let refused = runtime.logs(&none, LogOptions::default()).await;
    assert_eq!(kind(refused), Some(ErrorKind::NotFound));
    let refused = runtime.exec(&none, request()).await;
    assert_eq!(kind(refused), Some(ErrorKind::NotFound));
}

async fn refuses_what_can_never_run(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    runtime.check(spec).await.expect("it can run");
    let absent = ContainerSpec {
        image: "layout:absent".to_owned(),
        ..spec.clone()
    };
    let a = id("a", "1");
    for refused in [
        runtime.check(&absent).await,
        runtime.ensure(&a, &absent).await,
    ] {
        assert_eq!(kind(refused), Some(ErrorKind::NotFound));
        assert_eq!(list(runtime).await, [], "nothing was made");
    }
}

async fn runs_what_is_ensured(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    let (a, b) = (id("a", "1"), id("b", "1"));
    ensure(runtime, &b, spec).await;
    ensure(runtime, &a, spec).await;
    let state = ready(runtime, &a).await;
    assert!(matches!(state.phase, ContainerPhase::Running { .. }));
    assert_eq!(state.digest, spec.digest());
    assert_eq!(state.files.applied, Some(spec.files_digest()));
    assert_eq!((state.restarts, state.files.refused), (0, None));
    assert_eq!(list(runtime).await, [a.clone(), b.clone()], "in order");
    ensure(runtime, &a, spec).await;
    assert_eq!(
        ready(runtime, &a).await.phase,
        state.phase,
        "goes on as it was"
    );
    ends_with_a_status(runtime, &a).await;
    for id in [a, b] {
        remove(runtime, &id).await;
    }
}

async fn ends_with_a_status(runtime: &impl ContainerRuntime, id: &ContainerId) {
    let output = runtime.exec(id, request()).await.expect("it runs");
    let items: Vec<ExecOutput> = output.try_collect().await.expect("it is streamed");
    assert!(
        matches!(items.last(), Some(ExecOutput::Exit(_))),
        "a program's last word is its status: {items:?}"
    );
    let logs = runtime.logs(id, LogOptions::default()).await.expect("logs");
    let _: Vec<Bytes> = logs
        .try_collect()
        .await
        .expect("they end without following");
}

async fn refuses_another_spec_until_the_first_is_gone(
    runtime: &impl ContainerRuntime,
    spec: &ContainerSpec,
) {
    let a = id("a", "1");
    ensure(runtime, &a, spec).await;
    let mut other = spec.clone();
    other
        .environment
        .insert("CONTRACT".to_owned(), "other".to_owned());
    assert_ne!(spec.digest(), other.digest());
    assert_eq!(
        kind(runtime.ensure(&a, &other).await),
        Some(ErrorKind::Conflict)
    );
    remove(runtime, &a).await;
    ensure(runtime, &a, &other).await;
    assert_eq!(ready(runtime, &a).await.digest, other.digest());
    remove(runtime, &a).await;
}

async fn an_id_with_another_uid_is_another_container(
    runtime: &impl ContainerRuntime,
    spec: &ContainerSpec,
) {
    let (first, second) = (id("a", "1"), id("a", "2"));
    ensure(runtime, &first, spec).await;
    assert_eq!(find(runtime, &second).await, None);
    remove(runtime, &first).await;
    ensure(runtime, &second, spec).await;
    ready(runtime, &second).await;
    assert_eq!(find(runtime, &first).await, None);
    remove(runtime, &second).await;
}

async fn gives_new_files_in_place(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    let a = id("a", "1");
    ensure(runtime, &a, spec).await;
    ready(runtime, &a).await;
    let next = with_file(spec, "good");
    assert_eq!(spec.digest(), next.digest(), "files are not part of it");
    ensure(runtime, &a, &next).await;
    let applied = Some(next.files_digest());
    let state = until(runtime, &a, |state| {
        state.ready && state.files.applied == applied
    })
    .await;
    assert_eq!((state.restarts, state.files.refused), (0, None));
    remove(runtime, &a).await;
}

async fn puts_refused_files_back(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    let a = id("a", "1");
    let good = with_file(spec, "good");
    ensure(runtime, &a, &good).await;
    ready(runtime, &a).await;
    let bad = with_file(spec, INVALID);
    ensure(runtime, &a, &bad).await;
    let state = until(runtime, &a, |state| {
        state.ready && state.files.refused.is_some()
    })
    .await;
    assert_eq!(state.files.applied, Some(good.files_digest()));
    assert_eq!(state.files.given, bad.files_digest());
    let refused = state.files.refused.expect("refused");
    assert_eq!(refused.digest, bad.files_digest());
    assert!(!refused.why.is_empty(), "it is told why");
    ensure(runtime, &a, &good).await;
    let given = find(runtime, &a).await.expect("there").files.given;
    assert_eq!(given, good.files_digest(), "it is told at once");
    until(runtime, &a, |state| {
        state.ready && state.files.refused.is_none()
    })
    .await;
    remove(runtime, &a).await;
}

async fn tells_of_changes(runtime: &impl ContainerRuntime, spec: &ContainerSpec) {
    let a = id("a", "1");
    let mut hints = runtime.changes();
    ensure(runtime, &a, spec).await;
    ready(runtime, &a).await;
    let hint = timeout(LIMIT, hints.next()).await.expect("a hint comes");
    assert_eq!(hint, Some(a.clone()));
    remove(runtime, &a).await;
}

async fn list(runtime: &impl ContainerRuntime) -> Vec<ContainerId> {
    runtime.list().await.expect("listed")
}

async fn find(runtime: &impl ContainerRuntime, id: &ContainerId) -> Option<ContainerState> {
    runtime.find(id).await.expect("looked for")
}

async fn ensure(runtime: &impl ContainerRuntime, id: &ContainerId, spec: &ContainerSpec) {
    runtime.ensure(id, spec).await.expect("taken");
}

async fn ready(runtime: &impl ContainerRuntime, id: &ContainerId) -> ContainerState {
    until(runtime, id, |state| state.ready).await
}

async fn until(
    runtime: &impl ContainerRuntime,
    id: &ContainerId,
    good: impl Fn(&ContainerState) -> bool,
) -> ContainerState {
    let look = async {
        loop {
            match find(runtime, id).await {
                Some(state) if good(&state) => return state,
                _ => sleep(LOOK).await,
            }
        }
    };
    timeout(LIMIT, look).await.expect("it becomes so in time")
}

async fn remove(runtime: &impl ContainerRuntime, id: &ContainerId) {
    runtime.remove(id).await.expect("asked");
    runtime.remove(id).await.expect("asking twice is no error");
    let gone = async {
        while find(runtime, id).await.is_some() {
            sleep(LOOK).await;
        }
    };
    timeout(LIMIT, gone).await.expect("it is gone in time");
    assert!(!list(runtime).await.contains(id));
}

fn kind<T>(outcome: Result<T, Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind)
}

fn with_file(spec: &ContainerSpec, content: &str) -> ContainerSpec {
    let mut spec = spec.clone();
    let content = content.as_bytes().to_vec();
    spec.files.insert(FILE.to_owned(), content);
    spec
}

/// A program that most images have; where it is missing, its status says so.
fn request() -> ExecRequest {
    ExecRequest {
        command: vec!["true".to_owned()],
        stdin: stream::empty().boxed(),
    }
}

fn id(name: &str, uid: &str) -> ContainerId {
    ContainerId {
        namespace: "contract".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}
