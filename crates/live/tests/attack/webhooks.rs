//! Webhooks that lead the server to places that only it reaches, or that do not end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use apiserver::tls::client_config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::ground::{Answer, Ground, TENANT, Who, named};

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const CONFIGMAPS: &str = "/api/v1/namespaces/team-a/configmaps";
/// What stands in the answers of places that only the server reaches.
const INNER: &str = "inner-credentials-of-the-cloud";
/// How long a webhook may take here, in seconds, and the server with it.
const SECONDS: u64 = 2;
const BUSY: Duration = Duration::from_secs(20);

#[test]
fn a_webhook_leads_nowhere_and_tells_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let inner = Place::open(|_| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{INNER}",
            INNER.len()
        )
        .into_bytes()
    });
    let to_inner = inner.url();
    let redirects = Place::open(move |_| {
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to_inner}\r\ncontent-length: {}\r\n\r\n{INNER}", INNER.len()).into_bytes()
    });
    let fails = Place::open(|_| {
        format!(
            "HTTP/1.1 500 {INNER}\r\ncontent-length: {}\r\n\r\n{INNER}",
            INNER.len()
        )
        .into_bytes()
    });
    let denies_nothing = Place::open(|_| {
        let body =
            json!({"kind": "AdmissionReview", "response": {"allowed": "perhaps", "uid": INNER}})
                .to_string();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let endless_head =
        Place::open(|_| [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(1 << 20)].concat());
    let huge = Place::open(|_| {
        [
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\"".to_vec(),
            vec![b'x'; 64 << 20],
        ]
        .concat()
    });
    let deep = Place::open(|_| {
        [
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
            b"[".repeat(1 << 20),
        ]
        .concat()
    });
    let drips = Place::open(|n| {
        if n == 0 {
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec()
        } else {
            b" ".to_vec()
        }
    });
    let no_http = Place::open(|_| format!("+OK {INNER}\r\n").into_bytes());

    for place in [
        &inner,
        &redirects,
        &fails,
        &denies_nothing,
        &endless_head,
        &huge,
        &deep,
        &drips,
        &no_http,
    ] {
        let answer = asked(&ground, &eve, &place.url(), Some(&place.authority));
        answer.is(500);
        assert!(
            !answer.body.contains(INNER) && !answer.head.contains(INNER),
            "{answer:?}"
        );
        assert!(place.asked() > 0, "it was not asked: {answer:?}");
    }
    assert_eq!(inner.asked(), 1, "who is sent elsewhere does not go there");

    // Places of the machine and its provider: reached by nobody without the right certificate, and nothing of them is told.
    let own = ground.address();
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let answers = thread::spawn({
        let plain = plain.try_clone().expect("a socket");
        move || {
            let (mut stream, _) = plain.accept().expect("somebody comes");
            let _ = stream.write_all(format!("-ERR {INNER}\r\n").as_bytes());
        }
    });
    for url in [
        format!("https://{}/", plain.local_addr().expect("a port")),
        format!("https://{own}/api/v1/secrets"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[fd00:ec2::254]/latest".to_owned(),
        "https://127.0.0.1:1/".to_owned(),
        "https://no-such-host.invalid/".to_owned(),
    ] {
        let answer = asked(&ground, &eve, &url, None);
        answer.is(500);
        assert!(
            !answer.body.contains(INNER) && !answer.body.contains("SecretList"),
            "{answer:?}"
        );
    }
    answers.join().expect("it was reached");
    ground.never_said(&[INNER]);
    ground.serves_others();
}

#[test]
fn an_address_is_https_or_it_is_none() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    for url in [
        "http://127.0.0.1/",
        "HTTP://127.0.0.1/",
        "unix:///run/docker.sock",
        "file:///etc/shadow",
        "gopher://127.0.0.1:6379/_x",
        "https:/127.0.0.1",
        "https://",
        "//127.0.0.1/",
        "https://user:password@127.0.0.1/",
        "https://127.0.0.1/?x=y",
        "https://127.0.0.1/#x",
        "https://127.0.0.1/\r\nx-remote-user: groma:admin",
        "https://127.0.0.1\\@evil.example/",
    ] {
        let answer = ground.make(HOOKS, &hook(url, None));
        assert!([400, 422].contains(&answer.code), "{url}: {answer:?}");
    }
    ground.serves_others();
}

/// What a tenant is answered whose object is shown to a webhook there.
fn asked(ground: &Ground, eve: &Who, url: &str, authority: Option<&str>) -> Answer {
    ground.make(HOOKS, &hook(url, authority)).is(201);
    let begun = Instant::now();
    let answer = ground.ask(eve, "POST", CONFIGMAPS, named("shown"));
    assert!(begun.elapsed() < BUSY, "{url} took {:?}", begun.elapsed());
    ground.serves_others();
    let path = format!("{HOOKS}/hook.attack.example");
    ground.ask(&ground.admin(), "DELETE", &path, "").is(200);
    answer
}

/// A webhook that is shown what the tenant makes.
fn hook(url: &str, authority: Option<&str>) -> Value {
    let mut hook = named("hook.attack.example");
    hook["webhooks"] = json!([{
        "name": "hook.attack.example", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "timeoutSeconds": SECONDS,
        "clientConfig": {"url": url, "caBundle": authority.map(|pem| STANDARD.encode(pem))},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TENANT}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "scope": "*"}],
    }]);
    hook
}

/// A place that speaks TLS and answers whatever it likes; it closes with its handle.
struct Place {
    address: SocketAddr,
    authority: String,
    asked: Arc<AtomicUsize>,
    closes: Arc<AtomicBool>,
    serves: Option<JoinHandle<()>>,
}

impl Place {
    /// Answers by `part`, which is asked for one piece after the other until the client leaves.
    fn open(part: impl Fn(usize) -> Vec<u8> + Send + 'static) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let authority = certificate.pem();
        // It has the algorithms of the program.
        let _ = client_config(&authority, None, b"");
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("it fits");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let (asked, closes) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let serves = thread::spawn({
            let (asked, closes, config) = (asked.clone(), closes.clone(), Arc::new(config));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if closes.load(Ordering::Relaxed) {
                        return;
                    }
                    stream.set_read_timeout(Some(BUSY)).expect("a socket");
                    let tls = ServerConnection::new(config.clone()).expect("a server");
                    let mut stream = StreamOwned::new(tls, stream);
                    if !matches!(stream.read(&mut [0; 64 * 1024]), Ok(1..)) {
                        continue;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    let _ = answer(&mut stream, &part);
                }
            }
        });
        Self {
            address,
            authority,
            asked,
            closes,
            serves: Some(serves),
        }
    }

    fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.closes.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(self.address);
        if let Some(serves) = self.serves.take() {
            let _ = serves.join();
        }
    }
}

fn answer(stream: &mut impl Write, part: &impl Fn(usize) -> Vec<u8>) -> std::io::Result<()> {
    stream.write_all(&part(0))?;
    stream.flush()?;
    let more = part(1);
    // Only one that drips has something else to say.
    while more.len() == 1 {
        stream.write_all(&more)?;
        stream.flush()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
