//! Chains come, change and go: whatever a user may ask for that excludes no chain that is there.

use std::collections::BTreeSet;

use api::Ref;
use api::mco::Workload;
use api::tcm::{ChainEnd, FailPolicy};

use super::Life;
use crate::sample::{self, key};
use crate::world::{Chain, World};

const FUNCTIONS: [&str; 3] = ["fw", "lim", "nat"];
/// The names that chains have.
const CHAINS: [&str; 4] = ["web", "store", "third", "fourth"];

impl Life {
    /// A chain comes, goes, or is changed: functions come, go and change places, and so does the policy.
    pub fn edit_chain(&mut self) -> Option<String> {
        let name = self.random.pick(&CHAINS)?;
        let before = self.objects.chains.get(&key(name)).cloned();
        if before.is_some() && self.random.below(3) == 0 {
            self.objects.chains.remove(&key(name));
            return Some(format!("chain {name} goes"));
        }
        let mut chain = before.unwrap_or_else(|| self.any_chain());
        chain.spec.functions = self.any_functions();
        chain.spec.fail_policy = self.random.pick(&[FailPolicy::Block, FailPolicy::Bypass])?;
        if self.is_refused(name, &chain) {
            return None;
        }
        let passed = self.passed.entry(key(name)).or_default();
        passed.extend(workloads(&chain).map(str::to_owned));
        let text = format!("chain {name} is {:?}", chain.spec);
        self.objects.chains.insert(key(name), chain);
        Some(text)
    }

    /// A new chain between some ends, without functions.
    fn any_chain(&mut self) -> Chain {
        let ends: [&[&str]; 3] = [&["west"], &["east"], &["west", "east"]];
        let from = match self.random.below(4) {
            0 => ChainEnd::Workload { name: "app".into() },
            number => {
                let sites = ends[number - 1].iter();
                let sites = sites.map(|site| Ref::new(*site)).collect();
                ChainEnd::Users { sites }
            }
        };
        let to = ["app", "db"][self.random.below(2)];
        self.n_made += 1;
        let mut world = World::default();
        sample::add_chain(&mut world, "new", from, &[], to);
        Chain {
            created: i64::try_from(self.n_made).unwrap(),
            ..world.chains[&key("new")].clone()
        }
    }

    /// Some of the functions in some order.
    fn any_functions(&mut self) -> Vec<Ref<Workload>> {
        let mut left = FUNCTIONS.to_vec();
        let n_functions = self.random.below(FUNCTIONS.len() + 1);
        let pick = |_| Ref::new(left.remove(self.random.below(left.len())));
        (0..n_functions).map(pick).collect()
    }

    /// Whether a chain names a workload twice, or excludes another: then the younger one is not served, by design.
    fn is_refused(&self, name: &str, chain: &Chain) -> bool {
        let named: Vec<&str> = workloads(chain).collect();
        let distinct: BTreeSet<&str> = named.iter().copied().collect();
        let worlds = [&self.objects, &self.view];
        let mut others = worlds.iter().flat_map(|world| &world.chains);
        named.len() > distinct.len()
            || others.any(|(other, it)| *other != key(name) && excludes(chain, it))
    }
}

/// All that a chain names.
pub fn workloads(chain: &Chain) -> impl Iterator<Item = &str> {
    let spec = &chain.spec;
    let from = match &spec.from {
        ChainEnd::Users { .. } => None,
        ChainEnd::Workload { name } => Some(name),
    };
    let all = from.into_iter().chain(&spec.functions).chain([&spec.to]);
    all.map(|workload| workload.name())
}

/// Whether two chains cannot both be served: a function serves one, and so does a pair of ends.
fn excludes(one: &Chain, other: &Chain) -> bool {
    let (one, other) = (&one.spec, &other.spec);
    let shared = one.functions.iter().any(|it| other.functions.contains(it));
    let same_start = match (&one.from, &other.from) {
        (ChainEnd::Users { sites: a }, ChainEnd::Users { sites: b }) => {
            a.iter().any(|site| b.contains(site))
        }
        (ChainEnd::Workload { name: a }, ChainEnd::Workload { name: b }) => a == b,
        _ => false,
    };
    shared || (same_start && one.to == other.to)
}
