//! What is attacked: a server as users run it, whoever comes to it, and the proof that others are served after an attack
//! and that nothing was told of what is secret.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use apiserver::tls::{Credentials, client_config};
use live::bench::client::Endpoint;
use live::{Groma, Skip};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

/// How long the server may take for anything that an attacker asks.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long others may wait for their answer after an attack, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

pub const TENANT: &str = "team-a";
pub const VICTIM: &str = "team-b";
/// What stands in the victim's Secret.
pub const SECRET: &str = "the-cake-is-a-lie";

/// A connection that has shown who it is.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What is attacked.
pub struct Ground {
    pub server: Groma,
    written: AtomicU32,
}

/// Who comes: by a certificate, a token, both or neither.
#[derive(Clone)]
pub struct Who {
    pub tls: Arc<ClientConfig>,
    pub token: Option<String>,
}

/// An answer. Its code is 0 if the connection ended without one.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&*text, ""));
        let code = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        Self {
            code: code.and_then(|code| code.parse().ok()).unwrap_or_default(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// # Panics
    /// If it is no JSON.
    pub fn json(&self) -> Value {
        let read = serde_json::from_str(&self.body);
        read.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// # Panics
    /// If it has another code.
    #[track_caller]
    pub fn is(&self, code: u16) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// # Panics
    /// If it does not say that.
    #[track_caller]
    pub fn says(&self, what: &str) -> &Self {
        assert!(self.body.contains(what), "{what:?} is not in {self:?}");
        self
    }
}

impl Ground {
    /// A server without controllers.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start() -> Result<Self, Skip> {
        Self::start_with(&["--blocks"])
    }

    /// A server with these arguments.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start_with(arguments: &[&str]) -> Result<Self, Skip> {
        let ground = Self {
            server: Groma::start(arguments)?,
            written: AtomicU32::new(0),
        };
        ground.make("/api/v1/namespaces", &named(VICTIM)).is(201);
        let mut secret = named("treasure");
        secret["stringData"] = json!({"password": SECRET});
        let path = format!("/api/v1/namespaces/{VICTIM}/secrets");
        ground.make(&path, &secret).is(201);
        Ok(ground)
    }

    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    pub fn address(&self) -> SocketAddr {
        self.endpoint().address
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::by_kubeconfig(&self.server.kubeconfig()).expect("the administrator's credentials")
    }

    pub fn authority(&self) -> String {
        fs::read_to_string(self.folder().join("authority/ca.crt")).expect("it is public")
    }

    pub fn admin(&self) -> Who {
        let (tls, token) = (self.endpoint().tls, None);
        Who { tls, token }
    }

    pub fn nobody(&self) -> Who {
        self.holder(None)
    }

    pub fn with_token(&self, token: &str) -> Who {
        let token = Some(token.to_owned());
        Who {
            token,
            ..self.nobody()
        }
    }

    pub fn holder(&self, credentials: Option<&Credentials>) -> Who {
        let tls = client_config(&self.authority(), credentials, b"http/1.1");
        Who {
            tls: tls.expect("they can be shown"),
            token: None,
        }
    }

    /// Who may do in a namespace of its own all that an owner of one may.
    pub fn tenant(&self, namespace: &str) -> Who {
        self.make("/api/v1/namespaces", &named(namespace)).is(201);
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.make(&accounts, &named("owner")).is(201);
        let mut binding = named("owner");
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "name": "owner", "namespace": namespace}]);
        let bindings =
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
        self.make(&bindings, &binding).is(201);
        let made = self.make(&format!("{accounts}/owner/token"), &json!({"spec": {}}));
        let token = made.is(201).json()["status"]["token"].clone();
        self.with_token(token.as_str().expect("a token"))
    }

    /// The administrator makes something.
    pub fn make(&self, path: &str, object: &Value) -> Answer {
        self.ask(&self.admin(), "POST", path, object)
    }

    pub fn get(&self, who: &Who, path: &str) -> Answer {
        self.ask(who, "GET", path, "")
    }

    /// An ordinary request on a connection of its own.
    pub fn ask(&self, who: &Who, method: &str, path: &str, body: impl ToString) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.send(who, (method, path), &[("content-type", kind)], body)
    }

    /// A request with these header fields.
    pub fn send(
        &self,
        who: &Who,
        (method, path): (&str, &str),
        fields: &[(&str, &str)],
        body: impl ToString,
    ) -> Answer {
        let body = body.to_string();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(token) = &who.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        self.raw(who, head.as_bytes())
    }

    /// Sends bytes, and reads until the server ends the connection.
    pub fn raw(&self, who: &Who, bytes: &[u8]) -> Answer {
        Answer::of(&self.conversation(who, bytes))
    }

    /// All that comes back for some bytes.
    pub fn conversation(&self, who: &Who, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.dial(who);
        // It may answer and leave before it has read everything.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        until_end(&mut stream)
    }

    /// A connection, of which nothing was sent yet.
    pub fn dial(&self, who: &Who) -> Stream {
        let name = ServerName::IpAddress(self.address().ip().into());
        let tls = ClientConnection::new(who.tls.clone(), name).expect("a client");
        StreamOwned::new(tls, self.knock())
    }

    /// A connection without TLS.
    pub fn knock(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket has a patience");
        stream
    }

    /// Others read and write as if nothing had happened.
    ///
    /// # Panics
    /// If they do not, or not at once.
    #[track_caller]
    pub fn serves_others(&self) {
        let begun = Instant::now();
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = format!("/api/v1/namespaces/{VICTIM}/configmaps");
        let name = format!("still-here-{number}");
        let made = self.make(&path, &named(&name));
        assert_eq!(made.code, 201, "{made:?}\n{}", self.server.log());
        self.get(&self.admin(), &format!("{path}/{name}")).is(200);
        let took = begun.elapsed();
        assert!(took < AT_ONCE, "others waited for {took:?}");
        let log = self.server.log();
        assert!(!log.contains("broke the server's code"), "{log}");
    }

    /// Nothing that was written anywhere says that.
    ///
    /// # Panics
    /// If something does.
    #[track_caller]
    pub fn never_said(&self, secrets: &[&str]) {
        let backup = self.folder().join("backup");
        let taken = self.groma(&["backup", &backup.display().to_string()]);
        assert!(taken.status.success(), "{taken:?}");
        let audit = fs::read(self.folder().join("audit/audit.log")).expect("an audit log");
        let said = |path| {
            self.get(&self.admin(), path)
                .is(200)
                .body
                .clone()
                .into_bytes()
        };
        let places = [
            ("the log", self.server.log().into_bytes()),
            ("the audit log", audit),
            ("metrics", said("/metrics")),
            ("events", said("/api/v1/events")),
            ("a backup", fs::read(backup).expect("a backup")),
        ];
        for (place, written) in places {
            for secret in secrets {
                let found = written
                    .windows(secret.len())
                    .any(|it| it == secret.as_bytes());
                assert!(!found, "{secret:?} is in {place}");
            }
        }
    }

    /// A command of the administrator.
    pub fn groma(&self, words: &[&str]) -> Output {
        let program = live::groma::program().expect("it has started");
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(self.server.kubeconfig());
        command.args(words).output().expect("groma can be run")
    }

    /// Kilobytes of memory that the server has.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kilobytes.expect("the kernel counts")
    }
}

/// Everything that comes until the other side ends, in whichever way it does.
pub fn until_end(stream: &mut impl Read) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!late, "no end after {PATIENCE:?}: {:?}", Answer::of(&all));
                return all;
            }
        }
    }
}

/// An object with a name only.
pub fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}
