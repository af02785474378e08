//! Who still sends to an instance, and who still steers traffic of a chain.

use std::collections::BTreeSet;

use api::tcm::SidTarget;

use crate::observed::{Counted, Observed};
use crate::world::{Key, World};

/// The hosts that steer, or were told to steer, to an instance of a chain. Until there are none, stopping the instance
/// loses packets.
///
/// A host that cannot be seen counts for a chain that exists, until the host is deleted; for a deleted chain it does
/// not.
pub fn users(world: &World, instance: &Key) -> BTreeSet<String> {
    let Some(known) = world.instances.get(instance) else {
        return BTreeSet::new();
    };
    let Some(host) = world.hosts.get(&known.host) else {
        return BTreeSet::new();
    };
    let name =
        |interface: &str| api::interface_name(&instance.namespace, &instance.name, interface);
    let interfaces: BTreeSet<_> = known
        .interfaces
        .iter()
        .map(|interface| name(&interface.name))
        .collect();
    let observed = Observed::of(world);
    let chains: BTreeSet<_> = world.chains.keys().map(Key::to_string).collect();
    let sids = host.sids().filter(|sid| match &sid.target {
        SidTarget::Attachment { interface } => interfaces.contains(interface),
        SidTarget::UserPort { .. } => false,
    });
    let hosts = sids.flat_map(|sid| {
        let exists = chains.contains(&sid.chain);
        let counted = if exists { Counted::All } else { Counted::Seen };
        observed.users(sid.sid, counted)
    });
    hosts.map(str::to_owned).collect()
}

/// The hosts that can be seen and that steer, or were told to steer, traffic of a chain: a deleted chain is gone only
/// when there are none.
pub fn steers(world: &World, chain: &Key) -> BTreeSet<String> {
    let name = chain.to_string();
    let hosts = world.hosts.iter().filter(|(_, host)| host.seen);
    let steers = hosts.filter(|(_, host)| host.steering().any(|one| one.chain == name));
    steers.map(|(host, _)| host.clone()).collect()
}
