//! Namespaces, devices, the firewall and TUN devices of `linux`, on the real kernel.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::process::{self, Command};
use std::time::Duration;

use linux::link::{Veth, ensure_veth};
use linux::netlink::Prefix;
use linux::nft::schema::{Chain, Counter, NfListObject, Rule, Table};
use linux::nft::stmt::{self, Statement};
use linux::nft::types::{NfChainType, NfFamily, NfHook};
use linux::probe::Feature;
use linux::tun::Lifetime;
use linux::{Namespace, Netlink, netns, nft, probe, sysctl, tun};

/// How often an answer is sent before it counts as lost.
const ANSWERS_MAX: usize = 100;

/// A named namespace that is gone at the end of the test, whatever its outcome.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        netns::delete(&self.0).expect("delete the namespace");
    }
}

#[test]
fn a_named_namespace_is_the_one_that_ip_netns_knows() {
    if skip() {
        return;
    }
    let prefix = format!("gtest-{}-known-", process::id());
    let named = Named(format!("{prefix}a"));
    let namespace = netns::ensure(&named.0).expect("make");
    netns::ensure(&named.0).expect("making it again keeps it");
    assert_eq!(
        netns::list(&prefix).expect("list"),
        std::slice::from_ref(&named.0)
    );

    Netlink::open(&namespace)
        .expect("open")
        .ensure_bridge("seen")
        .expect("make a bridge");
    let seen = Command::new("ip")
        .args(["netns", "exec", &named.0, "ip", "link", "show", "seen"])
        .status();
    assert!(
        seen.expect("run ip").success(),
        "ip netns sees the same namespace"
    );

    netns::delete(&named.0).expect("delete");
    netns::delete(&named.0).expect("deleting twice is no error");
    assert!(!netns::exists(&named.0).expect("look"));
}

