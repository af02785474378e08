//! What a laboratory has on this machine, read from the kernel and not from the control plane.

use std::fs;
use std::path::Path;
use std::process::Command;

use linux::cgroup::Hierarchies;
use linux::netns;

use super::Laboratory;

/// The control group above those of all hosts.
const GROUPS: &str = "groma";
/// How an attachment's interface in a router is named: `g` and 14 hexadecimal digits.
const ATTACHMENT_LENGTH: usize = 15;

/// A process in a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    /// What it runs.
    pub program: String,
    /// The host.
    pub host: String,
    /// Its number.
    pub pid: i32,
}

impl Laboratory {
    /// What marks all that belongs to a host.
    pub fn mark(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// The router namespace of a host.
    pub fn router(&self, host: &str) -> String {
        lab::host_router(&self.name, host)
    }

    /// Processes of these programs in the containers of all hosts.
    pub fn running(&self, programs: &[&str]) -> Vec<Running> {
        let hierarchies = Hierarchies::detect().expect("control groups can be read");
        let mut running = Vec::new();
        for host in self.hosts() {
            let group = hierarchies.group(&format!("{GROUPS}/{}", self.mark(host)));
            for pid in group.processes() {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if programs.contains(&name.trim()) {
                    let (program, host) = (name.trim().to_owned(), host.clone());
                    running.push(Running { program, host, pid });
                }
            }
        }
        running.sort();
        running
    }

    /// The control groups and network namespaces of containers, of a host.
    pub fn containers(&self, host: &str) -> Vec<String> {
        let hierarchies = Hierarchies::detect().expect("control groups can be read");
        let mark = self.mark(host);
        let groups = hierarchies.children(&format!("{GROUPS}/{mark}"));
        let groups = groups.into_iter().map(|key| format!("cgroup {mark}/{key}"));
        groups.chain(self.container_namespaces(host)).collect()
    }

    /// The network namespaces of the containers of a host.
    pub fn container_namespaces(&self, host: &str) -> Vec<String> {
        netns::list(&format!("{GROUPS}-{}-", self.mark(host))).expect("namespaces can be listed")
    }

    /// What is left of services in a host's router: attachments, segments, encapsulations and their rules.
    pub fn datapath(&self, host: &str) -> Vec<String> {
        let router = self.router(host);
        if !netns::exists(&router).expect("namespaces can be listed") {
            return Vec::new();
        }
        let routes = ip(&["-n", &router, "-6", "route", "show", "table", "all"]);
        let routes = routes.lines().filter(|line| line.contains("seg6"));
        let rules = ip(&["-n", &router, "-6", "rule", "show"]);
        let ours = |line: &&str| line.contains("fwmark") || line.split(' ').any(is_attachment);
        let rules = rules.lines().filter(ours);
        let attachments = self.attachments(host);
        let all = routes.chain(rules).map(str::to_owned).chain(attachments);
        all.map(|line| format!("{router}: {line}")).collect()
    }

    /// The interfaces of containers in a host's router.
    pub fn attachments(&self, host: &str) -> Vec<String> {
        let links = ip(&["-n", &self.router(host), "-brief", "link", "show"]);
        let names = links
            .lines()
            .filter_map(|line| line.split([' ', '@']).next());
        names
            .filter(|name| is_attachment(name))
            .map(str::to_owned)
            .collect()
    }

    /// What is left of the whole laboratory after it was removed.
    pub fn remains(&self) -> Vec<String> {
        let hierarchies = Hierarchies::detect().expect("control groups can be read");
        let of_lab = |name: &String| name.starts_with(&format!("{}-", self.name));
        let mut remains: Vec<String> = hierarchies
            .children(GROUPS)
            .into_iter()
            .filter(of_lab)
            .collect();
        for prefix in [
            format!("{}-", self.name),
            format!("{GROUPS}-{}-", self.name),
        ] {
            remains.extend(netns::list(&prefix).expect("namespaces can be listed"));
        }
        let processes = self.processes();
        remains.extend(
            processes
                .iter()
                .map(|(role, process)| format!("{role:?} {}", process.pid())),
        );
        if Path::new(&self.state()).exists() {
            remains.push(self.state().display().to_string());
        }
        remains
    }
}

/// What `ip` prints; panics when it fails.
pub fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {}: {said}",
        arguments.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_attachment(name: &str) -> bool {
    name.len() == ATTACHMENT_LENGTH
        && name
            .strip_prefix('g')
            .is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_hexdigit()))
}
