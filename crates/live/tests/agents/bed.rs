//! A server and one host on this machine: a router without a network, and an agent that is started as its operator would.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linux::cgroup::Hierarchies;
use linux::link::{Veth, ensure_veth};
use linux::netns;
use live::{Groma, Skip};
use tempfile::TempDir;

/// The host.
pub const HOST: &str = "mad-1";
/// How long its certificates hold.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(15);
/// The folder of the packed images.
const IMAGES_VARIABLE: &str = "GROMA_IMAGES";
/// The control group above those of all hosts.
const GROUPS: &str = "groma";
/// How long the processes of a container may take to die.
const KILL: Duration = Duration::from_secs(5);
const MTU: u32 = 1600;

/// The host, and an instance on it.
const OBJECTS: &str = "
apiVersion: groma.dev/v1alpha1
kind: Host
metadata: {name: mad-1}
spec: {site: mad, domain: core, locator: 'fd00:1::/48'}
---
apiVersion: groma.dev/v1alpha1
kind: Instance
metadata: {name: web}
spec:
  host: mad-1
  workload: web
  artefact: {form: container, image: 'layout:http-app'}
  resources: {cpu: 100m, memory: 64Mi}
  interfaces: []
";

/// A process in a container: its number, and since when it runs in ticks of the kernel.
pub type Running = (i32, String);

pub struct Bed {
    server: Groma,
    program: PathBuf,
    images: PathBuf,
    folder: TempDir,
    name: String,
    agent: Option<Child>,
}

impl Bed {
    /// # Errors
    /// Why there is none on this machine.
    pub fn up() -> Result<Self, Skip> {
        let missing = adapter_oci::requirements();
        if !missing.is_empty() {
            return Err(Skip::because(missing.join("; ")));
        }
        let Some(images) = std::env::var_os(IMAGES_VARIABLE).map(PathBuf::from) else {
            let why = format!("{IMAGES_VARIABLE} is not set; run `cargo xtask live`");
            return Err(Skip::because(why));
        };
        let program = live::groma::program()?;
        let life = format!("{}s", CERTIFICATE_LIFE.as_secs());
        let server = Groma::start(&["--blocks", "mco", "--host-certificate-life", &life])?;
        let bed = Self {
            server,
            program,
            images,
            folder: tempfile::tempdir().expect("a folder"),
            name: format!("ta{}", std::process::id()),
            agent: None,
        };
        let router = netns::ensure(&bed.name).expect("a namespace");
        let end = |name: &'static str| Veth {
            namespace: &router,
            name,
            mtu: MTU,
            mac: None,
        };
        ensure_veth(end("up0"), end("up1")).expect("an uplink");
        let objects = bed.folder.path().join("objects.yaml");
        fs::write(&objects, OBJECTS).expect("written");
        let applied = bed.groma(&["apply", "--file", &objects.display().to_string()]);
        applied.expect("the objects are applied");
        Ok(bed)
    }

    /// A command of the administrator: what it printed, or what went wrong.
    pub fn groma(&self, words: &[&str]) -> Result<String, String> {
        printed(&self.program, &self.server.kubeconfig(), words)
    }

    /// A command with the agent's credentials.
    pub fn as_agent(&self, words: &[&str]) -> Result<String, String> {
        printed(&self.program, &self.kubeconfig(), words)
    }

    /// What is to be run on the host, by a new token.
    pub fn token(&self) -> String {
        let made = self.groma(&["host", "token", "create", HOST, "--ttl", "5m"]);
        made.expect("a token").trim().to_owned()
    }

    /// Runs on the host what `token create` printed, with what is particular to this machine.
    pub fn start_agent(&mut self, command: &str) {
        self.agent = Some(self.agent(command));
    }

    /// What an agent says that cannot join.
    pub fn join_in_vain(&self, command: &str) -> String {
        let ended = self.agent(command).wait().expect("it ends");
        assert!(!ended.success(), "it has joined");
        self.log()
    }

    fn agent(&self, command: &str) -> Child {
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("groma"));
        let log = File::create(self.folder.path().join("log")).expect("a log");
        let mut agent = Command::new(&self.program);
        agent.args(words).arg("--state").arg(self.state());
        agent.arg("--images").arg(&self.images);
        agent.args(["--router", &self.name, "--mark", &self.name]);
        agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        agent.spawn().expect("an agent starts")
    }

    pub fn end_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // One that has ended already is what is wanted.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What the agent is known by now.
    pub fn credentials(&self) -> String {
        fs::read_to_string(self.kubeconfig()).unwrap_or_default()
    }

    /// What the instance has written, through the door of its host, asked once: commands ask again for a while.
    pub fn logs(&self) -> Result<String, String> {
        let socket = self.server.folder().join("groma.sock");
        let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
        let path = "/apis/groma.dev/v1alpha1/namespaces/default/instances/web/log";
        let request = format!("GET {path} HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .map_err(|error| error.to_string())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(answer),
            false => Err(answer),
        }
    }

    /// The instance's program on this machine.
    pub fn running(&self) -> Result<Running, String> {
        let hierarchies = Hierarchies::detect().expect("control groups can be read");
        let group = hierarchies.group(&format!("{GROUPS}/{}", self.name));
        let found = group.processes().into_iter().find_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (before, after) = stat.rsplit_once(") ")?;
            let begun = after.split(' ').nth(19)?.to_owned();
            before.ends_with("(http-app").then_some((pid, begun))
        });
        found.ok_or_else(|| format!("it does not run: {}", self.log()))
    }

    /// Looks for the secret halves of tokens, and for keys, wherever something is written down.
    pub fn says_no_secret(&self, commands: &[&str]) {
        let audit = fs::read_to_string(self.server.folder().join("audit/audit.log"));
        let audit = audit.expect("an audit log");
        assert!(audit.contains("system:bootstrap:"), "who joins is recorded");
        let log = fs::read_to_string(self.server.folder().join("log")).unwrap_or_default();
        for written in [audit, log, self.log()] {
            for command in commands {
                let secret = command
                    .split(['.', ' '])
                    .skip_while(|it| *it != "--token")
                    .nth(2);
                let secret = secret.expect("a token");
                assert!(!written.contains(secret), "{secret} is written down");
            }
            assert!(!written.contains("PRIVATE KEY"));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.end_agent();
        if std::thread::panicking() {
            eprintln!("---- the agent\n{}", self.log());
        }
        let hierarchies = Hierarchies::detect().expect("control groups can be read");
        let group = hierarchies.group(&format!("{GROUPS}/{}", self.name));
        group.remove(KILL).expect("containers end");
        let mut names = netns::list(&format!("{GROUPS}-{}-", self.name)).expect("listed");
        names.push(self.name.clone());
        for name in names {
            netns::delete(&name).expect("a namespace goes");
        }
    }
}

fn printed(program: &Path, kubeconfig: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).args(words);
    let output = command.output().expect("groma can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}
