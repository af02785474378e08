//! Keeps an instance running until nobody sends to it: a guest of Instance whose finalizer holds back the agent.
//!
//! Reads: all that the `chain` crate decides on (see `world`), but only while the instance is being deleted. Writes and
//! acts on nothing.

use std::collections::BTreeSet;

use api::{HostDatapath, Instance, Result};
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Role, Wait, deleting};

use crate::world;

/// Lets instances go once steering has moved away from them.
#[derive(Debug)]
pub struct InstanceGuard;

impl Reconciler for InstanceGuard {
    type Object = Instance;
    /// Hosts that still send to it.
    type Observed = BTreeSet<String>;
    type Step = Never;
    type Status = ();

    fn role() -> Role {
        Role::Guest {
            condition: "Steered",
            finalizer: Some("groma.dev/steering"),
        }
    }

    fn uses(kinds: &mut Kinds) {
        world::reads(kinds);
    }

    async fn observe(&self, ctx: &Ctx, instance: &Instance) -> Result<BTreeSet<String>> {
        if !deleting(instance) {
            return Ok(BTreeSet::new());
        }
        Ok(chain::users(&world::world(ctx)?, &world::key(instance)))
    }

    fn plan(&self, _: &Instance, hosts: &BTreeSet<String>) -> Plan<Never> {
        let wait = |host: &String| {
            let datapath = ObjectRef::new::<HostDatapath>(None, host);
            Wait::Object(datapath, "still steers to it".into())
        };
        Plan {
            waits: hosts.iter().map(wait).collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Instance, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Instance, _: &BTreeSet<String>) -> Report<()> {
        ().into()
    }
}
