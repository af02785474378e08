//! `ServiceFunctionChain`: what is in force of a chain.
//!
//! Reads: all that the `chain` crate decides on (see `world`). Writes and acts on nothing: each host's part is planned
//! with the host. A deleted chain stays until no host that can be seen steers its traffic.

use std::collections::BTreeSet;

use api::condition::condition;
use api::tcm::ChainHop;
use api::{AVAILABLE, AvailableReason, HostDatapath, Result, ServiceFunctionChain, Truth};
use chain::{ChainState, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting};
use serde::Serialize;

use crate::world;

/// A message names at most so many reasons.
const REASONS_SHOWN_MAX: usize = 3;

/// Says what is in force of each chain.
#[derive(Debug)]
pub struct ServiceFunctionChainReconciler;

/// What is seen of a chain.
#[derive(Debug)]
pub struct Observed {
    state: ChainState,
    /// Hosts that still steer its traffic.
    steered_by: BTreeSet<String>,
}

/// The fields of the status that this reconciler owns.
#[derive(Debug, Serialize)]
pub struct Status {
    hops: Vec<ChainHop>,
}

impl Reconciler for ServiceFunctionChainReconciler {
    type Object = ServiceFunctionChain;
    type Observed = Observed;
    type Step = Never;
    type Status = Status;

    fn uses(kinds: &mut Kinds) {
        world::wakes_all(kinds);
    }

    async fn observe(&self, ctx: &Ctx, chain: &ServiceFunctionChain) -> Result<Observed> {
        let (world, key) = (world::world(ctx)?, world::key(chain));
        Ok(Observed {
            state: chain::hops(&world, &key),
            steered_by: chain::steers(&world, &key),
        })
    }

    fn plan(&self, chain: &ServiceFunctionChain, observed: &Observed) -> Plan<Never> {
        let waits = if deleting(chain) {
            let still = |host: &String| at(host, "still steers its traffic");
            observed.steered_by.iter().map(still).collect()
        } else {
            observed.state.reasons.iter().map(wait).collect()
        };
        Plan {
            waits,
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &ServiceFunctionChain, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, chain: &ServiceFunctionChain, observed: &Observed) -> Report<Status> {
        let hops = observed.state.hops.clone();
        let available = if deleting(chain) {
            condition(
                AVAILABLE,
                Truth::False,
                AvailableReason::Deleting,
                "it is being deleted",
            )
        } else {
            availability(&observed.state.reasons)
        };
        Report {
            status: Status { hops },
            conditions: vec![available],
        }
    }
}

fn wait(reason: &Reason) -> Wait {
    match reason {
        Reason::NotApplied { host } => at(host, "has not applied its part yet"),
        Reason::UsersUnseen => Wait::Unreachable(reason.to_string()),
        other => Wait::World(other.to_string()),
    }
}

fn at(host: &str, why: &str) -> Wait {
    Wait::Object(ObjectRef::new::<HostDatapath>(None, host), why.into())
}

/// Whether users are served; a function that is passed around is named but does not matter.
fn availability(reasons: &[Reason]) -> Condition {
    let in_the_way: Vec<_> = reasons
        .iter()
        .filter(|reason| !reason.tolerated())
        .collect();
    let (truth, shown) = match in_the_way.first() {
        None => (Truth::True, reasons.iter().collect()),
        Some(Reason::UsersUnseen) => (Truth::Unknown, in_the_way),
        Some(_) => (Truth::False, in_the_way),
    };
    let word = shown.first().map_or("Applied", |reason| reason.word());
    condition(AVAILABLE, truth, word, sentence(&shown))
}

fn sentence(reasons: &[&Reason]) -> String {
    let shown = reasons.iter().take(REASONS_SHOWN_MAX);
    let mut shown: Vec<_> = shown.map(ToString::to_string).collect();
    if reasons.len() > REASONS_SHOWN_MAX {
        shown.push(format!("and {} more", reasons.len() - REASONS_SHOWN_MAX));
    }
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reasons: &[Reason], expected: (&str, &str, &str)) {
        let shown = availability(reasons);
        let shown = (
            shown.status.as_str(),
            shown.reason.as_str(),
            shown.message.as_str(),
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_chain_is_available_unless_something_is_in_the_way() {
        let bypassed = Reason::Bypassed {
            function: "fw".into(),
        };
        let late = Reason::NotApplied { host: "m1".into() };
        check(&[], ("True", "Applied", ""));
        check(
            std::slice::from_ref(&bypassed),
            ("True", "Bypassed", "traffic passes around function fw"),
        );
        check(
            &[bypassed, late.clone()],
            (
                "False",
                "NotApplied",
                "host m1 has not applied its part yet",
            ),
        );
        let unseen = "no host with users of the chain can be seen";
        check(&[Reason::UsersUnseen], ("Unknown", "UsersUnseen", unseen));
        let many = vec![late; 5];
        assert!(availability(&many).message.ends_with("; and 2 more"));
    }
}
