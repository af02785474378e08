//! Who may come in by which door, in which protocol, and how a door closes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower::service_fn;

use super::connection::{HEAD_BYTES_MAX, HEAD_PATIENCE, HEADERS_MAX};
use super::*;
use crate::tls::{Authority, Credentials, Validity, client_config};

/// Answers with who asks and the protocol.
fn mirror(identity: Identity) -> impl Service {
    service_fn(move |request: Request<Incoming>| {
        let text = format!(
            "{} {:?} {:?}",
            identity.name,
            identity.groups,
            request.version()
        );
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text))) }
    })
}

struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Timestamp::now()).unwrap();
        Self { folder, authority }
    }

    async fn tls(&self) -> Listening {
        let config = self.authority.server_config(&[], Timestamp::now()).unwrap();
        tls("127.0.0.1:0".parse().unwrap(), config, mirror)
            .await
            .unwrap()
    }

    fn client(&self) -> Credentials {
        self.authority
            .issue_client("alice", Some("system:masters"), Timestamp::now())
            .unwrap()
    }

    async fn dial(
        &self,
        door: &Listening,
        identity: Option<&Credentials>,
        protocol: &[u8],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let config = client_config(self.authority.certificate(), identity, protocol).unwrap();
        let stream = TcpStream::connect(door.address().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap()
    }
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("/version")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> (StatusCode, String) {
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = text(client.send_request(request).await.unwrap()).await;
    connection.abort();
    answer
}

#[tokio::test]
async fn the_unix_socket_knows_its_owner() {
    let place = Place::new();
    let path = place.folder.path().join("socket");
    let door = unix(&path, mirror).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let answer = ask_http1(UnixStream::connect(&path).await.unwrap(), get()).await;
    assert_eq!(
        answer,
        (
            StatusCode::OK,
            "system:owner [\"system:masters\", \"system:authenticated\"] HTTP/1.1".to_owned()
        )
    );
    assert!(
        unix(&path, mirror).await.is_err(),
        "a living server keeps its socket"
    );
    door.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_left_by_a_killed_server_is_taken_over() {
    let place = Place::new();
    let path = place.folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead socket stays in the folder");
    let _door = unix(&path, mirror).await.unwrap();
    let (status, _) = ask_http1(UnixStream::connect(&path).await.unwrap(), get()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_tells_who_asks_in_both_protocols() {
    let place = Place::new();
    let door = place.tls().await;
    let expected = "alice [\"system:masters\", \"system:authenticated\"]";
    let stream = place.dial(&door, Some(&place.client()), b"http/1.1").await;
    assert_eq!(
        ask_http1(stream, get()).await,
        (StatusCode::OK, format!("{expected} HTTP/1.1"))
    );
    let stream = place.dial(&door, Some(&place.client()), b"h2").await;
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/version")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = text(client.send_request(request).await.unwrap()).await;
    assert_eq!(answer, (StatusCode::OK, format!("{expected} HTTP/2.0")));
    connection.abort();
    door.stop().await;
}

#[test]
fn a_certificate_makes_a_user_with_all_its_groups() {
    let cases: [(&str, &[&str], bool, Option<&str>); 5] = [
        ("alice", &["users", "system:masters"], true, None),
        ("alice", &["users", "others"], false, None),
        ("system:host:mad-1", &["system:hosts"], false, Some("mad-1")),
        ("system:host:mad-1", &["users"], false, None),
        ("system:host:", &["system:hosts"], false, None),
    ];
    for (name, groups, admin, host) in cases {
        let organizations: Vec<String> = groups.iter().map(|it| (*it).to_owned()).collect();
        let expected = [
            organizations.clone(),
            vec!["system:authenticated".to_owned()],
        ]
        .concat();
        let now = Timestamp::now();
        let identity = Identity::certified(Subject {
            common_name: name.to_owned(),
            organizations,
            uid: String::new(),
            validity: Validity {
                begins: now,
                ends: now,
            },
        });
        assert_eq!(identity.groups, expected);
        assert_eq!(
            (identity.is_admin(), identity.host_name()),
            (admin, host),
            "{name} {groups:?}"
        );
    }
}

#[tokio::test]
async fn without_a_certificate_a_client_is_anonymous() {
    let place = Place::new();
    let door = place.tls().await;
    let answer = ask_http1(place.dial(&door, None, b"http/1.1").await, get()).await;
    let expected = "system:anonymous [\"system:unauthenticated\"] HTTP/1.1";
    assert_eq!(answer, (StatusCode::OK, expected.to_owned()));
}

#[tokio::test]
async fn a_head_is_limited() {
    let place = Place::new();
    let door = place.tls().await;
    let ask = async |bytes: usize| {
        let request = Request::get("/version")
            .header("host", "localhost")
            .header("x", "y".repeat(bytes));
        let stream = place.dial(&door, Some(&place.client()), b"http/1.1").await;
        ask_http1(stream, request.body(Empty::new()).unwrap())
            .await
            .0
    };
    assert_eq!(ask(HEAD_BYTES_MAX - 1_000).await, StatusCode::OK);
    assert_eq!(
        ask(HEAD_BYTES_MAX + 1).await,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
}

#[tokio::test]
async fn the_fields_of_a_head_are_counted_in_both_protocols() {
    let place = Place::new();
    let door = place.tls().await;
    let request = |uri: &str, fields: usize| {
        let mut request = Request::get(uri).header("host", "localhost");
        for n in 1..fields {
            request = request.header(format!("x-{n}"), "y");
        }
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let (well, refused) = (StatusCode::OK, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    for (fields, expected) in [(HEADERS_MAX, well), (HEADERS_MAX + 1, refused)] {
        let stream = place.dial(&door, Some(&place.client()), b"http/1.1").await;
        let (status, _) = ask_http1(stream, request("/version", fields)).await;
        assert_eq!(status, expected, "{fields}");
        let stream = place.dial(&door, Some(&place.client()), b"h2").await;
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let answer = client.send_request(request("https://localhost/version", fields));
        assert_eq!(answer.await.unwrap().status(), expected, "{fields}");
        connection.abort();
    }
}

fn nobody() -> connection::Client {
    connection::Client {
        peer: None,
        is_known: false,
    }
}

#[tokio::test]
async fn who_is_unknown_is_left_after_some_requests() {
    let place = Place::new();
    let door = place.tls().await;
    let stream = place.dial(&door, None, b"http/1.1").await;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for n in 0..UNKNOWN_REQUESTS_MAX {
        client.ready().await.expect("not yet");
        let (status, _) = text(client.send_request(get()).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{n}");
    }
    connection.await.unwrap().expect("an orderly end");
    assert!(client.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_nothing_or_too_slowly_is_left() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (stop, _) = watch::channel(false);
    for sent in [
        "",
        "G",
        "GET /version HTTP/1.1\r\nhost: a\r\nx: ",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let begun = tokio::time::Instant::now();
        let (mut client, server) = tokio::io::duplex(1_000);
        let service = mirror(Identity::admin("alice"));
        let served = connection::serve(server, nobody(), Some(service), stop.subscribe());
        let asked = async {
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut told = Vec::new();
            // Closed, in an orderly way or not.
            let _ = client.read_to_end(&mut told).await;
        };
        tokio::join!(served, asked);
        assert_eq!(
            begun.elapsed().as_secs(),
            HEAD_PATIENCE.as_secs(),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn stopping_lets_an_answer_finish() {
    let place = Place::new();
    let path = place.folder.path().join("socket");
    let (asked, mut is_asked) = watch::channel(false);
    let (go, may_go) = watch::channel(false);
    let slow = move |_peer| {
        let (asked, may_go) = (asked.clone(), may_go.clone());
        service_fn(move |_: Request<Incoming>| {
            let (asked, mut may_go) = (asked.clone(), may_go.clone());
            async move {
                asked.send_replace(true);
                may_go.wait_for(|go| *go).await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
            }
        })
    };
    let door = unix(&path, slow).await.unwrap();
    let answer = tokio::spawn(ask_http1(UnixStream::connect(&path).await.unwrap(), get()));
    is_asked.wait_for(|asked| *asked).await.unwrap();
    let stopped = tokio::spawn(door.stop());
    go.send_replace(true);
    assert_eq!(answer.await.unwrap(), (StatusCode::OK, "done".to_owned()));
    stopped.await.unwrap();
    assert!(UnixStream::connect(&path).await.is_err());
}
