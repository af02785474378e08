//! The proof by breaking: with the agents stopped each thing that is taken away makes requests fail, so each is needed;
//! with the agents running each is healed.

use std::time::Instant;

use linux::netns;
use live::lab::{ip, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::shop::{NORTH, Shop, condition_of, is_true};

/// The rule that the firewall has in the service, and two others.
const ALLOW: &str = "allow tcp 8080 from left";
const DROP: &str = "drop tcp 8080 from left";
const NONSENSE: &str = "allow nonsense";

#[test]
fn what_is_missing_is_noticed_by_users_and_healed_by_agents() {
    let Some(shop) = Shop::closed() else { return };
    shop.open_immovable();
    shop.serving();
    for hop in shop.laboratory.trace("shop").expect("the chain has hops") {
        let way = format!("the segment {} ({})", hop["sid"], hop["direction"]);
        broken_and_healed(&shop, &way, || remove_segment(&shop, &hop));
    }
    for side in ["left", "right"] {
        let what = format!("the rule of the firewall's {side} side");
        broken_and_healed(&shop, &what, || remove_rule(&shop, side));
    }
    broken_and_healed(&shop, "the firewall", || remove_firewall(&shop));
}

fn broken_and_healed(shop: &Shop, what: &str, remove: impl FnOnce()) {
    shop.laboratory.freeze_agents();
    let before = shop.ask("frozen").expect("there is an endpoint");
    assert!(before.all(), "without agents packets flow: {before:?}");
    remove();
    let broken = shop.ask("broken").expect("there is an endpoint");
    assert!(broken.none(), "{what} is not needed: {broken:?}");
    shop.laboratory.resume();
    let begun = Instant::now();
    wait(&format!("{what} to be healed"), || {
        let probed = shop.ask("healed")?;
        if probed.all() {
            Ok(())
        } else {
            Err(probed.said)
        }
    });
    println!("{what} was healed in {:.2?}", begun.elapsed());
    shop.serving();
}

fn remove_segment(shop: &Shop, hop: &Value) {
    let (host, sid) = (hop["host"].as_str(), hop["sid"].as_str());
    let router = shop.laboratory.router(host.expect("a hop has a host"));
    ip(&[
        "-n",
        &router,
        "-6",
        "route",
        "delete",
        sid.expect("a hop has a segment"),
    ]);
}

/// Removes the rule for what the firewall sends out of one of its sides.
fn remove_rule(shop: &Shop, side: &str) {
    let instances = shop
        .laboratory
        .list("instance")
        .expect("instances can be read");
    let names = instances
        .iter()
        .filter_map(|instance| instance["metadata"]["name"].as_str());
    let mut firewalls = names.filter(|name| name.starts_with("shop-firewall"));
    let firewall = firewalls.next().expect("the firewall has an instance");
    let interface = api::interface_name("default", firewall, side);
    let router = shop.laboratory.router(NORTH);
    ip(&["-n", &router, "-6", "rule", "delete", "iif", &interface]);
}

/// Kills the firewall with its shim and takes its network away.
fn remove_firewall(shop: &Shop) {
    let hierarchies = linux::cgroup::Hierarchies::detect().expect("control groups can be read");
    let mark = shop.laboratory.mark(NORTH);
    for pid in hierarchies.group(&format!("groma/{mark}")).processes() {
        let pid = Pid::from_raw(pid).expect("a process has a number");
        // Some of them end with others.
        let _ = kill_process(pid, Signal::KILL);
    }
    for name in shop.laboratory.container_namespaces(NORTH) {
        netns::delete(&name).expect("a namespace can be removed");
    }
    // The kernel takes a namespace apart when its last process has gone, and that takes a moment.
    wait("the firewall's network to go", || {
        let left = shop.laboratory.attachments(NORTH);
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    });
}

#[test]
fn a_changed_configuration_reaches_packets_and_a_refused_one_is_put_back() {
    let Some(shop) = Shop::closed() else { return };
    shop.open_immovable();
    shop.serving();
    let firewall = firewall_process(&shop);

    shop.with_rule(DROP);
    wait("the firewall to drop", || {
        let probed = shop.ask("dropped")?;
        if probed.none() {
            Ok(())
        } else {
            Err(probed.said)
        }
    });
    shop.with_rule(ALLOW);
    shop.serving();

    shop.with_rule(NONSENSE);
    let why = wait("the refusal to be told", || refusal(&shop));
    println!("refused: {why}");
    shop.serving();

    shop.with_rule(ALLOW);
    wait("the refusal to be over", || match refusal(&shop) {
        Ok(why) => Err(why),
        Err(_) => Ok(()),
    });
    shop.serving();
    assert_eq!(
        firewall_process(&shop),
        firewall,
        "no change of rules restarts the firewall"
    );
}

/// Why the firewall's instance refused its configuration.
fn refusal(shop: &Shop) -> Result<String, String> {
    let instances = shop.laboratory.list("instance")?;
    let is_firewall = |instance: &&Value| instance["spec"]["workload"] == "shop-firewall";
    let firewall = instances.iter().find(is_firewall).ok_or("no instance")?;
    let condition = condition_of(firewall, "Configured").ok_or("no condition")?;
    if is_true(firewall, "Configured") {
        return Err(condition.to_string());
    }
    let refused = firewall["status"]["configuration"]["refused"]["why"].as_str();
    refused
        .map(str::to_owned)
        .ok_or_else(|| condition.to_string())
}

fn firewall_process(shop: &Shop) -> i32 {
    let running = shop.running();
    let firewall = running.iter().find(|one| one.program == "firewall");
    firewall.expect("the firewall runs").pid
}
