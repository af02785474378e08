//! Attachments: addresses, routes and forwarding, with real packets from the router.

use std::net::{Ipv6Addr, SocketAddr};

use api::wdm::InterfaceRole;
use linux::netlink::Prefix;
use linux::route::{Action, METRIC, Route, TABLE_MAIN};
use linux::rule::Selector;
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
    // Whoever programs the router may lower its end; the other one follows.
    let mut netlink = Netlink::open(&router).expect("opened");
    netlink.set_mtu("gtend", 1380).expect("lowered");
    while !bed
        .exec(&a, "ip addr show dev eth0")
        .await
        .0
        .contains("mtu 1380")
    {
        tokio::task::yield_now().await;
    }
    let end = netlink.link("gtend").expect("looked").expect("there");
    assert_eq!(end.mtu, 1380, "it is left as it is");
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
    let names = netns::list(&format!("groma-{}-", bed.host)).expect("listed");
    let inside = netns::open(&names[0]).expect("opened").expect("there");
    let mut netlink = Netlink::open(&inside).expect("opened");
    let rules = netlink.rules(201).expect("listed");
    let routes = netlink.routes(201).expect("listed");
    for (side, other) in [("left", "right"), ("right", "left")] {
        let selector = Selector::InputDevice(side.to_owned());
        let rule = rules.iter().find(|rule| rule.selector == selector);
        let table = rule.expect("a rule for each side").table;
        let route = routes.iter().find(|seen| seen.route.table == table);
        let device = route.expect("a way out").route.action.device();
        assert_eq!(device, Some(other));
    }
    let own = routes.iter().filter(|seen| seen.route.table == TABLE_MAIN);
    assert_eq!(own.count(), 0, "no way for anything else");
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_namespace_is_deleted_is_started_in_another() {
    let Some(bed) = Bed::new().await else { return };
    let mut spec = idle();
    spec.interfaces = vec![interface("eth0", "gtlost", InterfaceRole::End)];
    let a = bed.run("a", &spec).await;
    let names = netns::list(&format!("groma-{}-", bed.host)).expect("listed");
    netns::delete(&names[0]).expect("deleted");
    let state = bed
        .until(&a, "started again", |state| {
            state.restarts == 1 && state.ready
        })
        .await;
    assert_eq!(
        state.last_exit.as_deref(),
        Some("its network namespace was deleted")
    );
    let seen = bed.exec(&a, "ip -6 addr show dev eth0").await.0;
    assert!(seen.contains("fe80::2/64"), "{seen}");
    bed.finish().await;
}
