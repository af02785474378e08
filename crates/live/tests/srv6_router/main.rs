//! `adapter-srv6` on the real kernel: real packets through three routers, and what happens when any part is missing.

mod bed;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use adapter::router::contract;
use adapter::{Router, RouterState, difference};
use adapter_srv6::{PROTOCOL, Srv6Router};
use api::tcm::{Classifier, Direction, HostDatapathSpec};
use api::wdm::Protocol;
use linux::link::{Veth, ensure_veth};
use linux::nft::schema::Table;
use linux::nft::types::NfFamily;
use linux::route::Action;
use linux::{Namespace, Netlink, nft};

use bed::{APP, Bed, Host, PORT, SID_APP, SID_LEFT, SID_RIGHT, SID_USER, Server};
use bed::{ask, converge, datapath, ip, sid, steer, to_attachment};

/// Breaks one part of a host's datapath.
type Damage = fn(&Host);

/// What a full TCP window needs several of.
const BULK_BYTES: usize = 1 << 20;

/// Packets of the test of a planned change, and after how many the path changes.
const FLOOD: u32 = 2_000;
const FLIP_AFTER: u32 = 50;

/// Segments of the test of a large host.
const MANY: usize = 1_000;

#[tokio::test]
async fn a_chain_carries_packets_both_ways_and_every_segment_counts() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    assert!(bed.carries());
    for (host, text) in [
        (&bed.middle, SID_LEFT),
        (&bed.egress, SID_APP),
        (&bed.middle, SID_RIGHT),
        (&bed.ingress, SID_USER),
    ] {
        let seen = counted(host, text).await;
        assert!(
            seen >= 3,
            "{text} saw {seen} packets, expected at least the handshake"
        );
    }
}

#[tokio::test]
async fn what_is_read_is_what_was_wanted() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    for host in [&bed.ingress, &bed.middle, &bed.egress] {
        let state = host.router.read().await.expect("read");
        assert_eq!(state.applied.attachments, host.wanted.attachments);
        assert_eq!(state.applied.user_ports, host.wanted.user_ports);
        assert_eq!(state.applied.sids, host.wanted.sids);
        assert_eq!(state.applied.steering, host.wanted.steering);
        assert_eq!(state.leftovers, [""; 0]);
        let underlay = host.router.underlay_address().await.expect("read");
        assert_eq!(underlay, Some(host.wanted.locator.address()));
    }
}

#[tokio::test]
async fn each_missing_part_stops_the_packets_and_is_mended() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let breaks: [(&str, Damage); 6] = [
        ("its segments", |host| {
            remove_routes(host, |action| matches!(action, Action::Segment { .. }))
        }),
        ("its steering", |host| {
            remove_routes(host, |action| matches!(action, Action::Encapsulate { .. }))
        }),
        ("its delivery", |host| {
            remove_routes(host, |action| matches!(action, Action::Forward { .. }))
        }),
        ("its rules", remove_rules),
        ("an interface", |host| {
            open(&host.namespace).set_down("gleft").expect("set down")
        }),
        ("forwarding", |host| {
            let off = [("net.ipv6.conf.all.forwarding", "0")];
            linux::sysctl::set(&host.namespace, &off).expect("set");
        }),
    ];
    for (what, damage) in breaks {
        damage(&bed.middle);
        assert!(!bed.carries(), "packets pass without {what}");
        converge(&bed.middle.router, &bed.middle.wanted).await;
        assert!(bed.carries(), "packets do not pass after {what} came back");
    }
}

#[tokio::test]
async fn a_lost_firewall_is_noticed_and_comes_back() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    nft::delete_table(&bed.ingress.namespace, &table()).expect("delete");
    let state = bed.ingress.router.read().await.expect("read");
    assert_eq!(state.leftovers.len(), 1, "{:?}", state.leftovers);
    converge(&bed.ingress.router, &bed.ingress.wanted).await;
    assert!(bed.carries());
}

