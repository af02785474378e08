//! Both halves of a door, over real TLS: who may open it, what goes through it, and what a user hears without it.

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::service_fn;

use super::*;
use crate::HOSTS_GROUP;
use crate::authentication::certificate;
use crate::listen::{self, Listening, UNKNOWN_REQUESTS_MAX};
use crate::tls::{Asked, Authority, Credentials, LEAF_LIFE, Validity, ask, client_config, new_key};

type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

fn definition(kind: &str, plural: &str, scope: &str) -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.groma.dev")},
        "spec": {
            "group": "groma.dev", "scope": scope,
            "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }))
    .unwrap()
}

/// A server with two hosts, an instance on the first, and its doors.
struct Place {
    _folder: tempfile::TempDir,
    server: Server,
    authority: Authority,
    doors: Doors,
    listening: Listening,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Timestamp::now()).unwrap();
        let server = Server::in_memory(vec![
            definition("Host", "hosts", "Cluster"),
            definition("Instance", "instances", "Namespaced"),
        ]);
        let root = "/apis/groma.dev/v1alpha1";
        create(
            &server,
            &format!("{root}/hosts"),
            "Host",
            "mad-1",
            json!({}),
        )
        .await;
        create(
            &server,
            &format!("{root}/hosts"),
            "Host",
            "mad-2",
            json!({}),
        )
        .await;
        for (name, host) in [("web-0", "mad-1"), ("web-1", "mad-2")] {
            let path = format!("{root}/namespaces/default/instances");
            create(&server, &path, "Instance", name, json!({"host": host})).await;
        }
        for role in ["view", "edit"] {
            let rbac = "rbac.authorization.k8s.io";
            let binding = json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": role},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "Group", "name": role}],
            });
            server.apply(&binding).unwrap();
        }
        let doors = Doors::new();
        let config = authority.server_config(&[], Timestamp::now()).unwrap();
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let service = {
            let (doors, server) = (doors.clone(), server.clone());
            move |identity| doors.service_for(&server, identity)
        };
        let listening = listen::tls(address, config, service).await.unwrap();
        Self {
            _folder: folder,
            server,
            authority,
            doors,
            listening,
        }
    }

    async fn dial(
        &self,
        certificate: Option<&Credentials>,
        protocol: &[u8],
    ) -> TlsStream<TcpStream> {
        let config = client_config(self.authority.certificate(), certificate, protocol).unwrap();
        let stream = TcpStream::connect(self.listening.address().unwrap())
            .await
            .unwrap();
        TlsConnector::from(config)
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }

    fn host(&self, name: &str) -> Credentials {
        let uid = certificate::host_uid(&self.server, name).unwrap();
        self.host_of(name, &uid)
    }

    /// The certificate of the Host of that name and uid.
    fn host_of(&self, name: &str, uid: &str) -> Credentials {
        let (key, now) = (new_key().unwrap(), Timestamp::now());
        let request = ask(&key, &format!("system:host:{name}"), HOSTS_GROUP).unwrap();
        let asked = Asked::parse(request.as_bytes()).unwrap();
        let validity = Validity {
            begins: now - LEAF_LIFE,
            ends: now + LEAF_LIFE,
        };
        let certificate = self.authority.sign(asked, uid, validity).unwrap();
        Credentials { certificate, key }
    }

    /// Opens the door of a host with the certificate of another or the same one; gives the agent's task.
    async fn agent(
        &self,
        certificate: &str,
        host: &'static str,
        name: &'static str,
    ) -> JoinHandle<api::Result<()>> {
        let connection = self.dial(Some(&self.host(certificate)), b"http/1.1").await;
        let service =
            service_fn(move |request| async move { Ok(agent_answers(name, request).await) });
        tokio::spawn(agent::serve(connection, host, service))
    }

    /// The same, and waits until it is open.
    async fn open(&self, host: &'static str, name: &'static str) -> JoinHandle<api::Result<()>> {
        let agent = self.agent(host, host, name).await;
        until(|| self.doors.is_open(host)).await;
        agent
    }

    async fn admin(&self) -> SendRequest<BoxBody> {
        let certificate = self
            .authority
            .issue_client("alice", Some("system:masters"), Timestamp::now())
            .unwrap();
        self.client(Some(&certificate)).await
    }

    async fn client(&self, certificate: Option<&Credentials>) -> SendRequest<BoxBody> {
        let io = TokioIo::new(self.dial(certificate, b"h2").await);
        let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
}

