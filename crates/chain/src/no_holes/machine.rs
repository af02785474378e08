//! The machine model: a host as it really is, what its router does with a plan, and chance.

use std::collections::BTreeSet;

use api::interface_name;
use api::tcm::{
    AppliedDatapath, Attachment, HostDatapathSpec, LocalSid, SidTarget, Steering, TrafficMatch,
};

use crate::sample::TENANT;
use crate::world::{Key, World};

/// A host as it really is.
#[derive(Default)]
pub struct Machine {
    pub dead: bool,
    /// It lives and forwards, but its agent reaches nobody.
    pub cut_off: bool,
    /// The plan that its agent fetched last.
    pub fetched: Option<HostDatapathSpec>,
    pub router: AppliedDatapath,
}

/// The names of interfaces that exist in a host's router.
pub fn interfaces(objects: &World, running: &BTreeSet<Key>, host: &str) -> BTreeSet<String> {
    let here = objects
        .instances
        .iter()
        .filter(|(key, one)| one.host == host && running.contains(*key));
    let attachments = here.flat_map(|(key, one)| {
        one.interfaces
            .iter()
            .map(|interface| interface_name(TENANT, &key.name, &interface.name))
    });
    attachments.chain(["users0".to_owned()]).collect()
}

/// What a router loses together with interfaces.
pub fn lose_interfaces(router: &mut AppliedDatapath, interfaces: &BTreeSet<String>) {
    router
        .attachments
        .retain(|one| interfaces.contains(&one.interface));
    router
        .steering
        .retain(|one| interfaces.contains(&one.interface));
    router.sids.retain(|one| interfaces.contains(target(one)));
}

/// Applies the first stages of a plan: segments, then steering, then what goes.
pub fn apply(
    router: &mut AppliedDatapath,
    wanted: &HostDatapathSpec,
    interfaces: &BTreeSet<String>,
    stages: usize,
) {
    let exists = |interface: &String| interfaces.contains(interface);
    if stages >= 1 {
        let attachments = wanted
            .attachments
            .iter()
            .filter(|one| exists(&one.interface));
        put(&mut router.attachments, attachments, |one: &Attachment| {
            one.interface.clone()
        });
        router.user_ports = wanted.user_ports.clone();
        put(
            &mut router.sids,
            wanted.sids.iter().filter(|one| exists(target(one))),
            |one| one.sid,
        );
    }
    if stages >= 2 {
        let steering = wanted.steering.iter().filter(|one| exists(&one.interface));
        put(&mut router.steering, steering, slot);
    }
    if stages >= 3 {
        router
            .steering
            .retain(|have| wanted.steering.iter().any(|one| slot(one) == slot(have)));
        router
            .sids
            .retain(|have| wanted.sids.iter().any(|one| one.sid == have.sid));
        router
            .attachments
            .retain(|have| wanted.attachments.contains(have));
    }
}

/// Puts each in the place of the one with the same identity.
fn put<'a, T: Clone + 'a, I: PartialEq>(
    have: &mut Vec<T>,
    wanted: impl Iterator<Item = &'a T>,
    identity: impl Fn(&T) -> I,
) {
    for one in wanted {
        have.retain(|old| identity(old) != identity(one));
        have.push(one.clone());
    }
}

fn slot(steering: &Steering) -> (String, TrafficMatch) {
    (steering.interface.clone(), steering.matching.clone())
}

fn target(sid: &LocalSid) -> &String {
    let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) = &sid.target;
    interface
}

/// SplitMix64: small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())].clone())
    }
}