#[tokio::test]
async fn nothing_passes_that_no_chain_carries() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let socket = udp(&bed.user, "[::]:0");
    let elsewhere = SocketAddr::new(ip("fcff:3::"), PORT);
    socket.send_to(b"to a router", elsewhere).expect("send");
    await_count(&bed.ingress.namespace, "refused", 1);

    let before = counted(&bed.egress, SID_APP).await;
    forge(&bed.user, SID_APP);
    await_count(&bed.ingress.namespace, "forged", 1);
    assert_eq!(
        counted(&bed.egress, SID_APP).await,
        before,
        "a forged segment arrived"
    );
}

#[tokio::test]
async fn a_classifier_lets_its_port_pass_and_no_other() {
    let Some(mut bed) = Bed::ready().await else {
        return;
    };
    let class = Classifier {
        protocol: Protocol::Tcp,
        port: PORT,
    };
    bed.ingress.wanted.steering[0].matching.classifier = vec![class];
    let state = converge(&bed.ingress.router, &bed.ingress.wanted).await;
    assert_eq!(state.applied.steering, bed.ingress.wanted.steering);
    assert!(bed.carries());

    let other = Server::start(&bed.app, PORT + 1);
    assert!(
        ask(&bed.user, PORT + 1, b"lost").is_err(),
        "another port passed"
    );
    other.stop();
}

#[tokio::test]
async fn large_transfers_pass_although_senders_know_nothing_of_the_encapsulation() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let server = Server::start(&bed.app, PORT);
    let bulk: Vec<u8> = (0..BULK_BYTES).map(|at| at.to_le_bytes()[0]).collect();
    let answer = ask(&bed.user, PORT, &bulk).expect("bulk passes both ways");
    server.stop();
    assert_eq!(answer.len(), bulk.len());
    let access = open(&bed.ingress.namespace)
        .link("access")
        .expect("list")
        .expect("there");
    assert_eq!(access.mtu, 1500 - 64);
}

#[tokio::test]
async fn a_planned_change_of_path_loses_nothing() {
    let Some(mut bed) = Bed::ready().await else {
        return;
    };
    let (source, sink) = (
        udp(&bed.user, "[::]:0"),
        udp(&bed.app, &format!("[{APP}]:9")),
    );
    sink.set_read_timeout(Some(Duration::from_secs(2)))
        .expect("set");
    let paths = [SID_APP, SID_LEFT];
    let mut arrived = 0;
    for number in 0..FLOOD {
        if number % FLIP_AFTER == 0 {
            let turn = usize::try_from(number / FLIP_AFTER).expect("fits") % paths.len();
            bed.ingress.wanted.steering[0].segments = vec![sid(paths[turn])];
            let state = bed.ingress.router.read().await.expect("read");
            let steps = difference(&bed.ingress.wanted, &state);
            assert_eq!(steps.len(), 1, "a changed path is one replace: {steps:?}");
            bed.ingress
                .router
                .apply(&bed.ingress.wanted, &steps[0])
                .await
                .expect("replace");
        }
        source
            .send_to(&number.to_be_bytes(), SocketAddr::new(ip(APP), 9))
            .expect("send");
        arrived += u32::from(sink.recv(&mut [0; 4]).is_ok());
    }
    assert_eq!(arrived, FLOOD);
    println!(
        "{arrived} of {FLOOD} packets arrived over {} changes",
        FLOOD / FLIP_AFTER
    );
}

#[tokio::test]
async fn a_router_cut_off_between_any_two_steps_ends_where_it_should() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let (host, empty) = (&bed.middle, datapath("fcff:2::/48", &[]));
    let mut cut = 0;
    loop {
        converge(&reopen(host), &empty).await;
        assert_eq!(ours(&host.namespace), 0, "deleting left something");
        let finished = steps_until(&reopen(host), &host.wanted, cut).await;
        converge(&reopen(host), &host.wanted).await;
        assert!(bed.carries(), "after a cut before step {cut}");
        steps_until(&reopen(host), &empty, cut).await;
        if finished {
            break;
        }
        cut += 1;
    }
    assert!(cut >= 6, "only {cut} places to cut");
}

