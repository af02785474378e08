//! What stands in the log after requests, and what never does.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::*;
use crate::passage::Peer;
use crate::server::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn files(folder: &Path) -> Files {
    Files {
        path: folder.join("audit.log"),
        bytes_max: 1_000_000,
        backups_max: 2,
    }
}

/// A server that records as a policy says.
struct Place {
    folder: tempfile::TempDir,
    server: Server,
}

impl Place {
    fn new(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(policy, files(folder.path())).unwrap();
        let server = Server::builder().audit(audit).build().unwrap();
        Self { folder, server }
    }

    fn with(rules: &str) -> Self {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}");
        Self::new(Policy::parse(&text).unwrap())
    }

    async fn send(&self, who: &Identity, method: &str, path: &str, body: &str) -> Response<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("user-agent", "kubectl \"quoted\" {}")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        request
            .extensions_mut()
            .insert(Peer("192.0.2.7".parse().unwrap()));
        let (head, body) = self.server.serve(who, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(head, body)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Response<Bytes> {
        self.send(&Identity::admin("alice"), method, path, body)
            .await
    }

    /// Ends the server, and reads what it wrote; the chain must be whole.
    fn events(self) -> Vec<Value> {
        let path = self.folder.path().join("audit.log");
        drop(self.server);
        chain::verify(std::slice::from_ref(&path)).unwrap().unwrap();
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn map(name: &str) -> String {
    json!({"metadata": {"name": name, "managedFields": [{"manager": "m"}]}, "data": {"a": "b\nc"}})
        .to_string()
}

#[tokio::test]
async fn an_event_says_who_did_what_and_what_came_of_it() {
    let place = Place::with("- {level: Request}");
    let answer = place
        .ask("POST", &format!("{MAPS}?pretty=1"), &map("m"))
        .await;
    let events = place.events();
    let [received, complete] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(received["stage"], "RequestReceived");
    assert!(received.get("responseStatus").is_none());
    let id = answer.headers()["audit-id"].to_str().unwrap();
    assert_eq!(
        (&received["auditID"], &complete["auditID"]),
        (&json!(id), &json!(id))
    );
    let mut complete = complete.clone();
    for varying in [
        "auditID",
        "requestReceivedTimestamp",
        "stageTimestamp",
        "hash",
    ] {
        assert!(
            complete.as_object_mut().unwrap().remove(varying).is_some(),
            "{varying}"
        );
    }
    let object: Value = serde_json::from_str(&map("m")).unwrap();
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Request", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/configmaps?pretty=1", "verb": "create",
        "user": {"username": "alice", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl \"quoted\" {}",
        "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201}, "requestObject": object,
    });
    assert_eq!(complete, expected);
}

#[tokio::test]
async fn levels_say_how_much_is_recorded() {
    let cases = [
        ("None", None),
        ("Metadata", Some([false, false])),
        ("Request", Some([true, false])),
        ("RequestResponse", Some([true, true])),
    ];
    for (level, expected) in cases {
        let rule =
            format!("- {{level: {level}, omitStages: [RequestReceived], omitManagedFields: true}}");
        let place = Place::with(&rule);
        place.ask("POST", MAPS, &map("m")).await;
        let events = place.events();
        let bodies = ["requestObject", "responseObject"];
        let found = events
            .first()
            .map(|event| bodies.map(|body| event.get(body).is_some()));
        assert_eq!(found, expected, "{level}");
        for body in bodies {
            assert!(
                events
                    .iter()
                    .all(|event| event[body]["metadata"]["managedFields"].is_null())
            );
        }
    }
}

#[tokio::test]
async fn without_a_policy_writes_and_refusals_are_recorded_once() {
    let place = Place::new(Policy::standard());
    let host = Identity::host("mad-1");
    place.ask("GET", MAPS, "").await;
    place.ask("GET", "/version", "").await;
    place.ask("POST", MAPS, &map("m")).await;
    place.ask("POST", MAPS, &map("m")).await;
    place
        .send(&host, "GET", "/api/v1/namespaces/default/secrets/s", "")
        .await;
    place.ask("DELETE", &format!("{MAPS}/m"), "").await;
    place
        .ask("POST", "/apis/nothing.example/v1/things", "{}")
        .await;
    let events = place.events();
    let told = events.iter().map(|event| {
        let status = &event["responseStatus"];
        (
            event["verb"].clone(),
            status["code"].clone(),
            status["reason"].clone(),
        )
    });
    let expected = [
        (json!("create"), json!(201), Value::Null),
        (json!("create"), json!(409), json!("AlreadyExists")),
        // Of Secrets not even the message is there.
        (json!("get"), json!(403), Value::Null),
        (json!("delete"), json!(200), json!(null)),
        (json!("create"), json!(404), json!("NotFound")),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(events[1]["responseStatus"]["details"]["name"], "m");
}

#[tokio::test]
async fn what_is_secret_never_stands_in_the_log() {
    let place = Place::with("- {level: RequestResponse}");
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "hunter2"}}).to_string();
    place.ask("POST", secrets, &secret).await;
    place
        .ask(
            "POST",
            secrets,
            r#"{"metadata": {"name": "t"}, "type": {"hunter2": 1}}"#,
        )
        .await;
    place.ask("PUT", &format!("{secrets}/s"), "hunter2").await;
    place.ask("GET", secrets, "").await;
    place
        .ask("GET", &format!("{secrets}?watch=1&timeoutSeconds=1"), "")
        .await;
    let review = json!({"spec": {"token": "hunter2"}}).to_string();
    place
        .ask(
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            &review,
        )
        .await;
    let events = place.events();
    assert_eq!(events.len(), 13, "two for each, and three for the watch");
    let text = Value::from(events).to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
        "{text}"
    );
}

