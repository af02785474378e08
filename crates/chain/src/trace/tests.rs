//! Traces: a packet followed through the plans, and the holes that are found.

use super::*;
use crate::sample::{PORT, request, routers, settle, shop};

fn settled() -> BTreeMap<String, AppliedDatapath> {
    let mut world = shop();
    settle(&mut world);
    routers(&world)
}

fn way(trace: &Trace) -> Vec<&str> {
    trace
        .tunnels
        .iter()
        .map(|tunnel| tunnel.to.of.as_str())
        .collect()
}

#[test]
fn the_way_back_is_the_way_there_reversed() {
    let routers = settled();
    let there = trace(&routers, &request("w1"));
    assert_eq!(
        way(&there),
        ["shop/fw-0/left", "shop/lim-0/left", "shop/app-0/eth0"]
    );
    let end = there.last().unwrap();
    let reply = Packet {
        host: end.host.clone(),
        interface: end.interface.clone(),
        destination: "2001:db8:3::7".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 40_000,
    };
    let back = trace(&routers, &reply);
    assert_eq!(
        way(&back),
        [
            "shop/lim-0/right",
            "shop/fw-0/right",
            "users 2001:db8:3::/64"
        ]
    );
    assert!(back.to_string().ends_with("delivered\n"), "{back}");
}

#[test]
fn what_the_chain_does_not_name_is_dropped_at_the_start() {
    let routers = settled();
    let check = |packet: Packet| {
        let trace = trace(&routers, &packet);
        assert!(matches!(trace.lost, Some(Loss::NotSteered(_))), "{trace}");
    };
    check(Packet {
        port: PORT + 1,
        ..request("w1")
    });
    check(Packet {
        protocol: Protocol::Udp,
        ..request("w1")
    });
    check(Packet {
        destination: "fd00:beef::1".parse().unwrap(),
        ..request("w1")
    });
    check(request("nowhere"));
}

#[test]
fn a_loss_names_its_place() {
    let check = |spoil: fn(&mut BTreeMap<String, AppliedDatapath>), expected: &str| {
        let mut routers = settled();
        spoil(&mut routers);
        let loss = trace(&routers, &request("w1"))
            .lost
            .expect("it is lost")
            .to_string();
        assert!(loss.contains(expected), "{loss}");
    };
    check(
        |routers| drop(routers.remove("m1")),
        "no host has the segment",
    );
    check(
        |routers| routers.get_mut("m1").unwrap().steering.clear(),
        "from shop/fw-0/right on host m1",
    );
    check(
        |routers| routers.get_mut("m1").unwrap().attachments.clear(),
        "which is not set up",
    );
    check(
        |routers| {
            routers
                .get_mut("m1")
                .unwrap()
                .attachments
                .retain(|one| one.of.ends_with("left"))
        },
        "no other side than shop/fw-0/left",
    );
}

#[test]
fn replies_to_others_are_not_handed_to_users() {
    let mut routers = settled();
    let reply = |destination: &str, routers: &BTreeMap<_, _>| {
        let at = trace(routers, &request("w1"));
        let end = at.last().unwrap();
        let packet = Packet {
            host: end.host.clone(),
            interface: end.interface.clone(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::Tcp,
            port: 1,
        };
        trace(routers, &packet)
    };
    routers.get_mut("w1").unwrap().user_ports[0].prefix = "2001:db8:99::/64".parse().unwrap();
    let trace = reply("2001:db8:3::7", &routers);
    assert!(matches!(trace.lost, Some(Loss::NotTheirs(_))), "{trace}");
}

#[test]
fn a_packet_that_goes_round_is_given_up() {
    let mut routers = settled();
    let m1 = routers.get_mut("m1").unwrap();
    let left = m1
        .sids
        .iter()
        .find(|sid| sid.direction == api::tcm::Direction::Forward)
        .unwrap()
        .sid;
    m1.steering
        .iter_mut()
        .for_each(|steering| steering.segments = vec![left]);
    let trace = trace(&routers, &request("w1"));
    assert_eq!(
        (trace.lost, trace.tunnels.len()),
        (Some(Loss::Loop), TUNNELS_MAX)
    );
}
