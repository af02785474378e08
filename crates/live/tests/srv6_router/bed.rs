//! Three hosts in a row with an `Srv6Router` each, a user in front, a function in the middle and an application at the end.
//!
//! The bed makes what the lab and the container runtime make elsewhere: namespaces, interfaces, the underlay, a function
//! that forwards. All namespaces are anonymous: nothing can be left behind.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use adapter::router::{INSTANCE_SIDE, ROUTER_SIDE};
use adapter::{Router, RouterState, difference};
use adapter_srv6::Srv6Router;
use api::Ipv6Prefix;
use api::tcm::{
    Attachment, Direction, HostDatapathSpec, LocalSid, SidTarget, Steering, TrafficMatch, UserPort,
};
use linux::link::{Veth, ensure_veth};
use linux::netlink::Prefix;
use linux::route::{Action, METRIC, Route, TABLE_MAIN};
use linux::rule::{Rule, Selector};
use linux::{Namespace, Netlink, sysctl};
use tempfile::TempDir;

pub const USER: &str = "fd01:0:0:1::10";
pub const APP: &str = "fd01:0:0:2::20";
pub const SID_USER: &str = "fcff:1::a";
pub const SID_LEFT: &str = "fcff:2::1";
pub const SID_RIGHT: &str = "fcff:2::2";
pub const SID_APP: &str = "fcff:3::1";
pub const PORT: u16 = 7;

const UNDERLAY_MTU: u32 = 1500;
/// The owner mark of what the bed itself makes.
const BED: u8 = 99;
/// Reconciling must end after this many looks.
const LOOKS_MAX: usize = 6;

/// A host's router with what it should do.
pub struct Host {
    pub namespace: Namespace,
    pub router: Srv6Router,
    pub wanted: HostDatapathSpec,
    pub folder: TempDir,
}

pub struct Bed {
    pub user: Namespace,
    pub app: Namespace,
    pub function: Namespace,
    pub ingress: Host,
    pub middle: Host,
    pub egress: Host,
}

impl Bed {
    /// The bed with everything programmed; `None`, with the reason printed, where there is no root.
    pub async fn ready() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return None;
        }
        let bed = build().expect("the test bed stands");
        for host in [&bed.egress, &bed.middle, &bed.ingress] {
            converge(&host.router, &host.wanted).await;
        }
        Some(bed)
    }

    /// Whether one request comes through and back.
    pub fn carries(&self) -> bool {
        let server = Server::start(&self.app, PORT);
        let answer = ask(&self.user, PORT, b"nonce");
        server.stop();
        answer.is_ok_and(|answer| answer == b"nonce")
    }
}

/// Does steps until nothing is left to do.
pub async fn converge(router: &Srv6Router, wanted: &HostDatapathSpec) -> RouterState {
    for _ in 0..LOOKS_MAX {
        let state = router.read().await.expect("read the router");
        let steps = difference(wanted, &state);
        if steps.is_empty() {
            return state;
        }
        for step in &steps {
            let done = router.apply(wanted, step).await;
            done.unwrap_or_else(|error| panic!("{step}: {}", api::chain(&error)));
        }
    }
    let state = router.read().await.expect("read the router");
    panic!(
        "does not settle: {:?} {state:?}",
        difference(wanted, &state)
    );
}

/// An echo server that ends when told.
pub struct Server {
    address: SocketAddr,
    namespace: Namespace,
    thread: thread::JoinHandle<()>,
}

impl Server {
    pub fn start(namespace: &Namespace, port: u16) -> Self {
        let address = SocketAddr::new(ip(APP), port);
        let listen = || TcpListener::bind(address);
        let listener = namespace.run(listen).expect("enter").expect("listen");
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                // An empty message is the word to end.
                if echo(stream.expect("accept")).is_ok_and(|length| length == 0) {
                    break;
                }
            }
        });
        let namespace = namespace.clone();
        Self {
            address,
            namespace,
            thread,
        }
    }

    pub fn stop(self) {
        let connect = || TcpStream::connect(self.address);
        drop(
            self.namespace
                .run(connect)
                .expect("enter")
                .expect("connect"),
        );
        self.thread.join().expect("the server ends");
    }
}

fn echo(mut stream: TcpStream) -> io::Result<usize> {
    let mut message = Vec::new();
    stream.read_to_end(&mut message)?;
    stream.write_all(&message)?;
    Ok(message.len())
}

