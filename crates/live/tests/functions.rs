//! The network functions themselves, as release programs between real namespaces: user, function, server.
//!
//! How Groma runs and chains them is not tried here, only that each does what its page says.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use linux::link::{Veth, ensure_veth};
use linux::{Namespace, sysctl};
use live::Skip;
use serde_json::Value;
use tempfile::NamedTempFile;

const MTU: u32 = 1500;
const USER: &str = "fd00:1::1";
const LEFT: &str = "fd00:1::2";
const RIGHT: &str = "fd00:2::2";
const SERVER: &str = "fd00:2::1";

/// What a function may take from SIGTERM to its end.
const END_MAX: Duration = Duration::from_secs(1);

#[test]
fn firewall_passes_what_its_rules_say_and_keeps_them_on_a_bad_file() {
    let Some(bed) = Bed::ready() else { return };
    let mut firewall = bed.function_with("firewall", "default drop\nallow tcp 8080 from left\n");
    assert_eq!(bed.answered(8080), 5);
    assert_eq!(bed.answered(8081), 0, "a port without a rule is closed");

    firewall.configure("allow nonsense\n", "the previous one stays in force");
    assert_eq!(bed.answered(8080), 5, "a refused file changes nothing");
    assert!(!firewall.is_well(), "a refused signal shows at /healthz");

    firewall.configure("default drop\n", "configuration reloaded");
    assert!(firewall.is_well());
    assert_eq!(bed.answered(8080), 0, "the rule is gone");
    firewall.end();
}

#[test]
fn limiter_drops_what_is_over_the_limit_of_a_source() {
    let Some(bed) = Bed::ready() else { return };
    let mut limiter = bed.function_with(
        "limiter",
        "limit connections 1 per minute burst 3 from left\n",
    );
    assert_eq!(bed.answered(8080), 3, "the burst passes, the rest does not");
    limiter.configure(
        "limit connections 1000 per second burst 100 from left\n",
        "configuration reloaded",
    );
    assert_eq!(bed.answered(8080), 5);
    limiter.end();
}

/// A user, a function in the middle and a server with the HTTP application on two ports.
struct Bed {
    user: Namespace,
    middle: Namespace,
    _servers: [Running; 2],
}

impl Bed {
    /// `None`, with the reason printed, where it cannot be made.
    fn ready() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            Skip::because("making network namespaces needs root").report();
            return None;
        }
        if programs().is_none() {
            Skip::because("GROMA_BIN is not set; run `cargo xtask live`").report();
            return None;
        }
        Some(Self::make())
    }

    fn make() -> Self {
        let [user, middle, server] =
            ["user", "middle", "server"].map(|label| Namespace::anonymous(label).expect("make"));
        for namespace in [&user, &middle, &server] {
            sysctl::set(namespace, sysctl::END).expect("addresses are usable at once");
        }
        join(&user, &middle, "left");
        join(&server, &middle, "right");
        sysctl::set(&middle, &[("net.ipv6.conf.all.forwarding", "1")]).expect("forward");
        for (namespace, device, address) in [
            (&user, "eth0", USER),
            (&middle, "left", LEFT),
            (&middle, "right", RIGHT),
            (&server, "eth0", SERVER),
        ] {
            ip(
                namespace,
                &[
                    "address",
                    "add",
                    &format!("{address}/64"),
                    "dev",
                    device,
                    "nodad",
                ],
            );
        }
        ip(&user, &["route", "add", "default", "via", LEFT]);
        ip(&server, &["route", "add", "default", "via", RIGHT]);
        let servers = ["8080", "8081"].map(|port| {
            let mut command = program("http-app");
            command.env("PORT", port).env("CONFIG_FILE", "/nowhere");
            Running::start(&server, command)
        });
        Self {
            user,
            middle,
            _servers: servers,
        }
    }

    fn function_with(&self, name: &'static str, configuration: &str) -> Function<'_> {
        let file = NamedTempFile::new().expect("make a file");
        std::fs::write(file.path(), configuration).expect("write");
        let mut command = program(name);
        command.env("CONFIG_FILE", file.path()).env("PORT", "9000");
        let running = Running::start(&self.middle, command);
        Function {
            name,
            namespace: &self.middle,
            file,
            running,
        }
    }

    /// How many of five requests, each over a connection of its own, the server answers.
    fn answered(&self, port: u16) -> u64 {
        let mut command = program("probe");
        command.args(["http", &format!("http://[{SERVER}]:{port}/echo"), "--json"]);
        command.args(["--count", "5", "--interval", "10", "--timeout", "400"]);
        let output = self
            .user
            .run(|| command.output())
            .expect("enter")
            .expect("run the probe");
        let summary: Value = serde_json::from_slice(&output.stdout).expect("a summary");
        summary["answered"].as_u64().expect("a number")
    }
}

struct Function<'a> {
    name: &'static str,
    namespace: &'a Namespace,
    file: NamedTempFile,
    running: Running,
}

impl Function<'_> {
    /// Writes another configuration, sends SIGHUP, and waits until the function says that it looked.
    fn configure(&mut self, text: &str, said: &str) {
        std::fs::write(self.file.path(), text).expect("write");
        self.running.signal("-HUP");
        self.running.await_line(said);
    }

    fn is_well(&self) -> bool {
        let mut command = program(self.name);
        command.arg("check").env("PORT", "9000");
        let output = self
            .namespace
            .run(|| command.output())
            .expect("enter")
            .expect("run the check");
        output.status.success()
    }

    fn end(mut self) {
        let start = Instant::now();
        self.running.signal("-TERM");
        let status = self.running.child.wait().expect("wait");
        assert!(status.success(), "{} ended with {status}", self.name);
        assert!(
            start.elapsed() < END_MAX,
            "{} took {:?}",
            self.name,
            start.elapsed()
        );
    }
}

/// A program in a namespace; gone when the test is.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Returns once the program says that it serves.
    fn start(namespace: &Namespace, mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let mut child = namespace
            .run(|| command.spawn())
            .expect("enter")
            .expect("start");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut running = Self { child, output };
        running.await_line("serves on");
        running
    }

    fn await_line(&mut self, said: &str) {
        let mut line = String::new();
        while !line.contains(said) {
            line.clear();
            let n_bytes = self.output.read_line(&mut line).expect("read");
            assert!(n_bytes > 0, "it ended before it said {said:?}");
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.expect("run kill").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn programs() -> Option<PathBuf> {
    std::env::var_os("GROMA_BIN").map(PathBuf::from)
}

fn program(name: &str) -> Command {
    Command::new(
        programs()
            .expect("the bed is not made without it")
            .join(name),
    )
}

/// Joins `eth0` of an end with an interface of the function in the middle.
fn join(end: &Namespace, middle: &Namespace, side: &str) {
    let veth = |namespace, name| Veth {
        namespace,
        name,
        mtu: MTU,
        mac: None,
    };
    ensure_veth(veth(end, "eth0"), veth(middle, side)).expect("join");
    for (namespace, device) in [(end, "lo"), (middle, "lo"), (end, "eth0"), (middle, side)] {
        ip(namespace, &["link", "set", device, "up"]);
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) {
    let status = namespace.run(|| Command::new("ip").arg("-6").args(arguments).status());
    assert!(
        status.expect("enter").expect("run ip").success(),
        "ip {arguments:?}"
    );
}
