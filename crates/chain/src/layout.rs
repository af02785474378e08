//! Which chains are served, and by whom: the common ground of plans, hops and reasons.
//!
//! Of chains that exclude each other the oldest is served, then the first by name, so that a new chain never takes
//! anything from one that works.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use api::tcm::ChainEnd;

use crate::course::Course;
use crate::observed::Observed;
use crate::reason::Reason;
use crate::sid;
use crate::world::{Chain, Key, World};

/// The chains that are served and those that are refused.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    pub world: &'a World,
    pub observed: Observed<'a>,
    pub courses: BTreeMap<&'a Key, Course<'a>>,
    pub refused: BTreeMap<&'a Key, Vec<Reason>>,
}

impl<'a> Layout<'a> {
    pub fn of(world: &'a World) -> Self {
        let mut layout = Self {
            world,
            observed: Observed::of(world),
            courses: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        let mut taken = Taken::default();
        let mut chains: Vec<_> = world.chains.iter().collect();
        chains.sort_by_key(|(key, chain)| (chain.created, *key));
        for (key, chain) in chains {
            match layout.admit(&mut taken, key, chain) {
                Ok(mut course) => {
                    course.choose(&layout.observed);
                    layout.courses.insert(key, course);
                }
                Err(reasons) => {
                    layout.refused.insert(key, reasons);
                }
            }
        }
        layout
    }

    fn admit(
        &self,
        taken: &mut Taken<'a>,
        key: &'a Key,
        chain: &'a Chain,
    ) -> Result<Course<'a>, Vec<Reason>> {
        let network = Key::new(&key.namespace, chain.spec.network.name());
        let Some(prefix) = self.world.networks.get(&network) else {
            let network = network.name;
            return Err(vec![Reason::NetworkMissing { network }]);
        };
        let mut reasons: Vec<_> = repeated(chain).into_iter().collect();
        reasons.extend(taken.conflicts(key, chain));
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let course = Course::new(self.world, key, chain, *prefix);
        taken.take_segments(self.world, &course)?;
        taken.take(key, chain);
        Ok(course)
    }
}

/// A workload that is named twice by one chain.
fn repeated(chain: &Chain) -> Option<Reason> {
    let start = match &chain.spec.from {
        ChainEnd::Users { .. } => None,
        ChainEnd::Workload { name } => Some(name),
    };
    let named = start
        .into_iter()
        .chain(&chain.spec.functions)
        .chain([&chain.spec.to]);
    let mut seen = BTreeSet::new();
    let twice = named
        .map(|workload| workload.name())
        .find(|name| !seen.insert(*name))?;
    Some(Reason::WorkloadRepeated {
        workload: twice.to_owned(),
    })
}

/// What chains that are served have for themselves.
#[derive(Default)]
struct Taken<'a> {
    functions: BTreeMap<(&'a str, &'a str), &'a Key>,
    paths: BTreeMap<(&'a str, Path<'a>), &'a Key>,
    segments: BTreeSet<Ipv6Addr>,
}

/// A pair of ends between which packets can be told apart by their destination alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Path<'a> {
    /// From users at a site to a workload.
    Users(&'a str, &'a str),
    /// Between two workloads, in the order of their names: the way back of one is the way there of the other.
    Workloads(&'a str, &'a str),
}

impl<'a> Taken<'a> {
    fn conflicts(&self, key: &Key, chain: &'a Chain) -> Vec<Reason> {
        let namespace = key.namespace.as_str();
        let functions = chain.spec.functions.iter().filter_map(|function| {
            let by = self.functions.get(&(namespace, function.name()))?;
            Some(Reason::FunctionTaken {
                function: function.name().to_owned(),
                by: (*by).clone(),
            })
        });
        let paths = paths(chain).into_iter().filter_map(|path| {
            let by = self.paths.get(&(namespace, path))?;
            Some(Reason::PathTaken { by: (*by).clone() })
        });
        let mut reasons: Vec<_> = functions.chain(paths).collect();
        reasons.dedup();
        reasons
    }

    fn take(&mut self, key: &'a Key, chain: &'a Chain) {
        let namespace = key.namespace.as_str();
        let functions = chain.spec.functions.iter().map(|function| function.name());
        self.functions
            .extend(functions.map(|function| ((namespace, function), key)));
        self.paths.extend(
            paths(chain)
                .into_iter()
                .map(|path| ((namespace, path), key)),
        );
    }

    /// Segments are derived, so two may come out alike; then the later chain must be called otherwise.
    fn take_segments(&mut self, world: &World, course: &Course<'_>) -> Result<(), Vec<Reason>> {
        let mut own = BTreeSet::new();
        for segment in course.segments() {
            let sid = segment.local.sid;
            let locator = world.hosts[segment.host].locator;
            if sid::is_reserved(locator, sid) || self.segments.contains(&sid) || !own.insert(sid) {
                let host = segment.host.to_owned();
                return Err(vec![Reason::SegmentCollision { host, sid }]);
            }
        }
        self.segments.append(&mut own);
        Ok(())
    }
}

fn paths(chain: &Chain) -> Vec<Path<'_>> {
    let to = chain.spec.to.name();
    match &chain.spec.from {
        ChainEnd::Users { sites } => sites
            .iter()
            .map(|site| Path::Users(site.name(), to))
            .collect(),
        ChainEnd::Workload { name } => {
            let (first, second) = (name.name().min(to), name.name().max(to));
            vec![Path::Workloads(first, second)]
        }
    }
}
