//! Gathers from objects what the `chain` crate decides on.
//!
//! Reads: Host, NetworkDomain, Network, Instance, ServiceFunctionChain, HostDatapath.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::wdm::is_available;
use api::{
    Host, HostDatapath, Instance, Network, NetworkDomain, READY, Result, ServiceFunctionChain,
};
use chain::{Key, World};
use kube::ResourceExt;
use runtime::{Ctx, Kind, Kinds, deleting};

use crate::{network, underlay};

/// Declares all that a world is made of: any change of it wakes all objects of the reconciler.
pub fn wakes_all(kinds: &mut Kinds) {
    kinds.wakes_all::<Host>();
    kinds.wakes_all::<NetworkDomain>();
    kinds.wakes_all::<Network>();
    kinds.wakes_all::<Instance>();
    kinds.wakes_all::<ServiceFunctionChain>();
    kinds.wakes_all::<HostDatapath>();
}

/// Declares all that a world is made of, for one who waits for single objects.
pub fn reads(kinds: &mut Kinds) {
    kinds.reads::<Host>();
    kinds.reads::<NetworkDomain>();
    kinds.reads::<Network>();
    kinds.reads::<Instance>();
    kinds.reads::<ServiceFunctionChain>();
    kinds.reads::<HostDatapath>();
}

/// All that is known now.
pub fn world(ctx: &Ctx) -> Result<World> {
    let hosts = ctx.list::<Host>(None)?;
    let domains = ctx.list::<NetworkDomain>(None)?;
    let networks = ctx.list::<Network>(None)?;
    let datapaths = ctx.list::<HostDatapath>(None)?;
    let by_name = |hosts: &[Arc<Host>]| -> BTreeMap<String, Arc<Host>> {
        hosts
            .iter()
            .map(|host| (host.name_any(), host.clone()))
            .collect()
    };
    Ok(World {
        hosts: known_hosts(&hosts, &domains, &datapaths),
        networks: in_order(&networks, &domains),
        instances: instances(&ctx.list(None)?, &by_name(&hosts)),
        chains: chains(&ctx.list(None)?),
    })
}

/// The name of an object in a namespace.
pub fn key(object: &impl Kind) -> Key {
    let meta = object.meta();
    Key::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// Orders objects of a kind: the older one comes first, of equally old ones the first by name.
pub fn age(object: &impl Kind) -> (i64, Key) {
    (created(object), key(object))
}

fn created(object: &impl Kind) -> i64 {
    let created = object.meta().creation_timestamp.as_ref();
    created.map_or(i64::MAX, |time| time.0.as_second())
}

/// Hosts that our agents program. One that is being deleted is declared dead, and one whose locator is wrong gets no
/// traffic.
fn known_hosts(
    hosts: &[Arc<Host>],
    domains: &[Arc<NetworkDomain>],
    datapaths: &[Arc<HostDatapath>],
) -> BTreeMap<String, chain::Host> {
    let datapaths: BTreeMap<_, _> = datapaths
        .iter()
        .map(|datapath| (datapath.name_any(), datapath))
        .collect();
    let alive = hosts.iter().filter(|host| !deleting(&***host));
    let known = alive.filter_map(|host| {
        let domain = underlay::domain(host, domains, hosts).ok()??;
        let name = host.name_any();
        let datapath = datapaths.get(&name).map(|datapath| &***datapath);
        Some((name, known_host(host, domain, datapath)))
    });
    known.collect()
}

fn known_host(host: &Host, domain: &NetworkDomain, datapath: Option<&HostDatapath>) -> chain::Host {
    let ports = host
        .spec
        .access_ports
        .iter()
        .map(|port| api::tcm::UserPort {
            interface: port.interface.clone(),
            prefix: port.prefix,
        });
    let status = host.status.as_ref();
    let reported = datapath.and_then(|datapath| datapath.status.as_ref());
    chain::Host {
        locator: host.spec.locator,
        mtu: domain.spec.mtu,
        site: host.spec.site.name().to_owned(),
        user_ports: ports.collect(),
        seen: status.is_some_and(|status| status.conditions.is_true(READY)),
        capabilities: status
            .map(|status| status.datapath.clone())
            .unwrap_or_default(),
        spec: datapath.map(|datapath| datapath.spec.clone()),
        applied: reported
            .map(|status| status.applied.clone())
            .unwrap_or_default(),
    }
}

fn in_order(
    networks: &[Arc<Network>],
    domains: &[Arc<NetworkDomain>],
) -> BTreeMap<Key, api::Ipv6Prefix> {
    let alive = networks.iter().filter(|network| !deleting(&***network));
    let in_order = alive.filter(|network| network::check(network, domains, networks).is_ok());
    in_order
        .map(|network| (key(&**network), network.spec.prefix))
        .collect()
}

fn instances(
    instances: &[Arc<Instance>],
    hosts: &BTreeMap<String, Arc<Host>>,
) -> BTreeMap<Key, chain::Instance> {
    let known = instances.iter().map(|instance| {
        let spec = &instance.spec;
        let host = hosts.get(spec.host.name()).map(|host| &**host);
        let known = chain::Instance {
            workload: spec.workload.name().to_owned(),
            host: spec.host.name().to_owned(),
            available: is_available(instance, host),
            serving: spec.serving,
            deleting: deleting(&**instance),
            interfaces: spec.interfaces.clone(),
        };
        (key(&**instance), known)
    });
    known.collect()
}

fn chains(chains: &[Arc<ServiceFunctionChain>]) -> BTreeMap<Key, chain::Chain> {
    let wanted = chains.iter().filter(|chain| !deleting(&***chain));
    let known = wanted.map(|chain| {
        let known = chain::Chain {
            created: created(&**chain),
            spec: chain.spec.clone(),
        };
        (key(&**chain), known)
    });
    known.collect()
}
