//! A laboratory that is built again from another topology, and taken apart whatever its files say.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use linux::cgroup::Hierarchies;
use linux::netns;
use live::Laboratory;
use live::lab::{Role, wait};
use tempfile::TempDir;

/// How long the name of a tunnel's device is: a `t` and ten digits.
const TUNNEL_LENGTH: usize = 11;
/// What stands for the key of a container.
const KEY: &str = "0123456789abcdef";

/// Two or three sites in a row with a host each.
fn topology(sites: &[&str], links: &[(&str, &str, u64)], prefix: &str) -> String {
    let mut text = String::from(
        "apiVersion: groma.dev/v1alpha1\nkind: NetworkDomain\nmetadata: {name: core}\nspec: {kind: wan, controller: hosts, mtu: 1600, locators: \"fd00::/16\"}\n",
    );
    let mut add = |kind: &str, name: &str, spec: &str| {
        text += &format!(
            "---\napiVersion: groma.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        );
    };
    add("Provider", "own", "jurisdiction: ES, trust: own");
    for (number, site) in (1..).zip(sites) {
        let place = "provider: own, region: centre, country: ES, tier: edge";
        add("Site", site, place);
        let host = format!(
            "site: {site}, domain: core, locator: \"{}/48\", accessPorts: [{{name: users, interface: acc0, prefix: \"{prefix}:{number}::/64\"}}]",
            locator(number)
        );
        add("Host", &format!("{site}-1"), &host);
    }
    for (a, b, micros) in links {
        let link = format!("sites: [{a}, {b}], latencyMicros: {micros}, bandwidth: 1G");
        add("Link", "line", &link);
    }
    text
}

fn locator(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, 0, 0)
}

struct Bed {
    place: TempDir,
    laboratory: Laboratory,
}

impl Bed {
    /// `None`, with the reason printed, where it cannot be made.
    fn up(text: &str) -> Option<Self> {
        let place = tempfile::tempdir().expect("a folder");
        let file = Self::file(&place);
        fs::write(&file, text).expect("written");
        match Laboratory::up(&file) {
            Ok(laboratory) => Some(Self { place, laboratory }),
            Err(skip) => {
                skip.report();
                None
            }
        }
    }

    fn file(place: &TempDir) -> PathBuf {
        place.path().join("topology.yaml")
    }

    fn again(&self, text: &str) {
        fs::write(Self::file(&self.place), text).expect("written");
        self.laboratory.build();
    }

    /// The hosts whose agents run.
    fn agents(&self) -> Vec<String> {
        let running = self.laboratory.processes();
        let mut hosts: Vec<String> = running
            .into_iter()
            .filter_map(|(role, _)| match role {
                Role::Agent(host) => Some(host),
                _ => None,
            })
            .collect();
        hosts.sort();
        hosts
    }

    /// How long the first answer from the second site takes: a port that nobody listens at is refused.
    fn round_trip(&self) -> Duration {
        let router = netns::open(&self.laboratory.router("a-1")).expect("opened");
        let to = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);
        let connect = || {
            let begun = Instant::now();
            let refused = TcpStream::connect(SocketAddr::new(to.into(), 9)).expect_err("nobody");
            (refused.kind(), begun.elapsed())
        };
        let (kind, took) = router.expect("there").run(connect).expect("entered");
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
        took
    }
}

/// Something of a host that looks like a container: a process in a control group, and a namespace.
fn stand_in(mark: &str) -> Child {
    let hierarchies = Hierarchies::detect().expect("control groups");
    let group = hierarchies.group(&format!("groma/{mark}/{KEY}/c"));
    let entrance = group.make().expect("made");
    netns::ensure(&format!("groma-{mark}-{KEY}")).expect("made");
    let mut command = Command::new("sleep");
    command.arg("1000");
    let child = command.spawn().expect("started");
    drop(entrance);
    let procs = hierarchies.file("freezer", group.path(), "cgroup.procs");
    fs::write(procs, child.id().to_string()).expect("moved");
    child
}