#[test]
fn a_name_without_a_namespace_is_taken_over() {
    if skip() {
        return;
    }
    let named = Named(format!("gtest-{}-crash", process::id()));
    netns::ensure(&named.0).expect("the folder is there");
    netns::delete(&named.0).expect("delete");
    std::fs::write(format!("{}/{}", netns::FOLDER, named.0), "").expect("leave a file behind");
    assert!(!netns::exists(&named.0).expect("a plain file is no namespace"));
    netns::ensure(&named.0).expect("make it none the less");
    assert!(netns::exists(&named.0).expect("look"));
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for name in ["", "..", "a/b"] {
        assert!(netns::open(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_veth_pair_is_kept_and_gets_its_mtu_and_address() {
    if skip() {
        return;
    }
    let (left, right) = (space("left"), space("right"));
    let end = |namespace, name, mtu| Veth {
        namespace,
        name,
        mtu,
        mac: Some([2, 0, 0, 0, 0, 7]),
    };
    ensure_veth(
        end(&left, "a", 1500),
        Veth {
            mac: None,
            ..end(&right, "b", 1500)
        },
    )
    .expect("make");
    let mut netlink = Netlink::open(&left).expect("open");
    let first = netlink.link("a").expect("list").expect("it is there");
    assert_eq!(first.mac, Some([2, 0, 0, 0, 0, 7]));

    ensure_veth(
        end(&left, "a", 1400),
        Veth {
            mac: None,
            ..end(&right, "b", 1400)
        },
    )
    .expect("keep");
    let second = netlink.link("a").expect("list").expect("it is there");
    assert_eq!(
        (second.index, second.mtu, second.up),
        (first.index, 1400, true)
    );

    let address = Prefix::host("fd00::1".parse::<IpAddr>().expect("address"));
    netlink.add_address("a", address).expect("add");
    netlink
        .add_address("a", address)
        .expect("adding twice is no error");
    assert!(netlink.addresses("a").expect("list").contains(&address));
    left.udp_socket(SocketAddr::new(address.address, 0))
        .expect("usable at once");

    netlink.delete_link("a").expect("delete");
    assert_eq!(
        Netlink::open(&right)
            .expect("open")
            .link("b")
            .expect("list"),
        None,
        "both ends go"
    );
}

#[test]
fn half_of_another_pair_is_replaced() {
    if skip() {
        return;
    }
    let (one, two, three) = (space("one"), space("two"), space("three"));
    let end = |namespace, name| Veth {
        namespace,
        name,
        mtu: 1500,
        mac: None,
    };
    ensure_veth(end(&one, "a"), end(&two, "b")).expect("make");
    ensure_veth(end(&one, "a"), end(&three, "b")).expect("move");
    assert_eq!(
        Netlink::open(&two).expect("open").link("b").expect("list"),
        None
    );
    assert!(
        Netlink::open(&three)
            .expect("open")
            .link("b")
            .expect("list")
            .is_some()
    );
}

#[test]
fn a_setting_belongs_to_its_namespace() {
    if skip() {
        return;
    }
    let (router, end) = (space("router"), space("end"));
    sysctl::set(&router, sysctl::ROUTER).expect("set");
    let read = |namespace| sysctl::get(namespace, "net.ipv6.conf.all.forwarding").expect("read");
    assert_eq!((read(&router).as_str(), read(&end).as_str()), ("1", "0"));
    assert!(sysctl::set(&end, &[("net.ipv6.no_such_setting", "1")]).is_err());
}

#[test]
fn a_table_is_replaced_whole_and_counts() {
    if skip() {
        return;
    }
    let namespace = space("firewall");
    let table = Table {
        family: NfFamily::INet,
        name: Cow::Borrowed("groma-test"),
        handle: None,
    };
    assert_eq!(nft::list_table(&namespace, &table).expect("list"), None);
    for _ in 0..2 {
        nft::replace_table(&namespace, &table, counting(&table)).expect("write");
    }
    let socket = namespace
        .udp_socket("[::1]:0".parse().expect("address"))
        .expect("bind");
    let own = socket.local_addr().expect("address");
    socket.send_to(b"x", own).expect("send");
    socket.recv(&mut [0; 1]).expect("receive");
    let counted = nft::counters(&namespace, &table).expect("count")["all"];
    assert_eq!(
        (counted.packets, counted.bytes),
        (1, 49),
        "one packet: 40 + 8 + 1 bytes"
    );

    nft::delete_table(&namespace, &table).expect("delete");
    nft::delete_table(&namespace, &table).expect("deleting twice is no error");
    assert_eq!(nft::list_table(&namespace, &table).expect("list"), None);
}

fn counting(table: &Table<'static>) -> Vec<NfListObject<'static>> {
    let (family, name) = (table.family, table.name.clone());
    vec![
        NfListObject::Counter(Counter {
            family,
            table: name.clone(),
            name: "all".into(),
            ..Counter::default()
        }),
        NfListObject::Chain(Chain {
            family,
            table: name.clone(),
            name: "input".into(),
            _type: Some(NfChainType::Filter),
            hook: Some(NfHook::Input),
            prio: Some(0),
            ..Chain::default()
        }),
        NfListObject::Rule(Rule {
            family,
            table: name,
            chain: "input".into(),
            expr: Cow::Owned(vec![Statement::Counter(stmt::Counter::Named("all".into()))]),
            ..Rule::default()
        }),
    ]
}

#[tokio::test]
async fn packets_of_a_tun_device_are_read_and_written() {
    if skip() {
        return;
    }
    let namespace = space("tun");
    let tun = tun::open(&namespace, "t0", Lifetime::Handle).expect("open");
    let mut netlink = Netlink::open(&namespace).expect("open");
    netlink.set_up("t0").expect("up");
    let prefix = Prefix {
        address: "fd00::1".parse().expect("address"),
        length: 64,
    };
    netlink.add_address("t0", prefix).expect("address");

    let socket = namespace
        .udp_socket("[fd00::1]:0".parse().expect("address"))
        .expect("bind");
    let port = socket.local_addr().expect("address").port();
    socket.send_to(b"out", ("fd00::2", port)).expect("send");
    let mut packet = [0; 1500];
    let udp = loop {
        let length = tun.recv(&mut packet).await.expect("read");
        if packet[6] == 17 {
            break &mut packet[..length];
        }
    };
    assert_eq!(&udp[48..], b"out");

    // Swapped addresses keep the checksum right; both ports are the same.
    let (source, destination) = udp[8..40].split_at_mut(16);
    source.swap_with_slice(destination);
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set");
    let mut answer = [0; 3];
    // The kernel routes to a new address a moment after it lets programs use it.
    for _ in 0..ANSWERS_MAX {
        tun.send(udp).await.expect("write");
        if socket.recv(&mut answer).is_ok() {
            break;
        }
    }
    assert_eq!(&answer, b"out");
}

#[test]
fn the_probe_finds_what_this_project_stands_on_and_says_why_not() {
    if skip() {
        return;
    }
    let found = probe::capabilities().expect("probe");
    for capability in &found {
        println!("{capability}");
    }
    let works = |feature| {
        found
            .iter()
            .any(|capability| capability.feature == feature && capability.missing.is_none())
    };
    assert!(
        works(Feature::HEncaps)
            && works(Feature::EndDt6)
            && works(Feature::Nftables)
            && works(Feature::Tun)
    );
}

fn skip() -> bool {
    let skip = !rustix::process::geteuid().is_root();
    if skip {
        eprintln!("skipped: making network namespaces needs root");
    }
    skip
}

fn space(label: &str) -> Namespace {
    Namespace::anonymous(label).expect("make a namespace")
}
