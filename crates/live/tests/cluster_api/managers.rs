//! The three managers, as processes beside a server, and where their webhooks listen.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use k8s_openapi::ByteString;
use live::kubernetes::free_port;
use live::tools::cluster_api::Manager;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;

/// What a webhook's address must name.
const HOST: &str = "127.0.0.1";
/// How many lines of each log are shown when the test fails.
const LINES_SHOWN: usize = 40;

/// The managers of one server: their ports are known before they run, because definitions name them.
pub struct Managers {
    doors: Vec<Door>,
    authority: String,
    // They end before their folder goes.
    running: Vec<Child>,
    folder: TempDir,
}

/// One of them, and the port of its webhooks.
pub struct Door {
    pub manager: Manager,
    port: u16,
}

impl Managers {
    /// With a certificate that all their webhooks show.
    pub fn new(managers: &[Manager]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![HOST.to_owned()]).expect("a certificate");
        fs::write(folder.path().join("tls.crt"), cert.pem()).expect("written");
        fs::write(folder.path().join("tls.key"), signing_key.serialize_pem()).expect("written");
        let door = |manager: &Manager| Door {
            manager: manager.clone(),
            port: free_port(),
        };
        Self {
            doors: managers.iter().map(door).collect(),
            authority: cert.pem(),
            running: Vec::new(),
            folder,
        }
    }

    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The `clientConfig` of a webhook.
    pub fn client_config(&self, door: &Door, path: &str) -> Value {
        let url = format!("https://{HOST}:{}{path}", door.port);
        json!({"url": url, "caBundle": ByteString(self.authority.clone().into_bytes())})
    }

    /// Starts them and waits until their webhooks listen.
    pub async fn start(&mut self, server: &Server) {
        for door in &self.doors {
            let started = self.run(door, &server.kubeconfig);
            self.running.push(started);
        }
        for door in &self.doors {
            let listens = async || TcpStream::connect((HOST, door.port)).is_ok();
            let what = format!("the webhooks of {} listen", door.manager.name);
            server.until(&what, listens).await;
        }
    }

    fn run(&self, door: &Door, kubeconfig: &Path) -> Child {
        let log = File::create(self.log(door)).expect("a log can be made");
        let started = Command::new(&door.manager.program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--webhook-cert-dir")
            .arg(self.folder.path())
            .arg(format!("--webhook-port={}", door.port))
            .args(["--leader-elect=false", "--health-addr=127.0.0.1:0"])
            .args([
                "--insecure-diagnostics",
                "--diagnostics-address=127.0.0.1:0",
            ])
            .args(["--feature-gates=ClusterTopology=true", "--v=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        started.unwrap_or_else(|error| panic!("{} starts: {error}", door.manager.name))
    }

    fn log(&self, door: &Door) -> PathBuf {
        self.folder
            .path()
            .join(format!("{}.log", door.manager.name))
    }

    fn show_logs(&self) {
        for door in &self.doors {
            let text = fs::read_to_string(self.log(door)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            println!("--- {}\n{}", door.manager.name, last.join("\n"));
        }
    }
}

impl Drop for Managers {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        for manager in &mut self.running {
            // One that has ended already is what is wanted.
            let _ = manager.kill();
            let _ = manager.wait();
        }
    }
}
