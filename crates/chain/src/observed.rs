//! What the routers have and were told, indexed: which segments are there for new traffic, and which are still used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use api::tcm::{LocalSid, Steering, TrafficMatch};

use crate::world::{Host, World};

/// Which hosts' steering counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// That of all hosts: one that cannot be seen may well still send.
    All,
    /// That of hosts that can be seen.
    Seen,
}

/// The routers, indexed.
#[derive(Debug, Default)]
pub(crate) struct Observed<'a> {
    /// Segments of hosts that can be seen: applied, and not told to go since.
    sids: BTreeMap<Ipv6Addr, &'a LocalSid>,
    /// Steering of hosts that can be seen, by host and interface: applied, and not told to go since.
    steering: BTreeMap<(&'a str, &'a str), Vec<&'a Steering>>,
    /// Hosts that steer, or were told to steer, to a segment, and whether they can be seen.
    users: BTreeMap<Ipv6Addr, BTreeSet<(&'a str, bool)>>,
    /// How often routers were told to steer to a segment.
    told: BTreeMap<Ipv6Addr, usize>,
}

impl<'a> Observed<'a> {
    pub fn of(world: &'a World) -> Self {
        let mut observed = Self::default();
        for (name, host) in &world.hosts {
            if host.seen {
                observed.see(name, host);
            }
            for steering in host.steering() {
                for segment in &steering.segments {
                    let users = observed.users.entry(*segment).or_default();
                    users.insert((name, host.seen));
                }
            }
            for segment in told(host) {
                *observed.told.entry(segment).or_default() += 1;
            }
        }
        observed
    }

    /// What was reported may be older than the plan, and what the plan leaves out goes any moment.
    fn see(&mut self, name: &'a str, host: &'a Host) {
        let Some(spec) = &host.spec else { return };
        let sids = host
            .applied
            .sids
            .iter()
            .filter(|sid| spec.sids.contains(sid));
        self.sids.extend(sids.map(|sid| (sid.sid, sid)));
        let steering = host.applied.steering.iter();
        for steering in steering.filter(|one| spec.steering.contains(one)) {
            let interface = (name, steering.interface.as_str());
            self.steering.entry(interface).or_default().push(steering);
        }
    }

    /// Whether new traffic may be sent to a segment.
    pub fn is_applied(&self, sid: &LocalSid) -> bool {
        self.sids.get(&sid.sid) == Some(&sid)
    }

    /// The segment that traffic which arrives at an interface is sent to in the end.
    pub fn sends(&self, host: &str, interface: &str, matching: &TrafficMatch) -> Option<Ipv6Addr> {
        let steering = self.steering.get(&(host, interface))?;
        let steering = steering
            .iter()
            .find(|steering| steering.matching == *matching)?;
        steering.segments.last().copied()
    }

    /// How often routers were told to steer to a segment.
    pub fn n_told(&self, sid: Ipv6Addr) -> usize {
        self.told.get(&sid).copied().unwrap_or(0)
    }

    /// The hosts that may still send to a segment.
    pub fn users(&self, sid: Ipv6Addr, counted: Counted) -> impl Iterator<Item = &'a str> {
        let users = self.users.get(&sid).into_iter().flatten();
        users
            .filter(move |(_, seen)| *seen || counted == Counted::All)
            .map(|(host, _)| *host)
    }

    /// Whether anybody may still send to a segment.
    pub fn is_used(&self, sid: Ipv6Addr, counted: Counted) -> bool {
        self.users(sid, counted).next().is_some()
    }
}

fn told(host: &Host) -> impl Iterator<Item = Ipv6Addr> {
    let steering = host.spec.iter().flat_map(|spec| &spec.steering);
    steering.filter_map(|steering| steering.segments.last().copied())
}
