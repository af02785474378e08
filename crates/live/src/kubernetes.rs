//! A real kube-apiserver on etcd, for tests that compare: in a folder of its own, ended with its handle.

mod client;

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use tempfile::TempDir;

use crate::{Skip, tools};

pub use client::User;

/// How long it may take to answer.
const UP: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// The folder of its own certificates.
const CERTIFICATES: &str = "certificates";

/// Who may do everything.
pub const TOKEN: &str = "administrator";

/// A control plane that runs: API server and etcd, no controllers.
#[derive(Debug)]
pub struct ApiServer {
    // They end before their folder goes.
    programs: Vec<Child>,
    folder: TempDir,
    port: u16,
}

impl ApiServer {
    /// Starts one that forgets nothing but at a power cut.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start() -> Result<Self, Skip> {
        Self::start_with(&["--unsafe-no-fsync"], &[])
    }

    /// Starts one that forgets the past within seconds, where others do within minutes.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start_forgetful() -> Result<Self, Skip> {
        Self::start_with(&["--unsafe-no-fsync"], &["--etcd-compaction-interval=1s"])
    }

    /// Starts one that answers when a write is on the disk, as users run it: for comparing times.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start_durable() -> Result<Self, Skip> {
        Self::start_with(&[], &[])
    }

    fn start_with(etcd_options: &[&str], server_options: &[&str]) -> Result<Self, Skip> {
        let (server, etcd) = tools::api_server()?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut this = Self {
            programs: Vec::new(),
            port: free_port(),
            folder,
        };
        let store = format!("http://127.0.0.1:{}", free_port());
        let with = |mut arguments: Vec<String>, options: &[&str]| {
            arguments.extend(options.iter().map(|&option| option.to_owned()));
            arguments
        };
        let arguments = with(this.etcd_arguments(&store), etcd_options);
        this.run("etcd", &etcd, &arguments);
        let arguments = with(this.server_arguments(&store), server_options);
        this.run("kube-apiserver", &server, &arguments);
        Ok(this)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.programs.iter().map(Child::id).collect()
    }

    /// The file with the certificate that it shows and the one of its authority.
    pub fn certificates(&self) -> PathBuf {
        self.path(CERTIFICATES).join("apiserver.crt")
    }

    /// Asks again and again until there is an answer.
    ///
    /// # Panics
    /// With what its programs wrote, if there is none in time.
    pub fn wait(&mut self, mut answers: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !answers() {
            let mut programs = self.programs.iter_mut();
            let ended = programs.any(|program| !matches!(program.try_wait(), Ok(None)));
            if ended || begun.elapsed() > UP {
                let log = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
                let (etcd, server) = (log("etcd.log"), log("kube-apiserver.log"));
                panic!("kube-apiserver does not answer\n{etcd}\n{server}");
            }
            thread::sleep(LOOK);
        }
    }

    /// The folder that goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn etcd_arguments(&self, store: &str) -> Vec<String> {
        let peers = format!("http://127.0.0.1:{}", free_port());
        let data = self.path("etcd").display().to_string();
        vec![
            format!("--data-dir={data}"),
            format!("--listen-client-urls={store}"),
            format!("--advertise-client-urls={store}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--log-level=error".to_owned(),
        ]
    }

    fn server_arguments(&self, store: &str) -> Vec<String> {
        let text = |name: &str| self.path(name).display().to_string();
        let key = KeyPair::generate().expect("a key can be made");
        fs::write(self.path("accounts.key"), key.serialize_pem()).expect("written");
        fs::write(self.path("accounts.pub"), key.public_key_pem()).expect("written");
        let token = format!("{TOKEN},admin,admin,system:masters\n");
        fs::write(self.path("tokens.csv"), token).expect("written");
        vec![
            format!("--etcd-servers={store}"),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", text(CERTIFICATES)),
            "--service-account-issuer=https://groma.test".to_owned(),
            format!("--service-account-key-file={}", text("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                text("accounts.key")
            ),
            format!("--token-auth-file={}", text("tokens.csv")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ]
    }

    fn run(&mut self, name: &str, program: &Path, arguments: &[String]) {
        let log = File::create(self.path(&format!("{name}.log"))).expect("a log can be made");
        let copy = log.try_clone().expect("it can be shared");
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn();
        self.programs
            .push(started.unwrap_or_else(|error| panic!("{name} starts: {error}")));
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            // One that has ended already is what is wanted.
            let _: io::Result<()> = program.kill();
            let _ = program.wait();
        }
    }
}

/// A port that nobody listens on at this moment, for programs that cannot choose one themselves.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
