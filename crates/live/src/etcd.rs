//! A cluster of real etcd members over TLS, each of which can be ended, held and started again.

mod machines;

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{bail, ensure};
use apiserver::store::etcd::Members;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::machines::Machines;
use crate::bench::client::Endpoint;
use crate::bench::load::Call;
use crate::kubernetes::free_port;
use crate::{Skip, tools};

/// The files with certificates in its folder.
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "etcd.crt";
const KEY: &str = "etcd.key";

/// Members that know each other. They end with their handle.
pub struct Cluster {
    /// What members are given besides, when they start.
    pub options: Vec<String>,
    program: PathBuf,
    members: Vec<Member>,
    /// Where they run, if not all on this machine.
    machines: Option<Machines>,
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
        Self::start_with(n, &[])
    }

    /// As [`start`](Self::start), with options.
    ///
    /// # Errors
    /// Why there is no etcd on this machine.
    pub fn start_with(n: usize, options: &[&str]) -> Result<Self, Skip> {
        Self::begin(n, options, None)
    }

    /// As [`start`](Self::start), each on a machine of its own.
    ///
    /// # Errors
    /// Why there is no etcd on this machine, or there are no machines.
    pub fn start_apart(n: usize) -> Result<Self, Skip> {
        Self::begin(n, &[], Some(Machines::make(n)?))
    }

    fn begin(n: usize, options: &[&str], machines: Option<Machines>) -> Result<Self, Skip> {
        let program = tools::etcd()?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = |member| match &machines {
            Some(machines) => IpAddr::from(machines.address(member)),
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let mut hosts: Vec<IpAddr> = (0..n).map(host).collect();
        hosts.extend(
            machines
                .as_ref()
                .map(|machines| IpAddr::from(machines.here())),
        );
        certify(folder.path(), &hosts);
        let url = |member| format!("https://{}", SocketAddr::new(host(member), free_port()));
        let member = |member| Member {
            client: url(member),
            peer: url(member),
            running: None,
        };
        let mut cluster = Self {
            options: options.iter().map(|&option| option.to_owned()).collect(),
            program,
            members: (0..n).map(member).collect(),
            machines,
            folder,
        };
        (0..n).for_each(|member| cluster.run(member));
        Ok(cluster)
    }

    /// Cuts some members, and this machine if that is asked for, off from all others.
    ///
    /// # Panics
    /// When they do not run apart.
    pub fn cut(&self, side: &[usize], with_here: bool) {
        let machines = self.machines.as_ref().expect("they run apart");
        for member in 0..self.members.len() {
            let is_in = side.contains(&member);
            let others = (0..self.members.len()).filter(|other| side.contains(other) != is_in);
            let mut from: Vec<_> = others.map(|other| machines.address(other)).collect();
            if with_here != is_in {
                from.push(machines.here());
            }
            machines.cut(member, &from);
        }
    }

    /// All reach each other again.
    pub fn heal(&self) {
        let all: Vec<usize> = (0..self.members.len()).collect();
        self.cut(&all, true);
    }

    /// The member that leads, once there is one.
    ///
    /// # Errors
    /// When none says so.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        for member in 0..self.members.len() {
            let status = self
                .ask(member, "/v3/maintenance/status", &json!({}))
                .await?;
            if status["leader"] == status["header"]["member_id"] {
                return Ok(member);
            }
        }
        bail!("no member leads");
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
        let mut command = match &self.machines {
            Some(machines) => machines.command(member, &self.program),
            None => Command::new(&self.program),
        };
        let started = command
            .args(arguments)
            .args(&self.options)
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

    /// Ends a member in order.
    pub fn end_in_order(&mut self, member: usize) {
        self.signal(member, Signal::TERM);
        if let Some(mut running) = self.members[member].running.take() {
            running.wait().expect("it ends");
        }
    }

    /// Asks a member for something by its JSON gateway.
    ///
    /// # Errors
    /// When it does not do it.
    pub async fn ask(&self, member: usize, path: &str, asked: &Value) -> anyhow::Result<Value> {
        let file = |name: &str| self.path(name);
        let url = &self.members[member].client;
        let endpoint =
            Endpoint::by_certificate(url, &file(AUTHORITY), &file(CERTIFICATE), &file(KEY))?;
        let call = Call::post(path.to_owned(), asked.to_string().into());
        let (code, body) = endpoint.connect().await?.ask(call).await?;
        ensure!(code.is_success(), "{}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
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
fn certify(folder: &Path, hosts: &[IpAddr]) {
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
    let names: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
    let mut params = CertificateParams::new(names).expect("a name");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "etcd");
    let own = key();
    let certificate = params.signed_by(&own, &issuer).expect("it is signed");
    write(CERTIFICATE, &certificate.pem());
    write(KEY, &own.serialize_pem());
}