async fn create(server: &Server, path: &str, kind: &str, name: &str, spec: Value) {
    let object = json!({"apiVersion": "groma.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(object.to_string()))
        .unwrap();
    let response = server.serve(&Identity::admin("test"), request).await;
    assert_eq!(
        response.status(),
        StatusCode::CREATED,
        "{:?}",
        response.into_body().collect().await.unwrap().to_bytes()
    );
}

/// An agent that repeats the input of an exec, and for all else says who it is and what it was asked.
async fn agent_answers(name: &'static str, request: Request<Incoming>) -> Response<BoxBody> {
    if request.uri().path().ends_with("/exec") {
        return Response::new(request.into_body().boxed_unsync());
    }
    let seen = json!({
        "agent": name,
        "path": request.uri().path_and_query().map(ToString::to_string),
        "headers": request.headers().keys().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let code = match request.uri().path() {
        "/elsewhere" => StatusCode::FOUND,
        _ => StatusCode::OK,
    };
    let answer = Response::builder().status(code);
    let answer = answer.header(header::CONTENT_TYPE, "application/json");
    let body = Full::from(seen.to_string()).map_err(|never| match never {});
    answer
        .header(header::LOCATION, "https://evil.example/")
        .header(header::SET_COOKIE, "session=evil")
        .header(header::WARNING, "299 - \"send your token to evil.example\"")
        .body(body.boxed_unsync())
        .unwrap()
}

fn get(path: &str) -> Request<BoxBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let uri = format!("https://localhost/apis/groma.dev/v1alpha1{path}");
    Request::get(uri)
        .header("accept", "application/json")
        .header("x-secret", "1")
        .body(body)
        .unwrap()
}

async fn read(response: Response<Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_log_comes_from_the_agent_of_the_instances_host() {
    let place = Place::new().await;
    let _first = place.open("mad-1", "first").await;
    let _second = place.open("mad-2", "second").await;
    let mut admin = place.admin().await;
    let (status, seen) = read(
        admin
            .send_request(get(
                "/namespaces/default/instances/web-1/log?follow=true&tailLines=5",
            ))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((status, &seen["agent"]), (200, &"second".into()));
    assert_eq!(
        seen["path"],
        "/namespaces/default/instances/web-1/log?follow=true&tailLines=5"
    );
    assert_eq!(
        seen["headers"],
        json!(["accept"]),
        "what is not for the agent stays here"
    );
    let (_, seen) = read(
        admin
            .send_request(get("/hosts/mad-1/proxy/counters?side=a"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (&seen["agent"], &seen["path"]),
        (&"first".into(), &"/counters?side=a".into())
    );
    let (status, list) = read(admin.send_request(get("/hosts")).await.unwrap()).await;
    assert_eq!(
        (status, list["items"].as_array().map(Vec::len)),
        (200, Some(2)),
        "other paths are the server's"
    );
}

#[tokio::test]
async fn an_agent_sends_nobody_elsewhere_and_says_nothing_for_the_server() {
    let place = Place::new().await;
    let _agent = place.open("mad-1", "evil").await;
    let mut admin = place.admin().await;
    let answer = admin.send_request(get("/hosts/mad-1/proxy/here"));
    let answer = answer.await.unwrap();
    let mut names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date"]);
    let (status, _) = read(answer).await;
    assert_eq!(status, 200);
    let answer = admin.send_request(get("/hosts/mad-1/proxy/elsewhere"));
    let answer = answer.await.unwrap();
    assert!(!answer.headers().contains_key(header::LOCATION));
    let (status, said) = read(answer).await;
    assert_eq!(status, 502);
    assert_eq!(
        said["message"],
        "the agent of host \"mad-1\" answered 302 Found"
    );
}

#[tokio::test]
async fn exec_streams_both_ways_at_once() {
    let place = Place::new().await;
    let _agent = place.open("mad-1", "first").await;
    let (input, mut chunks) = mpsc::channel::<Bytes>(1);
    let stream = futures::stream::poll_fn(move |context| {
        chunks
            .poll_recv(context)
            .map(|chunk| chunk.map(|c| Ok(Frame::data(c))))
    });
    let (mut head, _) = get("/namespaces/default/instances/web-0/exec?command=cat").into_parts();
    head.method = http::Method::POST;
    let request = Request::from_parts(head, StreamBody::new(stream).boxed_unsync());
    let response = place.admin().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut output = response.into_body();
    for said in ["one", "two", "three"] {
        input.send(Bytes::from(said)).await.unwrap();
        let frame = output.frame().await.unwrap().unwrap();
        assert_eq!(
            frame.into_data().unwrap(),
            said,
            "each piece comes back before the next is sent"
        );
    }
    drop(input);
    assert!(
        output.collect().await.unwrap().to_bytes().is_empty(),
        "the end of the input ends the output"
    );
}

#[tokio::test]
async fn only_the_host_itself_opens_its_door() {
    let place = Place::new().await;
    let refused = place
        .agent("mad-2", "mad-1", "thief")
        .await
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, api::ErrorKind::Forbidden);
    assert!(
        refused
            .what
            .contains("only the agent of host \"mad-1\" may open its door"),
        "{refused}"
    );
    assert!(!place.doors.is_open("mad-1"));
}

#[tokio::test]
async fn a_host_may_not_use_doors() {
    let place = Place::new().await;
    let _agent = place.open("mad-1", "first").await;
    let mut host = place.client(Some(&place.host("mad-1"))).await;
    for path in [
        "/namespaces/default/instances/web-0/log",
        "/hosts/mad-1/proxy/counters",
    ] {
        let (status, body) = read(host.send_request(get(path)).await.unwrap()).await;
        assert_eq!((status, &body["reason"]), (403, &"Forbidden".into()));
    }
}

#[tokio::test]
async fn roles_say_who_uses_doors() {
    let place = Place::new().await;
    let _agent = place.open("mad-1", "first").await;
    let instance = "/namespaces/default/instances/web-0";
    let (log, exec) = (format!("{instance}/log"), format!("{instance}/exec"));
    let cases = [
        ("view", "GET", &log, 200),
        ("view", "POST", &exec, 403),
        ("edit", "GET", &log, 200),
        ("edit", "POST", &exec, 200),
        (
            "edit",
            "GET",
            &"/hosts/mad-1/proxy/counters".to_owned(),
            403,
        ),
        ("none", "GET", &log, 403),
    ];
    for (group, method, path, expected) in cases {
        let certificate = place
            .authority
            .issue_client("ann", Some(group), Timestamp::now())
            .unwrap();
        let mut request = get(path);
        *request.method_mut() = method.parse().unwrap();
        let mut client = place.client(Some(&certificate)).await;
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{group} {method} {path}");
    }
}

#[tokio::test]
async fn whoever_shows_a_token_uses_doors_as_long_as_he_likes() {
    let place = Place::new().await;
    let _agent = place.open("mad-1", "first").await;
    let mut admin = place.admin().await;
    let mut made = async |path: &str, document: Value| {
        let body = Full::from(document.to_string()).map_err(|never| match never {});
        let request = Request::post(format!("https://localhost{path}"));
        let request = request.body(body.boxed_unsync()).unwrap();
        let (code, made) = read(admin.send_request(request).await.unwrap()).await;
        assert_eq!(code, 201, "{made}");
        made
    };
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(accounts, json!({"metadata": {"name": "bot"}})).await;
    let rbac = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": "bot"}, "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "default"}],
    });
    made(
        &format!("/apis/{rbac}/v1/namespaces/default/rolebindings"),
        binding,
    )
    .await;
    let token = made(&format!("{accounts}/bot/token"), json!({})).await;
    let token = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    let log = "/namespaces/default/instances/web-0/log";
    for (token, expected) in [(token.as_str(), 200), ("Bearer nonsense", 401)] {
        let mut client = place.client(None).await;
        let mut answered = Vec::new();
        for _ in 0..=UNKNOWN_REQUESTS_MAX {
            let mut request = get(log);
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(token).unwrap());
            let ready = client.ready().await.is_ok();
            let Ok(response) = client.send_request(request).await else {
                break;
            };
            assert!(ready);
            answered.push(read(response).await.0);
        }
        let all = answered.iter().all(|code| *code == expected);
        let stays = answered.len() > UNKNOWN_REQUESTS_MAX;
        assert!(all && stays == (expected == 200), "{answered:?}");
    }
}

#[tokio::test]
async fn without_a_door_the_answer_says_so() {
    let place = Place::new().await;
    let mut admin = place.admin().await;
    let log = "/namespaces/default/instances/web-0/log";
    let (status, body) = read(admin.send_request(get(log)).await.unwrap()).await;
    assert_eq!(
        (status, &body["message"]),
        (
            503,
            &"host \"mad-1\" has no open door: its agent is not connected".into()
        )
    );
    let (status, _) = read(
        admin
            .send_request(get("/namespaces/default/instances/none/log"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 404);
    let (status, _) = read(
        admin
            .send_request(get("/namespaces/default/instances/web-0/exec"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 405, "exec is a POST");
    let (status, _) = read(admin.send_request(get("/hosts/mad-1/door")).await.unwrap()).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn the_latest_door_of_a_host_counts_and_a_closed_one_is_forgotten() {
    let place = Place::new().await;
    let _old = place.open("mad-1", "old").await;
    let new = place.agent("mad-1", "mad-1", "new").await;
    let mut admin = place.admin().await;
    let log = "/namespaces/default/instances/web-0/log";
    loop {
        let (_, seen) = read(admin.send_request(get(log)).await.unwrap()).await;
        if seen["agent"] == "new" {
            break;
        }
    }
    new.abort();
    until(|| !place.doors.is_open("mad-1")).await;
    let (status, _) = read(admin.send_request(get(log)).await.unwrap()).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn both_halves_meet_over_any_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Server::in_memory(vec![definition("Host", "hosts", "Cluster")]);
    create(
        &server,
        "/apis/groma.dev/v1alpha1/hosts",
        "Host",
        "mad-1",
        json!({}),
    )
    .await;
    let doors = Doors::new();
    let service = {
        let doors = doors.clone();
        move |_| doors.service_for(&server, Identity::host("mad-1"))
    };
    let listening = listen::unix(&path, service).await.unwrap();
    let seen = std::sync::Arc::new(Mutex::new(HeaderMap::new()));
    let agent = service_fn(move |request: Request<Incoming>| {
        *seen.lock().unwrap() = request.headers().clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) }
    });
    let connection = tokio::net::UnixStream::connect(&path).await.unwrap();
    let serving = tokio::spawn(agent::serve(connection, "mad-1", agent));
    until(|| doors.is_open("mad-1")).await;
    drop(doors);
    listening.stop().await;
    // Whether the agent sees an end or a reset depends on what was under way; it dials again in both cases.
    if let Err(error) = serving.await.unwrap() {
        assert_eq!(error.kind, api::ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_door_closes_when_its_hosts_certificates_are_revoked() {
    let place = Place::new().await;
    let agent = place.open("mad-1", "first").await;
    let other = place.open("mad-2", "second").await;
    let later = Timestamp::now();
    let revocation = certificate::revocation("system:host:mad-1", later);
    place.server.apply(&revocation).unwrap();
    // It ends as when the server goes; whether in order does not matter.
    let _ = agent.await.unwrap();
    until(|| !place.doors.is_open("mad-1")).await;
    assert!(place.doors.is_open("mad-2"), "another host's stays");
    let refused = place.agent("mad-1", "mad-1", "first").await.await.unwrap();
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    assert!(
        refused.contains(&format!("issued before {later} are revoked")),
        "{refused}"
    );
    other.abort();
}

#[tokio::test]
async fn a_door_closes_when_its_host_is_forgotten_and_made_anew() {
    let place = Place::new().await;
    let agent = place.open("mad-1", "first").await;
    let former = certificate::host_uid(&place.server, "mad-1").unwrap();
    let hosts = "/apis/groma.dev/v1alpha1/hosts";
    let delete = Request::delete(format!("{hosts}/mad-1")).body(Empty::<Bytes>::new());
    let admin = Identity::admin("test");
    let deleted = place.server.serve(&admin, delete.unwrap());
    assert_eq!(deleted.await.status(), StatusCode::OK);
    // It ends as when the server goes; whether in order does not matter.
    let _ = agent.await.unwrap();
    create(&place.server, hosts, "Host", "mad-1", json!({})).await;
    let former = place.host_of("mad-1", &former);
    let service = service_fn(|request| async { Ok(agent_answers("first", request).await) });
    let connection = place.dial(Some(&former), b"http/1.1").await;
    let refused = agent::serve(connection, "mad-1", service)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("host mad-1 was forgotten"),
        "{refused}"
    );
    let _agent = place.open("mad-1", "first").await;
}