/// Sends a message to the application and takes the answer.
pub fn ask(namespace: &Namespace, port: u16, message: &[u8]) -> io::Result<Vec<u8>> {
    let address = SocketAddr::new(ip(APP), port);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(1500));
    let stream = namespace.run(connect).expect("enter the namespace")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut writer = stream.try_clone()?;
    let message = message.to_vec();
    let sender = thread::spawn(move || {
        writer.write_all(&message)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut answer = Vec::new();
    let read = (&stream).read_to_end(&mut answer);
    sender.join().expect("the sender ends")?;
    read.map(|_| answer)
}

fn build() -> linux::Result<Bed> {
    let bed = Bed {
        user: end("user")?,
        app: end("app")?,
        function: space("function", sysctl::ROUTER)?,
        ingress: host("ingress", ingress())?,
        middle: host("middle", middle())?,
        egress: host("egress", egress())?,
    };
    underlay(&bed)?;
    let (ingress, middle, egress) = (
        &bed.ingress.namespace,
        &bed.middle.namespace,
        &bed.egress.namespace,
    );
    for (router, device, inside, name) in [
        (ingress, "access", &bed.user, "eth0"),
        (middle, "gleft", &bed.function, "left"),
        (middle, "gright", &bed.function, "right"),
        (egress, "gapp", &bed.app, "eth0"),
    ] {
        wire(router, device, inside, name)?;
        Netlink::open(inside)?.add_address(name, link_local(INSTANCE_SIDE))?;
    }
    let user = Prefix {
        address: ip(USER),
        length: 64,
    };
    end_of_path(&bed.user, user)?;
    end_of_path(&bed.app, Prefix::host(ip(APP)))?;
    forwarder(&bed.function)?;
    Ok(bed)
}

fn ingress() -> HostDatapathSpec {
    let prefix = Ipv6Prefix::new(sid(USER), 64);
    HostDatapathSpec {
        user_ports: vec![UserPort {
            interface: "access".to_owned(),
            prefix,
        }],
        sids: vec![LocalSid {
            target: SidTarget::UserPort {
                interface: "access".to_owned(),
            },
            ..to_attachment(SID_USER, "", Direction::Reverse)
        }],
        steering: vec![steer("access", APP, SID_LEFT, Direction::Forward)],
        ..datapath("fcff:1::/48", &[])
    }
}

fn middle() -> HostDatapathSpec {
    HostDatapathSpec {
        sids: vec![
            to_attachment(SID_LEFT, "gleft", Direction::Forward),
            to_attachment(SID_RIGHT, "gright", Direction::Reverse),
        ],
        steering: vec![
            steer("gright", APP, SID_APP, Direction::Forward),
            steer("gleft", USER, SID_USER, Direction::Reverse),
        ],
        ..datapath("fcff:2::/48", &["gleft", "gright"])
    }
}

fn egress() -> HostDatapathSpec {
    HostDatapathSpec {
        sids: vec![to_attachment(SID_APP, "gapp", Direction::Forward)],
        steering: vec![steer("gapp", USER, SID_RIGHT, Direction::Reverse)],
        ..datapath("fcff:3::/48", &["gapp"])
    }
}

/// A datapath with attachments only.
pub fn datapath(locator: &str, attachments: &[&str]) -> HostDatapathSpec {
    let attachment = |interface: &&str| Attachment {
        interface: (*interface).to_owned(),
        of: format!("default/{interface}/eth0"),
    };
    HostDatapathSpec {
        locator: locator.parse().expect("a locator of this file"),
        mtu: UNDERLAY_MTU,
        attachments: attachments.iter().map(attachment).collect(),
        user_ports: Vec::new(),
        sids: Vec::new(),
        steering: Vec::new(),
    }
}

pub fn to_attachment(text: &str, interface: &str, direction: Direction) -> LocalSid {
    LocalSid {
        sid: sid(text),
        target: SidTarget::Attachment {
            interface: interface.to_owned(),
        },
        chain: "default/web".to_owned(),
        direction,
    }
}

pub fn steer(interface: &str, destination: &str, by: &str, direction: Direction) -> Steering {
    Steering {
        interface: interface.to_owned(),
        matching: TrafficMatch {
            destination: Ipv6Prefix::host(sid(destination)),
            classifier: Vec::new(),
        },
        segments: vec![sid(by)],
        chain: "default/web".to_owned(),
        direction,
    }
}

fn host(label: &str, wanted: HostDatapathSpec) -> linux::Result<Host> {
    // No settings: what a router needs is the router's own work.
    let namespace = space(label, sysctl::END)?;
    let folder = tempfile::tempdir().expect("make a folder");
    let router = Srv6Router::within(namespace.clone(), folder.path()).expect("open the router");
    Ok(Host {
        namespace,
        router,
        wanted,
        folder,
    })
}

fn underlay(bed: &Bed) -> linux::Result<()> {
    let (one, two, three) = (
        &bed.ingress.namespace,
        &bed.middle.namespace,
        &bed.egress.namespace,
    );
    wire(one, "to2", two, "to1")?;
    wire(two, "to3", three, "to2")?;
    for (namespace, address) in [(one, "fcff:1::"), (two, "fcff:2::"), (three, "fcff:3::")] {
        Netlink::open(namespace)?.add_address("lo", Prefix::host(ip(address)))?;
    }
    for (namespace, device, address) in [
        (one, "to2", ROUTER_SIDE),
        (two, "to1", INSTANCE_SIDE),
        (two, "to3", ROUTER_SIDE),
        (three, "to2", INSTANCE_SIDE),
    ] {
        Netlink::open(namespace)?.add_address(device, link_local(address))?;
    }
    for (namespace, locator, device, gateway) in [
        (one, "fcff:2::", "to2", INSTANCE_SIDE),
        (one, "fcff:3::", "to2", INSTANCE_SIDE),
        (two, "fcff:1::", "to1", ROUTER_SIDE),
        (two, "fcff:3::", "to3", INSTANCE_SIDE),
        (three, "fcff:1::", "to2", ROUTER_SIDE),
        (three, "fcff:2::", "to2", ROUTER_SIDE),
    ] {
        let destination = Prefix {
            address: ip(locator),
            length: 48,
        };
        Netlink::open(namespace)?.replace_route(&via(TABLE_MAIN, destination, device, gateway))?;
    }
    Ok(())
}

fn end_of_path(namespace: &Namespace, address: Prefix) -> linux::Result<()> {
    let mut netlink = Netlink::open(namespace)?;
    netlink.add_address("eth0", address)?;
    netlink.replace_route(&via(TABLE_MAIN, Prefix::any_ipv6(), "eth0", ROUTER_SIDE))
}

/// What comes in on one side goes out of the other.
fn forwarder(namespace: &Namespace) -> linux::Result<()> {
    let mut netlink = Netlink::open(namespace)?;
    for (from, to, table) in [("left", "right", 10), ("right", "left", 11)] {
        netlink.replace_route(&via(table, Prefix::any_ipv6(), to, ROUTER_SIDE))?;
        netlink.add_rule(&Rule {
            priority: table,
            selector: Selector::InputDevice(from.to_owned()),
            table,
            protocol: BED,
        })?;
    }
    Ok(())
}

fn wire(
    left: &Namespace,
    left_name: &str,
    right: &Namespace,
    right_name: &str,
) -> linux::Result<()> {
    let [left, right] = [(left, left_name), (right, right_name)].map(|(namespace, name)| Veth {
        namespace,
        name,
        mtu: UNDERLAY_MTU,
        mac: None,
    });
    ensure_veth(left, right)
}

fn via(table: u32, destination: Prefix, device: &str, gateway: Ipv6Addr) -> Route {
    Route {
        table,
        destination,
        metric: METRIC,
        action: Action::Forward {
            device: device.to_owned(),
            gateway: Some(IpAddr::V6(gateway)),
        },
        protocol: BED,
    }
}

fn link_local(address: Ipv6Addr) -> Prefix {
    Prefix {
        address: IpAddr::V6(address),
        length: 64,
    }
}

fn end(label: &str) -> linux::Result<Namespace> {
    space(label, sysctl::END)
}

fn space(label: &str, settings: &[(&str, &str)]) -> linux::Result<Namespace> {
    let namespace = Namespace::anonymous(label)?;
    sysctl::set(&namespace, settings)?;
    Ok(namespace)
}

pub fn ip(text: &str) -> IpAddr {
    IpAddr::V6(sid(text))
}

pub fn sid(text: &str) -> Ipv6Addr {
    text.parse().expect("an address of these tests")
}
