//! What one host's router must program.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use api::tcm::{
    Attachment, Direction, HostDatapathSpec, LocalSid, SidTarget, Steering, TrafficMatch,
};

use crate::complete::{applied, matches_back};
use crate::course::{Candidate, Course, Next, Return, lacks};
use crate::kept::Kept;
use crate::layout::Layout;
use crate::observed::Counted;
use crate::world::{Host, Key, World};

/// All that a host's router must program now; none if the host is not known.
///
/// Applied to every host again and again, with what was observed in between, plans lead to what is wanted without ever
/// taking away what packets still need.
pub fn plan(world: &World, host: &str) -> Option<HostDatapathSpec> {
    let layout = Layout::of(world);
    let (name, host) = world.hosts.get_key_value(host)?;
    let planner = Planner {
        layout: &layout,
        name,
        host,
        kept: Kept::of(&layout),
    };
    let mut user_ports = host.user_ports.clone();
    user_ports.sort();
    Some(HostDatapathSpec {
        locator: host.locator,
        mtu: host.mtu,
        attachments: planner.attachments(),
        user_ports,
        sids: planner.sids(),
        steering: planner.steering(),
    })
}

/// Plans for one host.
struct Planner<'a> {
    layout: &'a Layout<'a>,
    name: &'a str,
    host: &'a Host,
    kept: Kept<'a>,
}

/// A packet's matching and the interface at which it arrives; there is one way for each.
type Slot = (String, TrafficMatch);

/// Where traffic of an interface starts to be steered.
struct Sender<'a> {
    interface: &'a str,
    matching: TrafficMatch,
    direction: Direction,
    /// At the start of a chain steering comes last.
    starts: bool,
}

impl<'a> Planner<'a> {
    /// All instances have theirs, in a chain or not: that one is probed never waits for a chain.
    fn attachments(&self) -> Vec<Attachment> {
        let interfaces = self.kept.interfaces(self.name);
        let attachments = interfaces.map(|(interface, owner)| Attachment {
            interface: interface.to_owned(),
            of: format!("{}/{}", owner.key, owner.interface),
        });
        attachments.collect()
    }

    /// The chains that this host can take part in: none if its kernel lacks what that needs.
    fn courses(&self) -> impl Iterator<Item = &'a Course<'a>> {
        let able = lacks(self.host).is_none();
        self.layout.courses.values().filter(move |_| able)
    }

    fn sids(&self) -> Vec<LocalSid> {
        let mut sids: BTreeMap<Ipv6Addr, LocalSid> = BTreeMap::new();
        for sid in self.host.sids().filter(|sid| self.keeps_sid(sid)) {
            sids.insert(sid.sid, sid.clone());
        }
        let segments = self.courses().flat_map(Course::segments);
        for segment in segments.filter(|segment| segment.host == self.name) {
            sids.insert(segment.local.sid, segment.local.clone());
        }
        sids.into_values().collect()
    }

    /// Whether a segment that was asked for must stay although no chain asks for it now.
    fn keeps_sid(&self, sid: &LocalSid) -> bool {
        let used = self
            .layout
            .observed
            .is_used(sid.sid, self.counted(&sid.chain));
        used && self.host.locator.contains(sid.sid) && self.has_interface(&sid.target)
    }

    /// A host that cannot be seen may still send to a chain that exists; a chain that was deleted owes it nothing.
    fn counted(&self, chain: &str) -> Counted {
        let mut chains = self.layout.world.chains.keys();
        if chains.any(|key| key.to_string() == chain) {
            Counted::All
        } else {
            Counted::Seen
        }
    }

    fn has_interface(&self, target: &SidTarget) -> bool {
        match target {
            SidTarget::Attachment { interface } => self.kept.owner(self.name, interface).is_some(),
            SidTarget::UserPort { interface } => {
                let mut ports = self.host.user_ports.iter();
                ports.any(|port| port.interface == *interface)
            }
        }
    }

    fn steering(&self) -> Vec<Steering> {
        let mut wanted: BTreeMap<Slot, Option<Steering>> = BTreeMap::new();
        for course in self.courses() {
            self.steer_entries(course, &mut wanted);
            for (place, at) in course.places.iter().enumerate() {
                let here = at
                    .candidates
                    .iter()
                    .filter(|one| one.instance.host == self.name);
                for one in here {
                    self.steer_candidate(course, place, one, &mut wanted);
                }
            }
        }
        for steering in self.host.steering().filter(|one| self.keeps_steering(one)) {
            let slot = (steering.interface.clone(), steering.matching.clone());
            wanted.entry(slot).or_insert_with(|| Some(steering.clone()));
        }
        wanted.into_values().flatten().collect()
    }

