//! What is in force of one chain: its hops both ways, each with whether it is applied, and what is missing.

use std::collections::BTreeSet;

use api::Ref;
use api::tcm::{ChainEnd, ChainHop, Direction, TrafficMatch};

use crate::complete::{applied, matches_back};
use crate::course::{Candidate, Course, Entry, Next, Return, Segment, lacks_at_start};
use crate::layout::Layout;
use crate::reason::Reason;
use crate::world::{Key, World};

/// What is seen of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainState {
    /// The hops between the instances that were chosen, forward first, each direction in order. Ports of users on hosts
    /// that cannot be seen are left out.
    pub hops: Vec<ChainHop>,
    /// What keeps it from being served wholly; each reason once.
    pub reasons: Vec<Reason>,
}

impl ChainState {
    /// Whether all of it is applied both ways and traffic flows.
    pub fn is_available(&self) -> bool {
        self.reasons.iter().all(Reason::tolerated)
    }
}

/// The state of a chain; that of one that is not known is empty and has no reason.
pub fn hops(world: &World, chain: &Key) -> ChainState {
    let layout = Layout::of(world);
    if let Some(reasons) = layout.refused.get(chain) {
        return ChainState {
            hops: Vec::new(),
            reasons: reasons.clone(),
        };
    }
    let Some(course) = layout.courses.get(chain) else {
        return ChainState::default();
    };
    let mut reasons = missing(&layout, course);
    let mut hops = Vec::new();
    let walk = Walk {
        layout: &layout,
        course,
    };
    walk.forward(&mut hops);
    walk.back(&mut hops);
    let unapplied = hops.iter().filter(|hop| !hop.applied);
    let unapplied: BTreeSet<_> = unapplied.map(|hop| hop.host.name().to_owned()).collect();
    reasons.extend(
        unapplied
            .into_iter()
            .map(|host| Reason::NotApplied { host }),
    );
    ChainState { hops, reasons }
}

/// Follows the chosen instances.
struct Walk<'w, 'a> {
    layout: &'w Layout<'a>,
    course: &'w Course<'a>,
}

/// An interface that sends into a tunnel.
struct Sender<'w> {
    host: &'w str,
    interface: &'w str,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn forward(&self, hops: &mut Vec<ChainHop>) {
        let mut place = 0;
        while let Some(Next::Candidate(next, one)) = self.course.next(place) {
            let Some(segment) = &one.forward else { break };
            let senders = match self.course.chosen(place) {
                Some(sender) => sends(sender, sender.sends_forward.as_deref()),
                None => self
                    .live_entries()
                    .map(|(_, entry)| enters(entry))
                    .collect(),
            };
            let matching = self.course.matches_forward(place);
            let sent = senders
                .iter()
                .all(|sender| self.sends_to(sender, &matching, segment));
            let sent = sent && !senders.is_empty();
            hops.push(self.hop(Direction::Forward, Some(one), segment, sent));
            place = next;
        }
    }

    /// The hops that all replies share, then one to each port of users.
    fn back(&self, hops: &mut Vec<ChainHop>) {
        let replies: Vec<_> = self.replies().collect();
        let last = self.course.places.len() - 1;
        let (Some(mut sender), Some(reply)) = (self.course.chosen(last), replies.first()) else {
            return;
        };
        let mut place = last;
        while let Some(Next::Candidate(next, one)) = self.course.next_back(place, reply) {
            let Some(segment) = &one.reverse else { break };
            let sent = replies
                .iter()
                .all(|reply| self.replies_to(sender, reply, segment));
            hops.push(self.hop(Direction::Reverse, Some(one), segment, sent));
            (place, sender) = (next, one);
        }
        for reply in &replies {
            if let Some(Next::Entry(entry)) = self.course.next_back(place, reply) {
                let sent = self.replies_to(sender, reply, &entry.segment);
                hops.push(self.hop(Direction::Reverse, None, &entry.segment, sent));
            }
        }
    }

    /// Replies that can arrive.
    fn replies(&self) -> impl Iterator<Item = &'w Return<'a>> {
        let seen = |reply: &&Return<'a>| reply.entry.as_ref().is_none_or(|entry| entry.host.seen);
        self.course.returns.iter().filter(seen)
    }

    fn live_entries(&self) -> impl Iterator<Item = (&'w Return<'a>, &'w Entry<'a>)> {
        self.replies()
            .filter_map(|reply| Some((reply, reply.entry.as_ref()?)))
    }

    fn replies_to(&self, one: &Candidate<'_>, reply: &Return<'_>, to: &Segment<'_>) -> bool {
        let senders = sends(one, one.sends_back.as_deref());
        let matching = matches_back(reply);
        senders
            .iter()
            .all(|sender| self.sends_to(sender, &matching, to))
    }

    fn sends_to(&self, sender: &Sender<'_>, matching: &TrafficMatch, to: &Segment<'_>) -> bool {
        let sent = self
            .layout
            .observed
            .sends(sender.host, sender.interface, matching);
        sent == Some(to.local.sid)
    }

    fn hop(
        &self,
        direction: Direction,
        one: Option<&Candidate<'_>>,
        segment: &Segment<'_>,
        sent: bool,
    ) -> ChainHop {
        ChainHop {
            direction,
            instance: one.map(|one| Ref::new(&one.key.name)),
            host: Ref::new(segment.host),
            sid: segment.local.sid,
            applied: sent && applied(&self.layout.observed, segment),
        }
    }
}

