//! Explains a placement: for each component a verdict for every site, and the short form that is stored.
//!
//! A verdict asks: could one replica of this component be here, everything else staying where it is?

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::mco::{Candidate, Criterion, Explanation, RejectedSite, Rejection, RejectionReason};

use crate::decision::{Verdict, Verdicts};
use crate::money::Money;
use crate::reject::Reject;
use crate::score::{Facts, total};
use crate::search::{Problem, State};

/// So many of the next best sites are stored.
const RUNNERS_UP_MAX: usize = 8;
/// Halvings when looking for the value that would have made a site win; enough for any price.
const HALVINGS: u32 = 64;

/// The verdicts of all components.
pub(crate) fn verdicts(state: &State<'_>) -> Vec<Verdicts> {
    let problem = state.problem();
    let components = problem.request.components.iter().enumerate();
    components
        .map(|(index, component)| Verdicts {
            workload: component.workload.clone(),
            sites: component_verdicts(state, index),
        })
        .collect()
}

fn component_verdicts(state: &State<'_>, component: usize) -> Vec<Verdict> {
    let problem = state.problem();
    let places: BTreeMap<usize, (usize, usize)> = problem
        .slots_of(component)
        .filter_map(|slot| {
            Some((
                problem.snapshot.hosts[state.place(slot)?.0].site,
                slot,
                state.place(slot)?.0,
            ))
        })
        .map(|(site, slot, host)| (site, (slot, host)))
        .collect();
    let asking = asking(state, component);
    let winner = asking.as_ref().and_then(|asking| asking.winner.clone());
    (0..problem.snapshot.sites.len())
        .map(|site| match (places.get(&site), &asking) {
            (Some((slot, host)), _) => Verdict::Chosen(candidate(
                problem,
                component,
                site,
                &state.facts(*slot, *host),
            )),
            (None, Some(asking)) => asking.verdict(component, site, winner.as_ref()),
            (None, None) => unasked(problem, component, site),
        })
        .collect()
}

/// The state without one replica, which can then be offered to every site.
struct Asking<'a> {
    state: State<'a>,
    slot: usize,
    /// What the replica has where it is.
    winner: Option<Facts>,
}

/// Asks for the replica that found no place, or else for the first one.
fn asking<'a>(state: &State<'a>, component: usize) -> Option<Asking<'a>> {
    let slots: Vec<usize> = state.problem().slots_of(component).collect();
    let homeless = slots.iter().find(|slot| state.place(**slot).is_none());
    let slot = *homeless.or(slots.first())?;
    let winner = state.place(slot).map(|(host, _)| state.facts(slot, host));
    let mut state = state.clone();
    state.leave(slot);
    Some(Asking {
        state,
        slot,
        winner,
    })
}

impl Asking<'_> {
    fn verdict(&self, component: usize, site: usize, winner: Option<&Facts>) -> Verdict {
        let problem = self.state.problem();
        match self.state.offer(self.slot, site) {
            Ok(offer) => {
                let facts = self.state.facts(self.slot, offer.host);
                let mut candidate = candidate(problem, component, site, &facts);
                candidate.wins_if = winner.and_then(|winner| wins_if(problem, winner, &facts));
                Verdict::Possible(candidate)
            }
            Err(reject) => rejected(problem, site, &reject),
        }
    }
}

/// The verdict for a component without replicas: the hard filters alone.
fn unasked(problem: &Problem<'_>, component: usize, site: usize) -> Verdict {
    match &problem.screens[component].sites[site] {
        Err(reject) => rejected(problem, site, reject),
        Ok(_) => {
            let screen = &problem.screens[component];
            let facts = Facts {
                latency: screen.user_latencies[site].unwrap_or_default(),
                latency_half: None,
                cost: screen.costs[site],
                cheapest: problem.cheapest[component],
                free: 0,
            };
            Verdict::Possible(candidate(problem, component, site, &facts))
        }
    }
}

