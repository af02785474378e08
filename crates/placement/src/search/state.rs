//! A placement under construction: what each replica has got, what is left on the hosts, what an offer is worth.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::{Micros, Resources};

use crate::digest::mix;
use crate::reject::Reject;
use crate::score::{Facts, free_share};
use crate::search::strategy::{Neighbour, Problem};

/// Where each replica is so far, and what is left.
#[derive(Clone, Debug)]
pub(crate) struct State<'a> {
    problem: &'a Problem<'a>,
    /// The host and the artefact of each replica.
    places: Vec<Option<(usize, usize)>>,
    /// What is left on hosts that this state changed; all others are as in the snapshot.
    left: BTreeMap<usize, Resources>,
}

/// A place that a replica could take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub host: usize,
    pub artefact: usize,
    /// The weighted sum of its scores.
    pub weighted: u64,
}

impl<'a> State<'a> {
    pub fn new(problem: &'a Problem<'a>) -> Self {
        Self {
            problem,
            places: vec![None; problem.slots.len()],
            left: BTreeMap::new(),
        }
    }

    pub fn problem(&self) -> &'a Problem<'a> {
        self.problem
    }

    /// The host and artefact of a replica.
    pub fn place(&self, slot: usize) -> Option<(usize, usize)> {
        self.places[slot]
    }

    /// Gives a replica a place.
    pub fn take(&mut self, slot: usize, host: usize, artefact: usize) {
        self.places[slot] = Some((host, artefact));
        let own = self.own(slot, host);
        let needed = &self.problem.component(slot).resources;
        let left = self.left_mut(host);
        left.add(&own);
        left.subtract(needed);
    }

    /// Takes its place from a replica.
    pub fn leave(&mut self, slot: usize) {
        let Some((host, _)) = self.places[slot].take() else {
            return;
        };
        let own = self.own(slot, host);
        let needed = &self.problem.component(slot).resources;
        let left = self.left_mut(host);
        left.add(needed);
        left.subtract(&own);
    }

    /// What the replica reserves on the host already.
    fn own(&self, slot: usize, host: usize) -> Resources {
        let mut sum = Resources::default();
        let own = &self.problem.slots[slot].own;
        for (_, reserved) in own.iter().filter(|(at, _)| *at == host) {
            sum.add(reserved);
        }
        sum
    }

    fn left_mut(&mut self, host: usize) -> &mut Resources {
        let free = &self.problem.snapshot.hosts[host].free;
        self.left.entry(host).or_insert_with(|| free.clone())
    }

    /// What the replica could take of the host.
    fn available(&self, slot: usize, host: usize) -> Resources {
        let free = &self.problem.snapshot.hosts[host].free;
        let mut available = self.left.get(&host).unwrap_or(free).clone();
        let own = self.own(slot, host);
        available.add(&own);
        // Where more is reserved than there is, others have to go.
        if self.problem.slots[slot]
            .held
            .is_some_and(|(at, _)| at == host)
        {
            available.raise_to(&own);
        }
        available
    }

    /// Whether a replica fits on a host beside what has been placed.
    pub fn fits(&self, slot: usize, host: usize) -> Result<(), Reject> {
        let component = self.problem.component(slot);
        let available = self.available(slot, host);
        if let Some((resource, needed, free)) = available.lacks(&component.resources) {
            let resource = resource.to_owned();
            return Err(Reject::Resources {
                resource,
                needed,
                free,
            });
        }
        self.near(slot, self.problem.snapshot.hosts[host].site)
    }

    /// Whether a site is near enough to all neighbours that have a place: any replica may talk to any.
    fn near(&self, slot: usize, site: usize) -> Result<(), Reject> {
        for neighbour in &self.problem.neighbours[self.problem.slots[slot].component] {
            for at in self.sites_of(neighbour.component) {
                self.near_one(neighbour, site, at)?;
            }
        }
        Ok(())
    }

    fn near_one(&self, neighbour: &Neighbour, site: usize, at: usize) -> Result<(), Reject> {
        let snapshot = self.problem.snapshot;
        let name = || {
            let component = &self.problem.request.components[neighbour.component];
            (component.workload.clone(), snapshot.sites[at].name.clone())
        };
        let bandwidth = neighbour.bandwidth;
        match (
            snapshot.topology.latency(site, at, bandwidth),
            neighbour.latency_max,
        ) {
            (Some(latency), Some(max)) if latency > max => {
                let (neighbour, at) = name();
                Err(Reject::NeighbourLatency {
                    neighbour,
                    at,
                    latency,
                    max,
                })
            }
            (Some(_), _) => Ok(()),
            (None, _) => {
                let widest = snapshot.topology.widest(site, at);
                let (neighbour, at) = name();
                Err(match widest {
                    Some(widest) => Reject::NeighbourBandwidth {
                        neighbour,
                        at,
                        needed: bandwidth,
                        widest,
                    },
                    None => Reject::NeighbourPath { neighbour, at },
                })
            }
        }
    }

    /// The sites where replicas of a component have a place.
    fn sites_of(&self, component: usize) -> impl Iterator<Item = usize> {
        let hosts = &self.problem.snapshot.hosts;
        self.problem
            .slots_of(component)
            .filter_map(|slot| self.places[slot])
            .map(|(host, _)| hosts[host].site)
    }