#[test]
fn a_host_that_is_no_longer_described_loses_its_power() {
    let link = [("a", "b", 1000)];
    let Some(bed) = Bed::up(&topology(&["a", "b"], &link, "fd30")) else {
        return;
    };
    assert_eq!(bed.agents(), ["a-1", "b-1"]);
    let mut container = stand_in(&bed.laboratory.mark("b-1"));
    bed.again(&topology(&["a"], &[], "fd30"));
    assert_eq!(bed.agents(), ["a-1"]);
    assert_eq!(bed.laboratory.containers("b-1"), [""; 0]);
    assert!(!netns::exists(&bed.laboratory.router("b-1")).expect("looked"));
    assert!(!container.wait().expect("reaped").success());
}

#[test]
fn it_is_taken_apart_whatever_its_topology_says() {
    let Some(bed) = Bed::up(&topology(&["a"], &[], "fd30")) else {
        return;
    };
    let mut container = stand_in(&bed.laboratory.mark("gone-1"));
    let router = netns::open(&bed.laboratory.router("a-1")).expect("looked");
    let program = || Command::new("sleep").arg("1000").spawn().expect("started");
    let mut user = router.expect("there").run(program).expect("entered");
    let kept = bed.laboratory.state().join("topology.yaml");
    fs::write(kept, "kind: [").expect("broken");
    bed.laboratory.down().expect("it goes down");
    assert_eq!(bed.laboratory.processes().len(), 0);
    assert_eq!(bed.laboratory.containers("gone-1"), [""; 0]);
    assert!(!netns::exists(&bed.laboratory.router("a-1")).expect("looked"));
    assert!(!container.wait().expect("reaped").success());
    let ended = user.try_wait().expect("looked");
    assert!(ended.is_some(), "it ran inside");
}

#[test]
fn it_is_taken_apart_only_from_outside_and_by_its_own_folder() {
    let Some(bed) = Bed::up(&topology(&["a"], &[], "fd30")) else {
        return;
    };
    let state = bed.laboratory.state();
    let name = state
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let folder = state
        .parent()
        .and_then(|folder| folder.to_str())
        .expect("a folder");
    let program = bed.laboratory.program().display().to_string();
    let down =
        |folder: &str| ["lab", "down", "--name", name, "--folder", folder].map(str::to_owned);
    let router = bed.laboratory.router("a-1");
    let mut inside = vec!["exec".to_owned(), router, program.clone()];
    inside.extend(down(folder));
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let refused = bed
        .laboratory
        .lab(&inside)
        .expect_err("it would take itself away");
    assert!(refused.contains("leave it first"), "{refused}");
    let other = tempfile::tempdir().expect("a folder");
    let mut elsewhere = Command::new(program);
    elsewhere.args(down(&other.path().display().to_string()));
    let refused = elsewhere.output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("runs from another folder"), "{said}");
    assert_eq!(bed.agents(), ["a-1"], "nothing was touched");
}

#[test]
fn what_changes_in_a_topology_is_built_again() {
    let sites = ["a", "b", "c"];
    let Some(bed) = Bed::up(&topology(&sites, &[("a", "b", 100)], "fd30")) else {
        return;
    };
    wait("a short way", || match bed.round_trip() {
        took if took < Duration::from_millis(50) => Ok(()),
        took => Err(format!("{took:?}")),
    });
    bed.again(&topology(&sites, &[("a", "b", 50_000)], "fd31"));
    assert!(bed.round_trip() >= Duration::from_millis(100));
    let devices = |site: &str| {
        let name = bed
            .laboratory
            .router("a-1")
            .replace("-r-a-1", &format!("-s-{site}"));
        let router = netns::open(&name).expect("opened").expect("there");
        let links = linux::Netlink::open(&router)
            .expect("opened")
            .links()
            .expect("listed");
        links
            .iter()
            .filter(|link| link.name.len() == TUNNEL_LENGTH && link.name.starts_with('t'))
            .count()
    };
    assert_eq!(["a", "b", "c"].map(devices), [1, 1, 0]);
    let users = bed
        .laboratory
        .router("a-1")
        .replace("-r-a-1", "-u-a-1-users");
    let seen = live::lab::ip(&["-n", &users, "-6", "address", "show", "dev", "eth0"]);
    assert!(
        seen.contains("fd31:1::2") && !seen.contains("fd30:1::2"),
        "{seen}"
    );
    bed.again(&topology(&sites, &[("b", "c", 100)], "fd31"));
    assert_eq!(["a", "b", "c"].map(devices), [0, 1, 1]);
}
