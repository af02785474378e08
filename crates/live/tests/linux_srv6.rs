//! The datapath on which everything else stands, built with `linux` alone and proven with real packets.
//!
//! user → H.Encaps → End.DT6 → function that knows nothing of SRv6 → input-device rule → H.Encaps → End.DT6 → application,
//! and back over the same list reversed. All namespaces are anonymous: nothing can be left behind.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use linux::link::{Veth, ensure_veth};
use linux::netlink::Prefix;
use linux::route::{Action, Behaviour, Counters, METRIC, Mode, Route, TABLE_MAIN};
use linux::rule::{Rule, Selector};
use linux::{Namespace, Netlink, sysctl};

const PROTOCOL: u8 = 201;
const UNDERLAY_MTU: u32 = 1500;
/// One segment in a routing header costs 64 bytes.
const ATTACHMENT_MTU: u32 = 1436;
const PORT: u16 = 7;

const USER: &str = "fd01::10";
const APP: &str = "fd01::20";
const SID_USER: &str = "fcff:1::a";
const SID_LEFT: &str = "fcff:2::1";
const SID_RIGHT: &str = "fcff:2::2";
const SID_APP: &str = "fcff:3::1";
const HOST_SIDE: &str = "fe80::1";
const INSTANCE_SIDE: &str = "fe80::2";

/// Three routers in a row and what hangs on them.
struct Bed {
    user: Namespace,
    ingress: Namespace,
    middle: Namespace,
    egress: Namespace,
    app: Namespace,
    function: Namespace,
}

#[test]
fn packets_cross_a_function_both_ways_and_every_segment_counts() {
    let Some(bed) = bed_or_skip() else { return };
    let server = serve_once(&bed.app);
    let answer = ask(&bed.user, b"nonce-1").expect("the chain carries the request");
    assert_eq!(answer, b"nonce-1");
    server
        .join()
        .expect("the server ends")
        .expect("the server answers");

    for (router, sid) in [
        (&bed.middle, SID_LEFT),
        (&bed.egress, SID_APP),
        (&bed.middle, SID_RIGHT),
        (&bed.ingress, SID_USER),
    ] {
        let seen = counted(router, sid);
        assert!(
            seen.packets >= 3,
            "{sid} saw {seen:?}, expected at least the handshake"
        );
        assert_eq!(seen.errors, 0, "{sid}");
    }
}

#[test]
fn without_the_rule_behind_the_function_nothing_arrives() {
    let Some(bed) = bed_or_skip() else { return };
    let _listener = listen(&bed.app);
    let rule = input_rule("gright", 203);
    netlink(&bed.middle)
        .delete_rule(&rule)
        .expect("delete the rule");
    assert!(
        ask(&bed.user, b"lost").is_err(),
        "the request must not pass the hole"
    );
    assert!(
        counted(&bed.middle, SID_LEFT).packets > 0,
        "it came as far as the function"
    );
    assert_eq!(counted(&bed.egress, SID_APP).packets, 0, "and no further");
}

#[test]
fn routes_and_rules_read_back_as_written() {
    let Some(bed) = bed_or_skip() else { return };
    let mut middle = netlink(&bed.middle);
    let route = encapsulate(
        203,
        APP,
        &[SID_APP, SID_USER],
        Mode::EncapsReduced,
        "gright",
    );
    middle.replace_route(&route).expect("replace in one step");
    let mut of_table = routes(&mut middle);
    of_table.retain(|route| route.table == 203);
    assert_eq!(
        of_table,
        std::slice::from_ref(&route),
        "replaced, not added"
    );

    let rules = middle.rules(PROTOCOL).expect("list rules");
    assert_eq!(rules, [input_rule("gleft", 202), input_rule("gright", 203)]);

    middle.delete_route(&route).expect("delete");
    middle
        .delete_route(&route)
        .expect("deleting twice is no error");
    assert!(!routes(&mut middle).contains(&route));
}

fn bed_or_skip() -> Option<Bed> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: making network namespaces needs root");
        return None;
    }
    Some(build().expect("the test bed stands"))
}

