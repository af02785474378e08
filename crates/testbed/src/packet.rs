//! A packet through a chain and one back, followed through what the routers of all hosts really have.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use api::tcm::{AppliedDatapath, ChainEnd};
use api::wdm::Protocol;
use api::{Host, Ipv6Prefix, Network, ServiceFunctionChain, service_address};
use chain::{Packet, Place, Trace, trace};
use kube::ResourceExt;

use crate::world::World;

/// What a packet is sent as unless the chain takes only some.
const WEB: (Protocol, u16) = (Protocol::Tcp, 80);

/// The way of one packet from each start of a chain, and back.
pub async fn follow(world: &World, name: &str) -> Result<String> {
    let chains = world
        .objects::<ServiceFunctionChain>("ServiceFunctionChain")
        .await;
    let chain = chains.into_iter().find(|chain| chain.name_any() == name);
    let chain = chain.with_context(|| format!("there is no chain {name}"))?;
    let namespace = chain.namespace().unwrap_or_default();
    let networks = world.objects::<Network>("Network").await;
    let network = networks.iter().find(|network| {
        network.name_any() == chain.spec.network.name() && network.namespace() == chain.namespace()
    });
    let prefix = network
        .context("the network of the chain does not exist")?
        .spec
        .prefix;
    let routers = world.network.applied();
    let classifier = chain.spec.classifier.first();
    let (protocol, port) = classifier.map_or(WEB, |one| (one.protocol, one.port));
    let mut text = String::new();
    let hosts = world.objects::<Host>("Host").await;
    for start in starts(hosts, &chain, &routers, prefix) {
        let mut packet = Packet {
            host: start.place.host.clone(),
            interface: start.place.interface.clone(),
            destination: service_address(prefix, &namespace, chain.spec.to.name()),
            protocol,
            port,
        };
        let there = trace(&routers, &packet);
        writeln!(text, "there: {}", way(&start.place, &there))?;
        if let (None, Some(end)) = (&there.lost, there.last()) {
            packet.host.clone_from(&end.host);
            packet.interface.clone_from(&end.interface);
            packet.destination = start.answer_to;
            writeln!(text, "back:  {}", way(end, &trace(&routers, &packet)))?;
        }
    }
    Ok(text)
}

/// Where packets enter a chain, and where the answers go.
struct Start {
    place: Place,
    answer_to: std::net::Ipv6Addr,
}

fn starts(
    hosts: Vec<Host>,
    chain: &ServiceFunctionChain,
    routers: &BTreeMap<String, AppliedDatapath>,
    prefix: Ipv6Prefix,
) -> Vec<Start> {
    match &chain.spec.from {
        ChainEnd::Users { sites } => {
            let of_sites = hosts
                .into_iter()
                .filter(|host| sites.contains(&host.spec.site));
            of_sites.flat_map(|host| user_ports(&host)).collect()
        }
        ChainEnd::Workload { name } => {
            let namespace = chain.namespace().unwrap_or_default();
            let answer_to = service_address(prefix, &namespace, name.name());
            let begins = format!("{namespace}/{}-", name.name());
            let attachments = routers.iter().flat_map(|(host, router)| {
                router
                    .attachments
                    .iter()
                    .map(move |attachment| (host, attachment))
            });
            let of_workload =
                attachments.filter(|(_, attachment)| attachment.of.starts_with(&begins));
            of_workload
                .map(|(host, attachment)| Start {
                    place: Place {
                        host: host.clone(),
                        interface: attachment.interface.clone(),
                        of: attachment.of.clone(),
                    },
                    answer_to,
                })
                .collect()
        }
    }
}

fn user_ports(host: &Host) -> Vec<Start> {
    let start = |port: &api::tcrr::AccessPort| Start {
        place: Place {
            host: host.name_any(),
            interface: port.interface.clone(),
            of: format!("users {}", port.prefix),
        },
        answer_to: port.prefix.with_low_bits(1),
    };
    host.spec.access_ports.iter().map(start).collect()
}

/// Where a packet was, by instances.
fn way(from: &Place, trace: &Trace) -> String {
    let passed = trace.tunnels.iter().map(|arrival| &arrival.to);
    let places: Vec<_> = std::iter::once(from).chain(passed).map(shown).collect();
    let end = match &trace.lost {
        None => "delivered".to_owned(),
        Some(loss) => format!("lost: {loss}"),
    };
    format!("{}: {end}", places.join(" > "))
}

/// `users PREFIX`, or the instance without its namespace and interface.
fn shown(place: &Place) -> String {
    let mut parts = place.of.split('/');
    match (place.of.starts_with("users "), parts.nth(1)) {
        (false, Some(instance)) => instance.to_owned(),
        _ => format!("{} at {}", place.of, place.host),
    }
}
