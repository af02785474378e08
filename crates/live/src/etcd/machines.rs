//! Machines for members of etcd: network namespaces on one bridge, which can be cut off from each other.
//!
//! They go with their handle, and with them what runs in them.

use std::io::Write;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{self, Command, Stdio};

use crate::Skip;

/// The number of this machine among them.
const HERE: u16 = 0xff;

/// Namespaces, numbered from 0.
pub(super) struct Machines {
    n: usize,
    /// This process, which makes their names and addresses its own.
    id: u32,
}

impl Machines {
    /// Makes so many.
    ///
    /// # Errors
    /// Why this machine cannot have them.
    pub(super) fn make(n: usize) -> Result<Self, Skip> {
        let this = Self {
            n,
            id: process::id(),
        };
        let bridge = this.bridge();
        ip(&format!("link add {bridge} type bridge mcast_snooping 0"))?;
        ip(&format!("addr add {}/64 dev {bridge} nodad", this.here()))?;
        ip(&format!("link set {bridge} up"))?;
        for machine in 0..n {
            let (name, port, address) = (
                this.name(machine),
                this.port(machine),
                this.address(machine),
            );
            ip(&format!("netns add {name}"))?;
            ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}"
            ))?;
            ip(&format!("link set {port} master {bridge} up"))?;
            ip(&format!("-n {name} addr add {address}/64 dev eth0 nodad"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(this)
    }

    /// A command that runs on one of them.
    pub(super) fn command(&self, machine: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine)]);
        command.arg(program);
        command
    }

    /// The address of one of them.
    pub(super) fn address(&self, machine: usize) -> Ipv6Addr {
        let number = u16::try_from(machine + 1).expect("there are few");
        self.numbered(number)
    }

    /// The address of this machine among them.
    pub(super) fn here(&self) -> Ipv6Addr {
        self.numbered(HERE)
    }

    /// Nothing that these send arrives at one of them from now on; from all others everything does.
    pub(super) fn cut(&self, machine: usize, from: &[Ipv6Addr]) {
        let mut rules = "table inet cut {}\ndelete table inet cut\n".to_owned();
        if !from.is_empty() {
            let from: Vec<String> = from.iter().map(Ipv6Addr::to_string).collect();
            let rule = format!("ip6 saddr {{ {} }} drop", from.join(", "));
            let chain = "type filter hook input priority 0;";
            rules += &format!("table inet cut {{\nchain input {{\n{chain}\n{rule}\n}}\n}}\n");
        }
        let mut nft = self
            .command(machine, Path::new("nft"))
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it was looked for");
        let input = nft.stdin.take();
        let written = input.expect("it is piped").write_all(rules.as_bytes());
        written.expect("it reads");
        assert!(nft.wait().expect("it ends").success(), "{rules}");
    }

    fn numbered(&self, number: u16) -> Ipv6Addr {
        let [a, b, c, d] = self.id.to_be_bytes();
        let id = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        Ipv6Addr::new(0xfdec, 0xd000, id[0], id[1], 0, 0, 0, number)
    }

    fn name(&self, machine: usize) -> String {
        format!("groma-etcd-{}-{machine}", self.id)
    }

    fn bridge(&self) -> String {
        format!("ge{}", self.id)
    }

    fn port(&self, machine: usize) -> String {
        format!("ge{}m{machine}", self.id)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // What could not be made is not there.
        for machine in 0..self.n {
            let _ = ip(&format!("netns delete {}", self.name(machine)));
            let _ = ip(&format!("link delete {}", self.port(machine)));
        }
        let _ = ip(&format!("link delete {}", self.bridge()));
    }
}

fn ip(words: &str) -> Result<(), Skip> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|error| Skip::because(format!("ip: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(Skip::because(format!("ip {words}: {}", said.trim()))),
    }
}