    fn steer_entries(&self, course: &Course<'_>, wanted: &mut BTreeMap<Slot, Option<Steering>>) {
        let entries = course
            .returns
            .iter()
            .filter_map(|reply| reply.entry.as_ref());
        for entry in entries.filter(|entry| entry.segment.host == self.name) {
            let sender = Sender {
                interface: &entry.port.interface,
                matching: course.matches_forward(0),
                direction: Direction::Forward,
                starts: true,
            };
            self.steer(course, sender, None, course.next(0), wanted);
        }
    }

    fn steer_candidate(
        &self,
        course: &Course<'_>,
        place: usize,
        one: &Candidate<'_>,
        wanted: &mut BTreeMap<Slot, Option<Steering>>,
    ) {
        if let Some(interface) = &one.sends_forward {
            let sender = Sender {
                interface,
                matching: course.matches_forward(place),
                direction: Direction::Forward,
                starts: place == 0,
            };
            self.steer(course, sender, None, course.next(place), wanted);
        }
        let replies = course.returns.iter().filter(|_| one.sends_back.is_some());
        for reply in replies {
            let sender = Sender {
                interface: one.sends_back.as_deref().unwrap_or_default(),
                matching: matches_back(reply),
                direction: Direction::Reverse,
                starts: false,
            };
            let next = course.next_back(place, reply);
            self.steer(course, sender, Some(reply), next, wanted);
        }
    }

    fn steer(
        &self,
        course: &Course<'_>,
        sender: Sender<'_>,
        reply: Option<&Return<'_>>,
        next: Option<Next<'_, '_>>,
        wanted: &mut BTreeMap<Slot, Option<Steering>>,
    ) {
        let old = self.old(course.key, &sender);
        let segments = match next {
            Some(next) => self.switch(course, &sender, reply, &next, old),
            // Nobody can serve; what is there stays for when it comes back, but holds nothing that is to go.
            None => old
                .filter(|old| !self.is_leaving(old))
                .map(|old| old.segments.clone()),
        };
        let steering = segments.map(|segments| Steering {
            interface: sender.interface.to_owned(),
            matching: sender.matching.clone(),
            segments,
            chain: course.key.to_string(),
            direction: sender.direction,
        });
        wanted.insert((sender.interface.to_owned(), sender.matching), steering);
    }

    /// The segments after a look at what is applied: the new ones if they lead all the way, else the old ones.
    fn switch(
        &self,
        course: &Course<'_>,
        sender: &Sender<'_>,
        reply: Option<&Return<'_>>,
        next: &Next<'_, '_>,
        old: Option<&Steering>,
    ) -> Option<Vec<Ipv6Addr>> {
        let observed = &self.layout.observed;
        let segment = match (next, sender.direction) {
            (Next::Entry(entry), _) => &entry.segment,
            (Next::Candidate(_, one), Direction::Forward) => one.forward.as_ref()?,
            (Next::Candidate(_, one), Direction::Reverse) => one.reverse.as_ref()?,
        };
        let new = vec![segment.local.sid];
        match old {
            Some(old) if old.segments == new => Some(new),
            _ if course.leads(observed, next, reply) => Some(new),
            Some(old) => Some(old.segments.clone()),
            // Nobody sends here before the rest is applied, so all places between the ends can be set up at once.
            None => (!sender.starts && applied(observed, segment)).then_some(new),
        }
    }

    /// What the sender was told last for the same traffic of the same chain.
    fn old(&self, chain: &Key, sender: &Sender<'_>) -> Option<&'a Steering> {
        let chain = chain.to_string();
        self.host.steering().find(|old| {
            old.interface == sender.interface
                && old.matching == sender.matching
                && old.chain == chain
                && old.direction == sender.direction
        })
    }

    /// Whether steering leads to an instance that is to go or is gone.
    fn is_leaving(&self, steering: &Steering) -> bool {
        let Some(sid) = steering.segments.last() else {
            return true;
        };
        let world = self.layout.world;
        let ends_at = world.hosts.iter().find_map(|(name, host)| {
            let sid = host.sids().find(|local| local.sid == *sid)?;
            Some((name.as_str(), &sid.target))
        });
        match ends_at {
            Some((host, SidTarget::Attachment { interface })) => self
                .kept
                .owner(host, interface)
                .is_none_or(|owner| owner.instance.deleting),
            Some((_, SidTarget::UserPort { .. })) => false,
            None => true,
        }
    }

    /// Whether steering that no chain asks for now must stay; that of a deleted chain goes at once.
    fn keeps_steering(&self, steering: &Steering) -> bool {
        let deleted = self.counted(&steering.chain) == Counted::Seen;
        !deleted && self.kept.keeps(self.name, self.host, steering)
    }
}

#[cfg(test)]
mod tests;