fn build() -> linux::Result<Bed> {
    let make = |label, settings| {
        let namespace = Namespace::anonymous(label)?;
        sysctl::set(&namespace, settings)?;
        Ok(namespace)
    };
    let bed = Bed {
        user: make("user", sysctl::END)?,
        ingress: make("ingress", sysctl::ROUTER)?,
        middle: make("middle", sysctl::ROUTER)?,
        egress: make("egress", sysctl::ROUTER)?,
        app: make("app", sysctl::END)?,
        function: make("function", sysctl::ROUTER)?,
    };
    underlay(&bed)?;
    attach(&bed.ingress, "gaccess", &bed.user, "eth0")?;
    attach(&bed.middle, "gleft", &bed.function, "left")?;
    attach(&bed.middle, "gright", &bed.function, "right")?;
    attach(&bed.egress, "gapp", &bed.app, "eth0")?;
    end_of_path(&bed.user, USER)?;
    end_of_path(&bed.app, APP)?;
    forwarder(&bed.function)?;
    segments(&bed)?;
    steering(&bed)?;
    Ok(bed)
}

/// ingress – middle – egress, with one locator each.
fn underlay(bed: &Bed) -> linux::Result<()> {
    wire(&bed.ingress, "to2", &bed.middle, "to1", UNDERLAY_MTU)?;
    wire(&bed.middle, "to3", &bed.egress, "to2", UNDERLAY_MTU)?;
    for (namespace, address) in [
        (&bed.ingress, "fcff:1::"),
        (&bed.middle, "fcff:2::"),
        (&bed.egress, "fcff:3::"),
    ] {
        Netlink::open(namespace)?.add_address("lo", Prefix::host(ip(address)))?;
    }
    for (namespace, locator, device, gateway) in [
        (&bed.ingress, "fcff:2::", "to2", INSTANCE_SIDE),
        (&bed.ingress, "fcff:3::", "to2", INSTANCE_SIDE),
        (&bed.middle, "fcff:1::", "to1", HOST_SIDE),
        (&bed.middle, "fcff:3::", "to3", INSTANCE_SIDE),
        (&bed.egress, "fcff:1::", "to2", HOST_SIDE),
        (&bed.egress, "fcff:2::", "to2", HOST_SIDE),
    ] {
        let destination = Prefix {
            address: ip(locator),
            length: 48,
        };
        write(
            namespace,
            &[forward(TABLE_MAIN, destination, device, gateway)],
        )?;
    }
    Ok(())
}

/// A veth pair with fixed link-local addresses.
fn wire(
    left: &Namespace,
    left_name: &str,
    right: &Namespace,
    right_name: &str,
    mtu: u32,
) -> linux::Result<()> {
    let ends = [
        (left, left_name, HOST_SIDE),
        (right, right_name, INSTANCE_SIDE),
    ];
    let [left, right] = ends.map(|(namespace, name, _)| Veth {
        namespace,
        name,
        mtu,
        mac: None,
    });
    ensure_veth(left, right)?;
    for (namespace, name, address) in ends {
        let address = Prefix {
            address: ip(address),
            length: 64,
        };
        Netlink::open(namespace)?.add_address(name, address)?;
    }
    Ok(())
}

fn attach(router: &Namespace, device: &str, inside: &Namespace, name: &str) -> linux::Result<()> {
    wire(router, device, inside, name, ATTACHMENT_MTU)
}

fn end_of_path(namespace: &Namespace, address: &str) -> linux::Result<()> {
    Netlink::open(namespace)?.add_address("eth0", Prefix::host(ip(address)))?;
    let default = forward(TABLE_MAIN, Prefix::any_ipv6(), "eth0", HOST_SIDE);
    write(namespace, &[default])
}

/// What comes in on one side goes out of the other.
fn forwarder(namespace: &Namespace) -> linux::Result<()> {
    let mut netlink = Netlink::open(namespace)?;
    for (from, to, table) in [("left", "right", 10), ("right", "left", 11)] {
        netlink.replace_route(&forward(table, Prefix::any_ipv6(), to, HOST_SIDE))?;
        netlink.add_rule(&input_rule(from, table))?;
    }
    Ok(())
}

