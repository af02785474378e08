//! Attachments: addresses, routes and forwarding, with real packets from the router.

use std::net::{Ipv6Addr, SocketAddr};

use api::wdm::InterfaceRole;
use linux::netlink::Prefix;
use linux::route::{Action, METRIC, Route, TABLE_MAIN};
use linux::{Netlink, netns};

use crate::bed::{Bed, idle, interface, script};

const ADDRESS: &str = "fd77::5";

fn address() -> Ipv6Addr {
    ADDRESS.parse().expect("an address")
}

/// A route of the router to the container's address.
fn route(device: &str) -> Route {
    Route {
        table: TABLE_MAIN,
        destination: Prefix::host(address()),
        metric: METRIC,
        action: Action::Forward {
            device: device.to_owned(),
            gateway: Some("fe80::2".parse().expect("an address")),
        },
        protocol: 200,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_answers_at_its_address_and_mends_its_attachment() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec =
        script("echo x > /tmp/index.html; httpd -p '[::]:8080' -h /tmp; exec sleep 1000");
    let mut eth = interface("eth0", "gtend", InterfaceRole::End);
    eth.address = Some(address());
    spec.interfaces = vec![eth];
    let a = bed.run("a", &spec).await;
    let router = netns::open(&format!("{}-router", bed.host))
        .expect("opened")
        .expect("there");
    let connect = || async {
        let mut netlink = Netlink::open(&router).expect("opened");
        netlink
            .add_address(
                "lo",
                Prefix::host("fd77::1".parse::<Ipv6Addr>().expect("one")),
            )
            .expect("given");
        let _ = netlink.replace_route(&route("gtend"));
        let target = SocketAddr::new(address().into(), 8080);
        router
            .tcp_socket(target)
            .expect("a socket")
            .connect(target)
            .await
            .is_ok()
    };
    while !connect().await {
        tokio::task::yield_now().await;
    }
    let seen = bed
        .exec(&a, "ip -6 addr show dev eth0; ip -6 route")
        .await
        .0;
    for part in [
        "fd77::5/128",
        "fe80::2/64",
        "mtu 1400",
        "default via fe80::1 dev eth0",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    Netlink::open(&router)
        .expect("opened")
        .delete_link("gtend")
        .expect("deleted");
    while !connect().await {
        tokio::task::yield_now().await;
    }
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_forwards_from_one_side_to_the_other_only() {
    let Some(bed) = Bed::new().await else { return };
    let mut function = idle();
    function.interfaces = vec![
        interface("left", "gtleft", InterfaceRole::Left),
        interface("right", "gtright", InterfaceRole::Right),
    ];
    let f = bed.run("f", &function).await;
    assert_eq!(
        bed.exec(&f, "cat /proc/sys/net/ipv6/conf/all/forwarding")
            .await
            .0,
        "1"
    );
    let rules = bed
        .exec(
            &f,
            "ip -6 rule; ip -6 route show table 101; ip -6 route show table 102",
        )
        .await
        .0;
    assert!(
        rules.contains("iif left") && rules.contains("iif right"),
        "{rules}"
    );
    println!("{rules}");
    let ways: Vec<&str> = rules
        .lines()
        .filter(|line| line.starts_with("default via fe80::1"))
        .collect();
    assert!(
        ways[0].contains("dev right") && ways[1].contains("dev left"),
        "{rules}"
    );
    let own = bed.exec(&f, "ip -6 route").await.0;
    assert!(!own.contains("default"), "no way for anything else: {own}");
    bed.finish().await;
}
