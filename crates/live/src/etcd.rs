//! A cluster of real etcd members over TLS, each of which can be ended, held and started again.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use apiserver::store::etcd::Members;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::kubernetes::free_port;
use crate::{Skip, tools};

/// The files with certificates in its folder.
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "etcd.crt";
const KEY: &str = "etcd.key";

/// Members that know each other. They end with their handle.
pub struct Cluster {
    program: PathBuf,
    members: Vec<Member>,
    folder: TempDir,
}

struct Member {
    client: String,
    peer: String,
    running: Option<Child>,
}

impl Cluster {
    /// Starts so many members. They may not have found each other yet.
    ///
    /// # Errors
    /// Why there is no etcd on this machine.
    pub fn start(n: usize) -> Result<Self, Skip> {
        let program = tools::etcd()?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        certify(folder.path());
        let url = || format!("https://127.0.0.1:{}", free_port());
        let member = |_| Member {
            client: url(),
            peer: url(),
            running: None,
        };
        let mut cluster = Self {
            program,
            members: (0..n).map(member).collect(),
            folder,
        };
        (0..n).for_each(|member| cluster.run(member));
        Ok(cluster)
    }

    /// Where they are, for clients.
    #[must_use]
    pub fn members(&self) -> Members {
        let urls = self.members.iter().map(|member| member.client.clone());
        Members {
            urls: urls.collect(),
            authority: Some(self.path(AUTHORITY)),
            certificate: Some((self.path(CERTIFICATE), self.path(KEY))),
        }
    }

    /// The same, for a server.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let urls = self.members.iter().map(|member| member.client.as_str());
        let urls: Vec<&str> = urls.collect();
        let file = |name: &str| self.path(name).display().to_string();
        vec![
            format!("--etcd-servers={}", urls.join(",")),
            format!("--etcd-cafile={}", file(AUTHORITY)),
            format!("--etcd-certfile={}", file(CERTIFICATE)),
            format!("--etcd-keyfile={}", file(KEY)),
        ]
    }

    /// Starts a member that was ended.
    pub fn run(&mut self, member: usize) {
        let cluster: Vec<String> = self.members.iter().enumerate().map(named).collect();
        let file = |name: &str| self.path(name).display().to_string();
        let Member { client, peer, .. } = &self.members[member];
        let log = File::create(self.path(&format!("m{member}.log"))).expect("a log can be made");
        let arguments = [
            format!("--name=m{member}"),
            format!("--data-dir={}", file(&format!("m{member}"))),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", cluster.join(",")),
            format!("--cert-file={}", file(CERTIFICATE)),
            format!("--key-file={}", file(KEY)),
            format!("--trusted-ca-file={}", file(AUTHORITY)),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={}", file(CERTIFICATE)),
            format!("--peer-key-file={}", file(KEY)),
            format!("--peer-trusted-ca-file={}", file(AUTHORITY)),
            "--peer-client-cert-auth".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let started = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it can be shared"))
            .stderr(log)
            .spawn();
        self.members[member].running = Some(started.expect("etcd starts"));
    }

    /// Ends a member at once.
    pub fn end(&mut self, member: usize) {
        if let Some(mut running) = self.members[member].running.take() {
            running.kill().expect("it is ours");
            running.wait().expect("it ends");
        }
    }

    /// Holds a member where it is, as if its machine did.
    pub fn hold(&self, member: usize) {
        self.signal(member, Signal::STOP);
    }

    /// Lets a member go on.
    pub fn go_on(&self, member: usize) {
        self.signal(member, Signal::CONT);
    }

    fn signal(&self, member: usize, signal: Signal) {
        let running = self.members[member].running.as_ref().expect("it runs");
        let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("it is ours");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|member| self.end(member));
    }
}

fn named((number, member): (usize, &Member)) -> String {
    format!("m{number}={}", member.peer)
}

/// Makes an authority, and one certificate for all members and clients.
fn certify(folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
    let key = || KeyPair::generate().expect("a key can be made");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name = DistinguishedName::new();
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let authority_key = key();
    let certificate = authority.self_signed(&authority_key).expect("it is signed");
    write(AUTHORITY, &certificate.pem());
    let issuer = Issuer::new(authority, authority_key);
    let names = [Ipv4Addr::LOCALHOST.to_string()];
    let mut params = CertificateParams::new(names).expect("a name");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "etcd");
    let own = key();
    let certificate = params.signed_by(&own, &issuer).expect("it is signed");
    write(CERTIFICATE, &certificate.pem());
    write(KEY, &own.serialize_pem());
}