fn rejected(problem: &Problem<'_>, site: usize, reject: &Reject) -> Verdict {
    Verdict::Rejected {
        site: problem.snapshot.sites[site].name.clone(),
        reason: reject.reason(),
        detail: reject.to_string(),
    }
}

fn candidate(problem: &Problem<'_>, component: usize, site: usize, facts: &Facts) -> Candidate {
    let policy = &problem.request.policy;
    let site_facts = &problem.snapshot.sites[site];
    Candidate {
        site: site_facts.name.clone(),
        provider: site_facts.provider.clone(),
        total: total(facts.weighted(policy), policy),
        scores: facts.scores(policy),
        user_latency_micros: problem.screens[component].user_latencies[site],
        hourly_cost: facts.cost.quantity(),
        wins_if: None,
    }
}

/// The one change of its price, or else of its latency, that would have made a site win.
fn wins_if(problem: &Problem<'_>, winner: &Facts, facts: &Facts) -> Option<String> {
    let policy = &problem.request.policy;
    let counts = |criterion| {
        policy
            .criteria
            .iter()
            .any(|item| item.criterion == criterion)
    };
    let wins = |winner: &Facts, facts: &Facts| facts.weighted(policy) > winner.weighted(policy);
    if wins(winner, facts) {
        return Some("others of the group did not have to be near their neighbours".to_owned());
    }
    let with_cost = |cost| {
        let cheapest = winner.cheapest.min(Money(cost));
        let changed = |facts: &Facts, cost| Facts {
            cost,
            cheapest,
            ..facts.clone()
        };
        wins(&changed(winner, winner.cost), &changed(facts, Money(cost)))
    };
    if counts(Criterion::Cost)
        && let Some(cost) = largest_that(facts.cost.0, with_cost)
    {
        let (limit, now) = (Money(cost + 1).decimal(), facts.cost.decimal());
        return Some(format!("its price falls below {limit} per hour, now {now}"));
    }
    let with_latency = |latency| {
        let latency = api::Micros(u64::try_from(latency).unwrap_or(u64::MAX));
        wins(
            winner,
            &Facts {
                latency,
                ..facts.clone()
            },
        )
    };
    let latency = largest_that(i128::from(facts.latency.0), with_latency)?;
    let limit = api::Micros(u64::try_from(latency + 1).unwrap_or(u64::MAX));
    let counted = counts(Criterion::Latency);
    counted.then(|| format!("its latency falls below {limit}, now {}", facts.latency))
}

/// The largest value below `now` for which a condition holds that holds for all smaller values too.
fn largest_that(now: i128, holds: impl Fn(i128) -> bool) -> Option<i128> {
    if !holds(0) {
        return None;
    }
    let (mut low, mut high) = (0, now);
    for _ in 0..HALVINGS {
        if high - low <= 1 {
            break;
        }
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle
        } else {
            high = middle
        }
    }
    Some(low)
}

/// The form that is stored.
pub(crate) fn summary(verdicts: &Verdicts) -> Explanation {
    let (mut chosen, mut possible) = (Vec::new(), Vec::new());
    let mut reasons: BTreeMap<RejectionReason, Vec<RejectedSite>> = BTreeMap::new();
    for verdict in &verdicts.sites {
        match verdict {
            Verdict::Chosen(candidate) => chosen.push(candidate.clone()),
            Verdict::Possible(candidate) => possible.push(candidate.clone()),
            Verdict::Rejected {
                site,
                reason,
                detail,
            } => {
                let (site, detail) = (site.clone(), detail.clone());
                reasons
                    .entry(*reason)
                    .or_default()
                    .push(RejectedSite { site, detail });
            }
        }
    }
    possible.sort_by_key(|candidate: &Candidate| Reverse(candidate.total));
    possible.truncate(RUNNERS_UP_MAX);
    Explanation {
        workload: verdicts.workload.clone(),
        chosen,
        runners_up: possible,
        rejected: reasons
            .into_iter()
            .map(|(reason, sites)| Rejection { reason, sites })
            .collect(),
        sites_considered: u32::try_from(verdicts.sites.len()).unwrap_or(u32::MAX),
    }
}