fn segments(bed: &Bed) -> linux::Result<()> {
    let everything = Prefix::any_ipv6();
    for (router, sid, table, destination, device) in [
        (
            &bed.ingress,
            SID_USER,
            100,
            Prefix::host(ip(USER)),
            "gaccess",
        ),
        (&bed.middle, SID_LEFT, 200, everything, "gleft"),
        (&bed.middle, SID_RIGHT, 201, everything, "gright"),
        (&bed.egress, SID_APP, 300, Prefix::host(ip(APP)), "gapp"),
    ] {
        let behind = forward(table, destination, device, INSTANCE_SIDE);
        write(router, &[behind, segment(sid, table, device)])?;
    }
    Ok(())
}

fn steering(bed: &Bed) -> linux::Result<()> {
    for (router, device, table, destination, sid) in [
        (&bed.ingress, "gaccess", 101, APP, SID_LEFT),
        (&bed.middle, "gright", 203, APP, SID_APP),
        (&bed.egress, "gapp", 301, USER, SID_RIGHT),
        (&bed.middle, "gleft", 202, USER, SID_USER),
    ] {
        let route = encapsulate(table, destination, &[sid], Mode::Encaps, device);
        write(router, &[route])?;
        Netlink::open(router)?.add_rule(&input_rule(device, table))?;
    }
    Ok(())
}

fn listen(namespace: &Namespace) -> TcpListener {
    namespace
        .run(|| TcpListener::bind(SocketAddr::new(ip(APP), PORT)))
        .expect("enter the namespace")
        .expect("listen")
}

/// Echoes what one connection says.
fn serve_once(namespace: &Namespace) -> thread::JoinHandle<io::Result<()>> {
    let listener = listen(namespace);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut message = Vec::new();
        stream.read_to_end(&mut message)?;
        stream.write_all(&message)
    })
}

fn ask(namespace: &Namespace, message: &[u8]) -> io::Result<Vec<u8>> {
    let address = SocketAddr::new(ip(APP), PORT);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(2));
    let mut stream = namespace.run(connect).expect("enter the namespace")?;
    stream.write_all(message)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn counted(router: &Namespace, sid: &str) -> Counters {
    let seen = netlink(router).routes(PROTOCOL).expect("list routes");
    seen.iter()
        .find(|seen| seen.route.destination == Prefix::host(ip(sid)))
        .expect("the segment is there")
        .counters
        .expect("a segment counts")
}

fn routes(netlink: &mut Netlink) -> Vec<Route> {
    let seen = netlink.routes(PROTOCOL).expect("list routes");
    seen.into_iter().map(|seen| seen.route).collect()
}

fn write(namespace: &Namespace, routes: &[Route]) -> linux::Result<()> {
    let mut netlink = Netlink::open(namespace)?;
    routes
        .iter()
        .try_for_each(|route| netlink.replace_route(route))
}

fn forward(table: u32, destination: Prefix, device: &str, gateway: &str) -> Route {
    let action = Action::Forward {
        device: device.to_owned(),
        gateway: Some(ip(gateway)),
    };
    route(table, destination, action)
}

fn encapsulate(
    table: u32,
    destination: &str,
    segments: &[&str],
    mode: Mode,
    device: &str,
) -> Route {
    let action = Action::Encapsulate {
        device: device.to_owned(),
        mode,
        segments: segments.iter().map(|text| address(text)).collect(),
    };
    route(table, Prefix::host(ip(destination)), action)
}

fn segment(sid: &str, table: u32, device: &str) -> Route {
    let action = Action::Segment {
        device: device.to_owned(),
        behaviour: Behaviour::EndDt6 { table },
    };
    route(TABLE_MAIN, Prefix::host(ip(sid)), action)
}

fn route(table: u32, destination: Prefix, action: Action) -> Route {
    Route {
        table,
        destination,
        metric: METRIC,
        action,
        protocol: PROTOCOL,
    }
}

fn input_rule(device: &str, table: u32) -> Rule {
    Rule {
        priority: table,
        selector: Selector::InputDevice(device.to_owned()),
        table,
        protocol: PROTOCOL,
    }
}

fn netlink(namespace: &Namespace) -> Netlink {
    Netlink::open(namespace).expect("open netlink")
}

fn ip(text: &str) -> IpAddr {
    IpAddr::V6(address(text))
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address of this file")
}