#[tokio::test]
async fn what_is_not_wanted_goes_and_what_others_made_stays() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let host = &bed.egress;
    let foreign = open(&host.namespace).routes(99).expect("list").len();
    let empty = datapath("fcff:3::/48", &[]);
    let state = converge(&host.router, &empty).await;
    assert_eq!(state.applied, RouterState::default().applied);
    assert_eq!(ours(&host.namespace), 0);
    assert_eq!(
        nft::list_table(&host.namespace, &table()).expect("list"),
        None
    );
    assert_eq!(
        open(&host.namespace).routes(99).expect("list").len(),
        foreign
    );
}

#[tokio::test]
async fn a_lost_memory_costs_the_words_and_not_the_packets() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let host = &bed.egress;
    std::fs::remove_file(host.folder.path().join("datapath.json")).expect("forget");
    let router = reopen(host);
    let state = router.read().await.expect("read");
    assert_eq!(state.applied, RouterState::default().applied);
    assert!(!state.leftovers.is_empty());
    converge(&router, &host.wanted).await;
    assert!(bed.carries());
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_said_and_harms_no_other() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let host = &bed.egress;
    let mut wanted = host.wanted.clone();
    wanted
        .attachments
        .extend(datapath("fcff:3::/48", &["gnone"]).attachments);
    wanted
        .sids
        .push(to_attachment("fcff:3::9", "gnone", Direction::Forward));
    wanted
        .steering
        .push(steer("gnone", APP, SID_APP, Direction::Reverse));
    let state = converge(&host.router, &wanted).await;
    assert_eq!(state.applied.sids, host.wanted.sids);
    let step = adapter::RouterStep::EnsureAttachment(wanted.attachments[1].clone());
    let refused = host
        .router
        .apply(&wanted, &step)
        .await
        .expect_err("there is no such interface");
    assert_eq!(refused.kind, api::ErrorKind::NotFound);
    converge(&host.router, &wanted).await;
    assert!(bed.carries());
}

#[tokio::test]
async fn a_change_by_somebody_else_is_hinted_at() {
    use futures::StreamExt;
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let mut changes = bed.middle.router.changes();
    remove_rules(&bed.middle);
    let hint = tokio::time::timeout(Duration::from_secs(5), changes.next()).await;
    assert_eq!(hint.expect("a hint comes"), Some(()));
    nft::delete_table(&bed.middle.namespace, &table()).expect("delete");
    let hint = tokio::time::timeout(Duration::from_secs(5), changes.next()).await;
    assert_eq!(hint.expect("a hint comes"), Some(()));
}

#[tokio::test]
async fn an_underlay_that_leaves_too_little_is_refused_with_figures() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let mut wanted = bed.egress.wanted.clone();
    wanted.mtu = 1343;
    let step = adapter::RouterStep::EnsureSid(wanted.sids[0].clone());
    let refused = bed
        .egress
        .router
        .apply(&wanted, &step)
        .await
        .expect_err("1279 is too small");
    assert!(
        refused.what.contains("1343") && refused.what.contains("1344"),
        "{refused}"
    );
}

#[tokio::test]
async fn many_segments_are_programmed_in_one_go() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let host = &bed.egress;
    let mut wanted = host.wanted.clone();
    for number in 0..MANY {
        let (segment, user) = (format!("fcff:3::f:{number:x}"), format!("fd02::{number:x}"));
        wanted
            .sids
            .push(to_attachment(&segment, "gapp", Direction::Forward));
        wanted
            .steering
            .push(steer("gapp", &user, SID_RIGHT, Direction::Reverse));
    }
    let started = Instant::now();
    let state = converge(&host.router, &wanted).await;
    println!(
        "{MANY} segments and as many ways in {:?}",
        started.elapsed()
    );
    assert_eq!(state.applied.sids.len(), wanted.sids.len());
    assert_eq!(state.applied.steering.len(), wanted.steering.len());
    assert!(bed.carries());
}

#[tokio::test]
async fn it_keeps_the_contract_of_routers() {
    let Some(bed) = Bed::ready().await else {
        return;
    };
    let namespace = Namespace::anonymous("contract").expect("make a namespace");
    let folder = tempfile::tempdir().expect("make a folder");
    let router = Srv6Router::within(namespace.clone(), folder.path()).expect("open the router");
    contract::check(&Alone {
        namespace,
        router,
        far: bed.function,
    })
    .await;
}

