//! What must stay although no chain asks for it now: steering of functions that packets may still come to.
//!
//! A function that left its chain goes on until nothing leads to it. What leads to it is followed from where packets
//! start; functions that only lead to each other keep nothing.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use api::tcm::{Direction, LocalSid, SidTarget, Steering};
use api::wdm::InterfaceRole;

use crate::course::Course;
use crate::layout::Layout;
use crate::world::{Host, Instance, Key, World};

/// The interfaces of all instances, and what of theirs must stay.
pub(crate) struct Kept<'a> {
    layout: &'a Layout<'a>,
    /// By host and interface.
    owners: BTreeMap<(&'a str, String), Owner<'a>>,
    /// Segments that packets may come to; looked for only when something is no longer asked for.
    reached: OnceCell<BTreeSet<Ipv6Addr>>,
}

/// What an interface in a router belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub key: &'a Key,
    pub instance: &'a Instance,
    pub interface: &'a str,
    pub role: InterfaceRole,
}

impl<'a> Kept<'a> {
    pub fn of(layout: &'a Layout<'a>) -> Self {
        Self {
            layout,
            owners: owners(layout.world),
            reached: OnceCell::new(),
        }
    }

    /// The instance that an interface of a host belongs to.
    pub fn owner(&self, host: &'a str, interface: &str) -> Option<&Owner<'a>> {
        self.owners.get(&(host, interface.to_owned()))
    }

    /// The interfaces of a host's instances, in order of name.
    pub fn interfaces(&self, host: &'a str) -> impl Iterator<Item = (&str, &Owner<'a>)> {
        let from = self.owners.range((host, String::new())..);
        let here = from.take_while(move |((at, _), _)| *at == host);
        here.map(|((_, interface), owner)| (interface.as_str(), owner))
    }

    /// Whether steering of a host must stay although no chain asks for it now.
    pub fn keeps(&self, name: &'a str, host: &'a Host, steering: &Steering) -> bool {
        if self.starts(name, steering) || self.is_asked_for(name, steering) {
            return false;
        }
        let mut feeding = host.sids().filter(|sid| self.feeds(name, sid, steering));
        feeding.any(|sid| self.reached().contains(&sid.sid))
    }

    /// Whether packets start here: at a port of users, or at a workload that begins a chain.
    fn starts(&self, host: &'a str, steering: &Steering) -> bool {
        self.owner(host, &steering.interface).is_none_or(|owner| {
            owner.role == InterfaceRole::End && steering.direction == Direction::Forward
        })
    }

    /// Whether a chain still sends from this interface this way; then it alone says what.
    fn is_asked_for(&self, host: &str, steering: &Steering) -> bool {
        let mut courses = self.layout.courses.values();
        courses.any(|course| {
            course.key.to_string() == steering.chain
                && sends_from(course, host, &steering.interface, steering.direction)
        })
    }

    /// Whether what arrives at a segment may be sent on by this steering: a function passes it on, an end replies.
    fn feeds(&self, host: &'a str, sid: &LocalSid, steering: &Steering) -> bool {
        let SidTarget::Attachment { interface } = &sid.target else {
            return false;
        };
        let (at, by) = (
            self.owner(host, interface),
            self.owner(host, &steering.interface),
        );
        let (Some(at), Some(by)) = (at, by) else {
            return false;
        };
        let same_way = match by.role {
            InterfaceRole::End => steering.direction == Direction::Reverse,
            InterfaceRole::Left | InterfaceRole::Right => sid.direction == steering.direction,
        };
        sid.chain == steering.chain && at.key == by.key && same_way
    }

    /// Segments that packets may come to, from any host, seen or not.
    fn reached(&self) -> &BTreeSet<Ipv6Addr> {
        self.reached.get_or_init(|| {
            let hosts = &self.layout.world.hosts;
            let ends: BTreeMap<_, _> = hosts
                .iter()
                .flat_map(|(name, host)| host.sids().map(move |sid| (sid.sid, (name, host, sid))))
                .collect();
            let mut todo = self.sent_at_first();
            let mut reached = BTreeSet::new();
            while let Some(sid) = todo.pop() {
                if !reached.insert(sid) {
                    continue;
                }
                let Some((name, host, sid)) = ends.get(&sid) else {
                    continue;
                };
                let on = host.steering().filter(|one| self.feeds(name, sid, one));
                todo.extend(on.flat_map(|one| one.segments.iter().copied()));
            }
            reached
        })
    }

    /// The segments that packets are sent to where they start, and by all that chains ask for.
    fn sent_at_first(&self) -> Vec<Ipv6Addr> {
        let hosts = self.layout.world.hosts.iter();
        let all = hosts.flat_map(|(name, host)| host.steering().map(move |one| (name, one)));
        let first =
            all.filter(|(host, one)| self.starts(host, one) || self.is_asked_for(host, one));
        first
            .flat_map(|(_, one)| one.segments.iter().copied())
            .collect()
    }
}

fn sends_from(course: &Course<'_>, host: &str, interface: &str, direction: Direction) -> bool {
    let mut candidates = course.places.iter().flat_map(|place| &place.candidates);
    candidates.any(|one| {
        let sends = match direction {
            Direction::Forward => &one.sends_forward,
            Direction::Reverse => &one.sends_back,
        };
        one.instance.host == host && sends.as_deref() == Some(interface)
    })
}

fn owners(world: &World) -> BTreeMap<(&str, String), Owner<'_>> {
    let instances = world.instances.iter();
    let interfaces = instances.flat_map(|(key, instance)| {
        instance.interfaces.iter().map(move |interface| {
            let name = api::interface_name(&key.namespace, &key.name, &interface.name);
            let owner = Owner {
                key,
                instance,
                interface: &interface.name,
                role: interface.role,
            };
            ((instance.host.as_str(), name), owner)
        })
    });
    interfaces.collect()
}