#[tokio::test]
async fn nothing_that_is_sent_makes_a_line_of_its_own() {
    let place = Place::with("- {level: Request}");
    let body =
        json!({"metadata": {"name": "m"}, "data": {"a": "x\n{\"kind\":\"Event\"}\n\u{2028}"}});
    place.ask("POST", MAPS, &format!("{body:#}")).await;
    place
        .ask(
            "POST",
            MAPS,
            &format!(r#"{{"annotations": {{"{NOTE_CUT}": "x"}}}}"#),
        )
        .await;
    place
        .ask("GET", "/api/v1/nodes/%0a%22,%22a%22:%22", "")
        .await;
    place.ask("GET", "/api/v1/nodes?watch=%22%7D", "").await;
    assert_eq!(place.events().len(), 8);
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_begins_and_when_it_ends() {
    let place = Place::with("- {level: Metadata}");
    place
        .ask("GET", &format!("{MAPS}?watch=1&timeoutSeconds=1"), "")
        .await;
    let events = place.events();
    let told = events.iter().map(|event| {
        (
            event["stage"].as_str().unwrap(),
            event["responseStatus"]["code"].clone(),
        )
    });
    let expected = [
        ("RequestReceived", Value::Null),
        ("ResponseStarted", json!(200)),
        ("ResponseComplete", json!(200)),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

/// A body that breaks the server, or never comes.
struct Bad(bool);

impl http_body::Body for Bad {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        assert!(!self.0, "broken by a test");
        Poll::Pending
    }
}

#[tokio::test]
async fn what_breaks_or_is_given_up_is_recorded() {
    let place = Place::with("- {level: Metadata, omitStages: [RequestReceived]}");
    let alice = Identity::admin("alice");
    let post = |bad| Request::post(MAPS).body(Bad(bad)).unwrap();
    let answer = place.server.serve(&alice, post(true)).await;
    assert_eq!(answer.status(), 500);
    assert!(futures::poll!(std::pin::pin!(place.server.serve(&alice, post(false)))).is_pending());
    let events = place.events();
    assert_eq!(events[0]["stage"], "Panic");
    assert_eq!(
        events[0]["responseStatus"]["message"],
        "APIServer panic'd: broken by a test"
    );
    assert_eq!(events[1]["stage"], "ResponseComplete");
    assert_eq!(
        events[1]["responseStatus"]["message"],
        "Connection closed early"
    );
}

#[tokio::test]
async fn an_event_that_is_too_large_loses_its_bodies() {
    let place = Place::with("- {level: RequestResponse, omitStages: [RequestReceived]}");
    let object = json!({"a": "x".repeat(EVENT_BYTES_MAX)});
    place.ask("POST", MAPS, &map("m")).await;
    let alice = Identity::admin("alice");
    let audit = place.server.audit().unwrap().clone();
    let (head, ()) = Request::post(MAPS).body(()).unwrap().into_parts();
    let about = About::of(&head);
    let decision = audit.decide(&alice, &about);
    let mut record = Record::new(
        &audit,
        place.server.clock(),
        decision,
        (&alice, &about, &head),
    );
    record.request(&Bytes::from(object.to_string()));
    let code = http::StatusCode::CREATED;
    record.complete(Responded { code, body: None }).await;
    drop(audit);
    let events = place.events();
    assert!(events[0]["requestObject"].is_object());
    assert!(events[1].get("requestObject").is_none());
    assert_eq!(events[1]["annotations"]["audit.k8s.io/truncated"], "true");
}

#[tokio::test]
async fn requests_wait_for_room_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(Policy::standard(), files(folder.path())).unwrap();
    let all = audit
        .0
        .room
        .clone()
        .acquire_many_owned(QUEUE_KIB_MAX)
        .await
        .unwrap();
    let mut waiting = Box::pin(audit.write("{}".to_owned()));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    drop(all);
    waiting.await;
    assert_eq!(audit.counts().events.load(Ordering::Relaxed), 1);
    drop(audit);
    let path = files(folder.path()).path;
    assert_eq!(chain::verify(&[path]).unwrap().unwrap().lines, 1);
}

#[test]
fn what_the_disk_does_not_take_is_counted_and_told_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = files(folder.path()).path;
    let log = Log::open(files(folder.path())).unwrap().0;
    let counts = Arc::new(Counts::default());
    let mut writer = Writer {
        log,
        clock: Arc::new(Timestamp::now),
        counts: counts.clone(),
        ids: Ids::random(),
        lost: 0,
    };
    let (_sender, none) = channel();
    let entry = || Entry {
        event: "{}".to_owned(),
        _room: None,
    };
    writer.lose(3, &std::io::Error::other("no space left"));
    writer.batch(entry(), &none);
    assert_eq!((writer.lost, counts.errors.load(Ordering::Relaxed)), (0, 3));
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.contains(r#""audit.groma.dev/lost":"at most 3 events""#),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_log_that_was_cut_says_so_when_it_is_opened_and_when_it_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = files(folder.path()).path;
    let write = |n: usize| {
        let audit = Audit::open(Policy::standard(), files(folder.path())).unwrap();
        (0..n).for_each(|_| audit.write_now(r#"{"a":1}"#.to_owned()));
    };
    write(3);
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"torn"))
        .unwrap();
    write(1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains(r#""audit.groma.dev/torn":"6 bytes""#),
        "{text}"
    );
    assert_eq!(
        chain::verify(std::slice::from_ref(&path))
            .unwrap()
            .unwrap()
            .lines,
        5
    );
    let (kept, _) = text.split_at(text.find('\n').unwrap() + 1);
    fs::write(&path, kept).unwrap();
    write(1);
    let broken = chain::verify(&[path]).unwrap().unwrap_err();
    assert_eq!(broken.line, 2);
    assert!(broken.why.contains("had been cut"), "{}", broken.why);
}