    /// The best that a site offers a replica, or why it offers nothing: of its hosts the reason of the one that got furthest.
    pub fn offer(&self, slot: usize, site: usize) -> Result<Offer, Reject> {
        let screen = &self.problem.screens[self.problem.slots[slot].component];
        let fit = screen.sites[site].as_ref().map_err(Clone::clone)?;
        let mut best: Option<Offer> = None;
        let mut furthest = None;
        for (host, artefact) in &fit.hosts {
            match self.fits(slot, *host) {
                Ok(()) => {
                    let offer = self.offer_of(slot, *host, *artefact);
                    if best.is_none_or(|best| self.rank(&offer) > self.rank(&best)) {
                        best = Some(offer);
                    }
                }
                Err(reject) => furthest = furthest.max(Some(reject)),
            }
        }
        best.ok_or_else(|| furthest.expect("a site that fits has a host"))
    }

    /// All places for a replica, best first.
    pub fn offers(&self, slot: usize) -> Vec<Offer> {
        let screen = &self.problem.screens[self.problem.slots[slot].component];
        let mut offers: Vec<Offer> = screen
            .sites
            .iter()
            .flatten()
            .flat_map(|fit| &fit.hosts)
            .filter(|(host, _)| self.fits(slot, *host).is_ok())
            .map(|(host, artefact)| self.offer_of(slot, *host, *artefact))
            .collect();
        offers.sort_by_key(|offer| Reverse(self.rank(offer)));
        offers
    }

    /// The best place for a replica.
    pub fn best(&self, slot: usize) -> Option<Offer> {
        (0..self.problem.snapshot.sites.len())
            .filter_map(|site| self.offer(slot, site).ok())
            .max_by_key(|offer| self.rank(offer))
    }

    fn offer_of(&self, slot: usize, host: usize, artefact: usize) -> Offer {
        let facts = self.facts(slot, host);
        Offer {
            host,
            artefact,
            weighted: facts.weighted(&self.problem.request.policy),
        }
    }

    /// What offers are ordered by: worth, and where that is equal the seeded rule.
    pub fn rank(&self, offer: &Offer) -> (u64, u64) {
        let tie = self.problem.snapshot.hosts[offer.host].tie;
        let seed = self.problem.request.policy.tie_break_seed;
        (offer.weighted, mix(tie, seed))
    }

    /// What the scores of a replica on a host are computed from, beside what has been placed.
    pub fn facts(&self, slot: usize, host: usize) -> Facts {
        let problem = self.problem;
        let (index, component) = (problem.slots[slot].component, problem.component(slot));
        let host_facts = &problem.snapshot.hosts[host];
        let mut available = self.available(slot, host);
        if self.places[slot].is_some_and(|(at, _)| at == host) {
            available.subtract(&self.own(slot, host));
            available.add(&component.resources);
        }
        let screen = &problem.screens[index];
        let from_users = screen.user_latencies[host_facts.site].unwrap_or_default();
        let to_neighbours = self.neighbour_latency(index, host_facts.site);
        Facts {
            latency: Micros(from_users.0.saturating_add(to_neighbours.0)),
            latency_half: self.latency_half(index),
            cost: screen.costs[host_facts.site],
            cheapest: problem.cheapest[index],
            free: free_share(&available, &component.resources, &host_facts.allocatable),
        }
    }

    /// To the farthest replica of each neighbour, added up.
    fn neighbour_latency(&self, component: usize, site: usize) -> Micros {
        let farthest = |neighbour: &Neighbour| {
            let latency = |at| {
                let topology = &self.problem.snapshot.topology;
                topology.latency(site, at, neighbour.bandwidth)
            };
            let latencies = self.sites_of(neighbour.component).filter_map(latency);
            latencies.max().unwrap_or_default().0
        };
        let neighbours = &self.problem.neighbours[component];
        Micros(neighbours.iter().map(farthest).sum())
    }

    /// The tightest latency that the component needs.
    fn latency_half(&self, component: usize) -> Option<Micros> {
        let access = &self.problem.request.components[component].user_access;
        let users = access.as_ref().and_then(|access| access.latency_max_micros);
        let neighbours = &self.problem.neighbours[component];
        let needs = neighbours
            .iter()
            .filter_map(|neighbour| neighbour.latency_max);
        needs.chain(users).min().filter(|need| need.0 > 0)
    }

    /// What the place of one replica is worth.
    fn worth_of(&self, slot: usize) -> u64 {
        let worth = |(host, _)| {
            self.facts(slot, host)
                .weighted(&self.problem.request.policy)
        };
        self.places[slot].map_or(0, worth)
    }

    /// What the whole is worth.
    pub fn worth(&self) -> u64 {
        (0..self.places.len()).map(|slot| self.worth_of(slot)).sum()
    }

    /// What a replica and those that it talks to are worth: all that moving it changes, but for the room on hosts.
    pub fn worth_around(&self, slot: usize) -> u64 {
        let neighbours = &self.problem.neighbours[self.problem.slots[slot].component];
        let around = neighbours
            .iter()
            .flat_map(|neighbour| self.problem.slots_of(neighbour.component));
        self.worth_of(slot) + around.map(|slot| self.worth_of(slot)).sum::<u64>()
    }
}