fn sends<'w>(one: &'w Candidate<'_>, interface: Option<&'w str>) -> Vec<Sender<'w>> {
    let host = &one.instance.host;
    interface
        .map(|interface| Sender { host, interface })
        .into_iter()
        .collect()
}

fn enters<'w>(entry: &'w Entry<'_>) -> Sender<'w> {
    Sender {
        host: entry.segment.host,
        interface: &entry.port.interface,
    }
}

/// What is missing before anything can be applied.
fn missing(layout: &Layout<'_>, course: &Course<'_>) -> Vec<Reason> {
    let mut reasons: Vec<_> = missing_users(layout, course).into_iter().collect();
    let first = usize::from(course.starts_with_users());
    for (place, at) in course.places.iter().enumerate().skip(first) {
        if at.chosen.is_some() {
            continue;
        }
        let workload = at.workload.to_owned();
        let incapable = at.candidates.iter().filter(|one| one.instance.available);
        let incapable = incapable.filter_map(|one| Some((one, one.lacks?))).next();
        reasons.push(match incapable {
            _ if course.may_bypass(place) => Reason::Bypassed { function: workload },
            Some((one, lacks)) => Reason::HostIncapable {
                host: one.instance.host.clone(),
                lacks,
            },
            None if at.candidates.is_empty() => Reason::NoInstance { workload },
            None => Reason::InstanceUnavailable { workload },
        });
    }
    reasons
}

/// Why no user can enter a chain that users start.
fn missing_users(layout: &Layout<'_>, course: &Course<'_>) -> Option<Reason> {
    let ChainEnd::Users { sites } = &course.chain.spec.from else {
        return None;
    };
    if course
        .returns
        .iter()
        .any(|reply| reply.entry.as_ref().is_some_and(|entry| entry.host.seen))
    {
        return None;
    }
    if !course.returns.is_empty() {
        return Some(Reason::UsersUnseen);
    }
    let hosts = layout.world.hosts.iter().filter(|(_, host)| {
        let here = sites.iter().any(|site| site.name() == host.site);
        here && !host.user_ports.is_empty()
    });
    let mut incapable =
        hosts.filter_map(|(name, host)| Some((name, lacks_at_start(host, course.chain)?)));
    Some(match incapable.next() {
        Some((host, lacks)) => Reason::HostIncapable {
            host: host.clone(),
            lacks,
        },
        None => Reason::NoUserPort {
            sites: sites.iter().map(|site| site.name().to_owned()).collect(),
        },
    })
}

#[cfg(test)]
mod tests;
