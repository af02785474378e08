//! The service answers its users, through its chain and in no other way.

use std::collections::BTreeMap;

use live::lab::wait;

use crate::shop::{PORT, Shop};

/// A port that the classifier takes and the firewall does not allow.
const CLOSED_PORT: u16 = 8081;
/// A port that the classifier does not take.
const UNKNOWN_PORT: u16 = 9999;
/// Hops of the chain in both directions: two functions and an end each way.
const HOPS: usize = 6;

#[test]
fn the_service_answers_through_its_chain() {
    let Some(shop) = Shop::closed() else { return };
    shop.open();
    println!("serving {:.2?} after it was applied", shop.serving());
    requests_arrive_and_every_hop_counts_them(&shop);
    other_ports_are_dropped(&shop);
    no_way_leads_past_the_chain(&shop);
    shop.close();
    println!("empty {:.2?} after it was deleted", shop.empty());
}

fn requests_arrive_and_every_hop_counts_them(shop: &Shop) {
    let before = counted(shop);
    assert_eq!(before.len(), HOPS, "{before:?}");
    let probed = shop.ask("nonce").expect("there is an endpoint");
    assert!(probed.all(), "{probed:?}");
    let log = shop
        .laboratory
        .client(&["logs", "shop-app", "--tail", "50"]);
    let log = log.expect("the log can be read");
    for n in 0..probed.sent {
        let nonce = format!("nonce=nonce-{n} ");
        assert!(log.contains(&nonce), "{nonce} is not in the log: {log}");
    }
    let after = counted(shop);
    for (hop, packets) in &before {
        let grown = after[hop] - packets;
        // Each request is a connection of its own, which is several packets each way.
        assert!(grown >= probed.sent, "{hop} has counted {grown}");
    }
}

/// Packets by hop.
fn counted(shop: &Shop) -> BTreeMap<String, u64> {
    let hops = wait("the counters of all hosts", || {
        let hops = shop.laboratory.trace("shop")?;
        match hops.iter().find(|hop| hop["counters"].is_null()) {
            Some(hop) => Err(format!("no counters of {hop}")),
            None => Ok(hops),
        }
    });
    let packets = |hop: &serde_json::Value| hop["counters"]["packets"].as_u64().unwrap_or(0);
    hops.iter()
        .map(|hop| (format!("{} {}", hop["direction"], hop["sid"]), packets(hop)))
        .collect()
}

fn other_ports_are_dropped(shop: &Shop) {
    let at_start = dropped_by_firewall(shop);
    let probed = shop.ask_port(UNKNOWN_PORT);
    assert!(probed.none(), "{probed:?}");
    let unknown = dropped_by_firewall(shop);
    assert_eq!(
        unknown, at_start,
        "what no classifier takes enters no chain"
    );
    let probed = shop.ask_port(CLOSED_PORT);
    assert!(probed.none(), "{probed:?}");
    let closed = dropped_by_firewall(shop);
    assert!(
        closed >= unknown + probed.sent,
        "the firewall has dropped {closed}"
    );
}

/// Packets that no rule of the firewall allowed.
fn dropped_by_firewall(shop: &Shop) -> u64 {
    let words = [
        "exec",
        "shop-firewall",
        "--",
        "/usr/sbin/nft",
        "list",
        "counter",
        "inet",
        "firewall",
        "default",
    ];
    let said = shop
        .laboratory
        .client(&words)
        .expect("the firewall can be asked");
    let mut words = said
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    let packets = words.nth(1).and_then(|number| number.parse().ok());
    packets.unwrap_or_else(|| panic!("no number of packets in {said}"))
}

fn no_way_leads_past_the_chain(shop: &Shop) {
    for host in shop.laboratory.hosts() {
        let router = format!("router-of-host-{host}");
        let probed = shop
            .ask_at(&router, PORT, "past")
            .expect("there is an endpoint");
        assert!(
            probed.none(),
            "{host} reaches the application directly: {probed:?}"
        );
    }
}
