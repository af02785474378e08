//! Worlds for tests, and routers that do at once what they are told.

use std::collections::BTreeMap;

use api::tcm::{
    AppliedDatapath, ChainEnd, Classifier, FailPolicy, ServiceFunctionChainSpec, UserPort,
};
use api::tcrr::DatapathCapability;
use api::wdm::{InstanceInterface, InterfaceRole, Protocol, Serving};
use api::{Ipv6Prefix, Ref, service_address};

use crate::world::{Chain, Host, Instance, Key, World};
use crate::{Packet, plan, planned};

/// The namespace of everything here.
pub const TENANT: &str = "shop";
/// The port that the sample chain's classifier names.
pub const PORT: u16 = 80;
/// More rounds than any world here needs to settle.
const ROUNDS_MAX: usize = 64;

pub fn key(name: &str) -> Key {
    Key::new(TENANT, name)
}

pub fn network() -> Ipv6Prefix {
    "fd00:beef::/64".parse().unwrap()
}

/// Sites `west` and `east`, each with a host with users, and two hosts between them; no instance, no chain.
pub fn hosts() -> World {
    let mut world = World::default();
    world.networks.insert(key("net"), network());
    for (number, (name, site)) in [("e1", "east"), ("m1", "mid"), ("m2", "mid"), ("w1", "west")]
        .into_iter()
        .enumerate()
    {
        let users = (site != "mid").then(|| UserPort {
            interface: "users0".into(),
            prefix: format!("2001:db8:{number}::/64").parse().unwrap(),
        });
        world.hosts.insert(name.into(), host(number, site, users));
    }
    world
}

fn host(number: usize, site: &str, users: Option<UserPort>) -> Host {
    Host {
        locator: format!("fd00:a:{number}::/48").parse().unwrap(),
        mtu: 1500,
        site: site.into(),
        user_ports: users.into_iter().collect(),
        seen: true,
        capabilities: vec![
            DatapathCapability::HEncaps,
            DatapathCapability::EndDt6,
            DatapathCapability::Nftables,
        ],
        spec: None,
        applied: AppliedDatapath::default(),
    }
}

/// From users at `west` and `east` through `fw` and `lim` to `app`, one instance each.
pub fn shop() -> World {
    let mut world = hosts();
    add_instance(&mut world, "fw-0", "m1");
    add_instance(&mut world, "lim-0", "m2");
    add_instance(&mut world, "app-0", "m2");
    let users = ChainEnd::Users {
        sites: vec!["west".into(), "east".into()],
    };
    add_chain(&mut world, "web", users, &["fw", "lim"], "app");
    world
}

/// Adds an available instance of the workload that its name begins with.
pub fn add_instance(world: &mut World, name: &str, host: &str) {
    let (workload, _) = name.rsplit_once('-').expect("workload-number");
    let interface = |name: &str, role, address| InstanceInterface {
        name: name.into(),
        role,
        address,
    };
    let interfaces = if matches!(workload, "app" | "db") {
        let address = Some(service_address(network(), TENANT, workload));
        vec![interface("eth0", InterfaceRole::End, address)]
    } else {
        vec![
            interface("left", InterfaceRole::Left, None),
            interface("right", InterfaceRole::Right, None),
        ]
    };
    let instance = Instance {
        workload: workload.into(),
        host: host.into(),
        available: true,
        serving: Serving::Active,
        deleting: false,
        interfaces,
    };
    world.instances.insert(key(name), instance);
}

pub fn add_chain(world: &mut World, name: &str, from: ChainEnd, functions: &[&str], to: &str) {
    let spec = ServiceFunctionChainSpec {
        network: "net".into(),
        from,
        to: to.into(),
        functions: functions.iter().map(|name| Ref::new(*name)).collect(),
        classifier: vec![Classifier {
            protocol: Protocol::Tcp,
            port: PORT,
        }],
        fail_policy: FailPolicy::Block,
    };
    let created = i64::try_from(world.chains.len()).unwrap();
    world.chains.insert(key(name), Chain { created, spec });
}

/// Plans and applies until nothing changes any more; the number of rounds.
pub fn settle(world: &mut World) -> usize {
    for round in 0..ROUNDS_MAX {
        let names: Vec<_> = world.hosts.keys().cloned().collect();
        let plans: Vec<_> = names
            .iter()
            .map(|name| plan(world, name).unwrap())
            .collect();
        let mut changed = false;
        for (name, plan) in names.iter().zip(plans) {
            let host = world.hosts.get_mut(name).unwrap();
            changed |= host.spec.as_ref() != Some(&plan);
            if host.seen {
                host.applied = planned(&plan);
            }
            host.spec = Some(plan);
        }
        if !changed {
            return round;
        }
    }
    panic!("the plans do not settle");
}

/// What the routers have.
pub fn routers(world: &World) -> BTreeMap<String, AppliedDatapath> {
    let hosts = world.hosts.iter();
    hosts
        .map(|(name, host)| (name.clone(), host.applied.clone()))
        .collect()
}

/// A packet of a host's users to `app`.
pub fn request(host: &str) -> Packet {
    Packet {
        host: host.into(),
        interface: "users0".into(),
        destination: service_address(network(), TENANT, "app"),
        protocol: Protocol::Tcp,
        port: PORT,
    }
}