/// A router alone; the other ends of its interfaces are in a namespace that nobody uses.
struct Alone {
    namespace: Namespace,
    router: Srv6Router,
    far: Namespace,
}

impl contract::Ground for Alone {
    type Router = Srv6Router;

    fn router(&self) -> &Srv6Router {
        &self.router
    }

    async fn add_interface(&self, name: &str) {
        let end = |namespace| Veth {
            namespace,
            name,
            mtu: 1500,
            mac: None,
        };
        ensure_veth(end(&self.namespace), end(&self.far)).expect("make an interface");
    }

    async fn remove_interface(&self, name: &str) {
        open(&self.namespace)
            .delete_link(name)
            .expect("delete an interface");
    }
}

/// Does at most `count` steps; true if there were no more.
async fn steps_until(router: &Srv6Router, wanted: &HostDatapathSpec, count: usize) -> bool {
    let state = router.read().await.expect("read");
    let steps = difference(wanted, &state);
    for step in steps.iter().take(count) {
        router.apply(wanted, step).await.expect("do a step");
    }
    steps.len() <= count
}

/// The router as the next process finds it.
fn reopen(host: &Host) -> Srv6Router {
    Srv6Router::within(host.namespace.clone(), host.folder.path()).expect("open the router again")
}

async fn counted(host: &Host, text: &str) -> u64 {
    let counters = host.router.counters().await.expect("count");
    let found = counters.iter().find(|counters| counters.sid == sid(text));
    found.expect("the segment counts").packets
}

/// Waits until a firewall counter has a value.
fn await_count(namespace: &Namespace, counter: &str, packets: u64) {
    const LOOKS_MAX: usize = 500;
    for _ in 0..LOOKS_MAX {
        let counters = nft::counters(namespace, &table()).expect("count");
        if counters[counter].packets >= packets {
            return;
        }
    }
    panic!("counter {counter} never reached {packets}");
}

/// Sends IPv6 in IPv6 straight to a segment, as a tenant who knows its address would.
fn forge(namespace: &Namespace, text: &str) {
    use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, sendto, socket};
    let ipv6_in_ipv6 = Protocol::from_raw(std::num::NonZero::new(41).expect("not zero"));
    let open = || socket(AddressFamily::INET6, SocketType::RAW, Some(ipv6_in_ipv6));
    let socket = namespace.run(open).expect("enter").expect("open");
    let mut inner = [0; 40];
    inner[0] = 0x60;
    inner[6] = 59;
    inner[24..40].copy_from_slice(&sid(APP).octets());
    let target = SocketAddr::new(ip(text), 0);
    sendto(&socket, &inner, SendFlags::empty(), &target).expect("send");
}

fn udp(namespace: &Namespace, address: &str) -> UdpSocket {
    let address = address.parse().expect("an address of this file");
    namespace.udp_socket(address).expect("bind")
}

fn remove_routes(host: &Host, which: impl Fn(&Action) -> bool) {
    let mut netlink = open(&host.namespace);
    let routes = netlink.routes(PROTOCOL).expect("list");
    let chosen: Vec<_> = routes
        .into_iter()
        .map(|seen| seen.route)
        .filter(|route| which(&route.action))
        .collect();
    assert!(!chosen.is_empty(), "there is nothing to remove");
    for route in chosen {
        netlink.delete_route(&route).expect("delete");
    }
}

fn remove_rules(host: &Host) {
    let mut netlink = open(&host.namespace);
    for rule in netlink.rules(PROTOCOL).expect("list") {
        netlink.delete_rule(&rule).expect("delete");
    }
}

/// How many routes and rules of the router's own there are.
fn ours(namespace: &Namespace) -> usize {
    let mut netlink = open(namespace);
    netlink.routes(PROTOCOL).expect("list").len() + netlink.rules(PROTOCOL).expect("list").len()
}

fn table() -> Table<'static> {
    Table {
        family: NfFamily::IP6,
        name: "groma".into(),
        handle: None,
    }
}

fn open(namespace: &Namespace) -> Netlink {
    Netlink::open(namespace).expect("open netlink")
}
