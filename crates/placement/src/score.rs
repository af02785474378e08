//! How good a place is: each criterion from 0 to 1,000, and their weighted sum.
//!
//! A score depends on the place alone, never on which other places are offered, so that adding a bad site changes no
//! choice. The cheapest price of a component is the one exception; it is found once before the search.

use api::mco::{Criterion, PlacementPolicySpec, Score};
use api::{Micros, Resources};

use crate::money::Money;

/// The best score of a criterion.
pub(crate) const BEST: u64 = 1000;
/// Half of the best score is given for this latency where no need is stated.
const LATENCY_HALF: Micros = Micros(10_000);

/// What scores are computed from.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// From users and to neighbours, added up.
    pub latency: Micros,
    /// The latency that earns half of the best score.
    pub latency_half: Option<Micros>,
    pub cost: Money,
    /// The least that any site asks.
    pub cheapest: Money,
    /// The share of the host that stays free, from 0 to 1,000.
    pub free: u64,
}

impl Facts {
    fn score(&self, criterion: Criterion) -> u64 {
        match criterion {
            Criterion::Latency => {
                let half = self.latency_half.unwrap_or(LATENCY_HALF).0.max(1);
                BEST * half / half.saturating_add(self.latency.0)
            }
            Criterion::Cost => cost_score(self.cost, self.cheapest),
            Criterion::FreeCapacity => self.free,
        }
    }

    /// The score of each criterion of the policy.
    pub fn scores(&self, policy: &PlacementPolicySpec) -> Vec<Score> {
        let score = |criterion| Score {
            criterion,
            score: u32::try_from(self.score(criterion)).unwrap_or(u32::MAX),
        };
        policy
            .criteria
            .iter()
            .map(|weighted| score(weighted.criterion))
            .collect()
    }

    /// The weighted sum, not divided: what the search compares.
    pub fn weighted(&self, policy: &PlacementPolicySpec) -> u64 {
        let weighted = |item: &api::mco::WeightedCriterion| {
            u64::from(item.weight) * self.score(item.criterion)
        };
        policy.criteria.iter().map(weighted).sum()
    }
}

/// The weighted sum as a number from 0 to 1,000.
pub(crate) fn total(weighted: u64, policy: &PlacementPolicySpec) -> u32 {
    let weights: u64 = policy
        .criteria
        .iter()
        .map(|item| u64::from(item.weight))
        .sum();
    u32::try_from(weighted / weights.max(1)).unwrap_or(u32::MAX)
}

fn cost_score(cost: Money, cheapest: Money) -> u64 {
    if cost.0 <= cheapest.0 {
        return BEST;
    }
    let score = i128::from(BEST) * cheapest.0 / cost.0;
    u64::try_from(score).unwrap_or(0)
}

/// The smallest share of any needed resource that stays free once a replica has taken its part.
pub(crate) fn free_share(available: &Resources, needed: &Resources, all: &Resources) -> u64 {
    let share = |(name, amount): (&String, &api::Quantity)| {
        let (free, all) = (
            available.get(name).as_milli() - amount.as_milli(),
            all.get(name).as_milli(),
        );
        if all <= 0 {
            return BEST;
        }
        u64::try_from((i128::from(BEST) * free.max(0)) / all).unwrap_or(BEST)
    };
    needed
        .0
        .iter()
        .filter(|(_, amount)| amount.as_milli() > 0)
        .map(share)
        .min()
        .unwrap_or(BEST)
        .min(BEST)
}
