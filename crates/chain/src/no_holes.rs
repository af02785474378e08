//! The promise of the whole crate, tried on random lives: while instances move, hosts die and chains come, change and go,
//! hosts apply late and are seen late, no packet of a chain that worked is lost as long as the chain stays, its own hosts
//! live and its workloads run.

mod chains;
mod looks;
mod machine;

use std::collections::{BTreeMap, BTreeSet};

use api::tcm::ChainEnd;
use api::wdm::Serving;

use self::chains::workloads;
use self::machine::{Machine, Random, apply, interfaces, lose_interfaces};
use crate::sample::{self, key};
use crate::world::{Chain, Key, World};
use crate::{plan, users};

/// Lives per run of the test.
const LIVES: u64 = 30;
/// Events of one life.
const EVENTS: usize = 600;
/// Rounds in which everything is seen and applied until a life must have settled.
const ROUNDS_MAX: usize = 60;
/// A workload has at most so many instances at a time.
const INSTANCES_MAX: usize = 3;

const WORKLOADS: [&str; 5] = ["fw", "lim", "app", "nat", "db"];

#[test]
fn no_packet_of_a_working_chain_is_lost() {
    let mut n_protected = 0;
    for seed in 0..LIVES {
        n_protected += live(seed);
    }
    println!("{LIVES} lives of {EVENTS} events, {n_protected} protected looks at a chain");
    assert!(
        n_protected > LIVES * 100,
        "only {n_protected}: the lives prove nothing"
    );
}

fn live(seed: u64) -> u64 {
    let mut life = Life::new(seed);
    for event in 0..EVENTS {
        let what = life.happen();
        life.check(&format!("seed {seed}, event {event}: {what}"));
    }
    life.settle(seed);
    life.n_protected
}

/// A chain and the place where its packets start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    chain: Key,
    created: i64,
    host: String,
    interface: String,
}

struct Life {
    random: Random,
    machines: BTreeMap<String, Machine>,
    /// Instances whose containers run.
    running: BTreeSet<Key>,
    /// Instances that say they are available.
    healthy: BTreeSet<Key>,
    /// Instances that nobody relies on any more.
    released: BTreeSet<Key>,
    /// The objects as the API has them.
    objects: World,
    /// The objects as the planner sees them.
    view: World,
    /// What worked at the last look: a chain and the place where its packets start.
    protected: BTreeSet<Start>,
    n_protected: u64,
    n_made: usize,
    /// The workloads that each chain passes or ever passed.
    passed: BTreeMap<Key, BTreeSet<String>>,
    /// Whether packets may go another way than at the last look.
    moved: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut objects = sample::shop();
        sample::add_instance(&mut objects, "nat-0", "e1");
        sample::add_instance(&mut objects, "db-0", "m1");
        let from = ChainEnd::Workload { name: "app".into() };
        sample::add_chain(&mut objects, "store", from, &["nat"], "db");
        let names = objects.hosts.keys().cloned();
        let passed = |chain: &Chain| workloads(chain).map(str::to_owned).collect();
        let chains = objects.chains.iter();
        Self {
            passed: chains
                .map(|(key, chain)| (key.clone(), passed(chain)))
                .collect(),
            random: Random(seed),
            machines: names.map(|name| (name, Machine::default())).collect(),
            running: objects.instances.keys().cloned().collect(),
            healthy: objects.instances.keys().cloned().collect(),
            released: BTreeSet::new(),
            view: objects.clone(),
            objects,
            protected: BTreeSet::new(),
            n_protected: 0,
            n_made: 0,
            moved: true,
        }
    }

    /// Lets one thing happen, most often something of the control loop.
    fn happen(&mut self) -> String {
        let names: Vec<_> = self.machines.keys().cloned().collect();
        let host = self.random.pick(&names).expect("there are hosts");
        let what = match self.random.below(100) {
            0..14 => self.see_host(&host),
            14..22 => self.see_instances(),
            22..26 => self.see_chains(),
            26..46 => self.plan(&host),
            46..58 => self.fetch(&host),
            58..72 => self.apply(&host),
            72..82 => self.report(&host),
            82..86 => self.release(),
            86..88 => self.stop(),
            88..90 => self.make(&host),
            90..91 => self.become_healthy(),
            91..95 => self.retire(),
            95..96 => self.cut_or_mend(&host),
            96..97 => self.die_or_return(&host),
            97..98 => self.edit_chain(),
            _ => self.notice(&host),
        };
        what.unwrap_or_else(|| "nothing".into())
    }

    fn see_host(&mut self, host: &str) -> Option<String> {
        let object = self.objects.hosts.get(host)?.clone();
        self.view.hosts.insert(host.into(), object);
        self.judge();
        Some(format!("the planner sees {host}"))
    }

    fn see_instances(&mut self) -> Option<String> {
        self.view.instances = self.objects.instances.clone();
        self.judge();
        Some("the planner sees instances".into())
    }

    fn see_chains(&mut self) -> Option<String> {
        self.view.chains = self.objects.chains.clone();
        Some("the planner sees chains".into())
    }

    /// An instance is available only if its host can be seen, each judged by what is seen now.
    fn judge(&mut self) {
        for world in [&mut self.objects, &mut self.view] {
            for (key, instance) in &mut world.instances {
                let seen = world
                    .hosts
                    .get(&instance.host)
                    .is_some_and(|host| host.seen);
                instance.available = seen && !instance.deleting && self.healthy.contains(key);
            }
        }
    }

    fn plan(&mut self, host: &str) -> Option<String> {
        let newest = self.objects.hosts.get(host)?.spec.clone();
        if self.view.hosts.get(host)?.spec != newest {
            // The write would be refused as one from a stale read.
            self.view.hosts.get_mut(host)?.spec = newest;
            return None;
        }
        let spec = plan(&self.view, host)?;
        self.objects.hosts.get_mut(host)?.spec = Some(spec.clone());
        self.view.hosts.get_mut(host)?.spec = Some(spec);
        Some(format!("{host} is planned"))
    }

    fn fetch(&mut self, host: &str) -> Option<String> {
        let machine = self.machines.get_mut(host)?;
        if machine.dead || machine.cut_off {
            return None;
        }
        machine.fetched = self.objects.hosts.get(host)?.spec.clone();
        Some(format!("{host} fetches its plan"))
    }

    /// One of the stages in which a router is changed: what is new first, what is old last.
    fn apply(&mut self, host: &str) -> Option<String> {
        let machine = self.machines.get_mut(host)?;
        let wanted = machine.fetched.clone().filter(|_| !machine.dead)?;
        let interfaces = interfaces(&self.objects, &self.running, host);
        let stages = self.random.below(4);
        self.moved = true;
        apply(&mut machine.router, &wanted, &interfaces, stages);
        Some(format!("{host} applies {stages} stages"))
    }

    fn report(&mut self, host: &str) -> Option<String> {
        let machine = self.machines.get(host)?;
        if machine.dead || machine.cut_off {
            return None;
        }
        self.objects.hosts.get_mut(host)?.applied = machine.router.clone();
        Some(format!("{host} reports"))
    }

    fn release(&mut self) -> Option<String> {
        let leaving = |(_, one): &(&Key, &crate::Instance)| one.deleting;
        let leaving: Vec<_> = self
            .view
            .instances
            .iter()
            .filter(leaving)
            .map(|(key, _)| key.clone())
            .collect();
        let key = self.random.pick(&leaving)?;
        if !users(&self.view, &key).is_empty() {
            return None;
        }
        self.released.insert(key.clone());
        Some(format!("nobody relies on {key} any more"))
    }

    fn stop(&mut self) -> Option<String> {
        let released: Vec<_> = self.released.iter().cloned().collect();
        let key = self.random.pick(&released)?;
        let host = self.objects.instances.get(&key)?.host.clone();
        let machine = self.machines.get_mut(&host)?;
        if machine.dead || machine.cut_off {
            return None;
        }
        self.objects.instances.remove(&key);
        self.running.remove(&key);
        self.released.remove(&key);
        self.moved = true;
        let interfaces = interfaces(&self.objects, &self.running, &host);
        lose_interfaces(&mut machine.router, &interfaces);
        Some(format!("{key} stops"))
    }

    fn make(&mut self, host: &str) -> Option<String> {
        let workload = self.random.pick(&WORKLOADS)?;
        let machine = &self.machines[host];
        let n = self.instances_of(workload).count();
        if machine.dead || machine.cut_off || n >= INSTANCES_MAX {
            return None;
        }
        self.n_made += 1;
        let name = format!("{workload}-{}", self.n_made);
        sample::add_instance(&mut self.objects, &name, host);
        self.running.insert(key(&name));
        self.judge();
        Some(format!("{name} starts on {host}"))
    }

    fn instances_of<'a>(
        &'a self,
        workload: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a crate::Instance)> {
        self.objects
            .instances
            .iter()
            .filter(move |(_, one)| one.workload == workload)
    }

    fn become_healthy(&mut self) -> Option<String> {
        let ill: Vec<_> = self.running.difference(&self.healthy).cloned().collect();
        let key = self.random.pick(&ill)?;
        self.healthy.insert(key.clone());
        self.judge();
        Some(format!("{key} is healthy"))
    }

    /// Drains or deletes an instance beside which another serves.
    fn retire(&mut self) -> Option<String> {
        let workload = self.random.pick(&WORKLOADS)?;
        let serving: Vec<_> = self
            .instances_of(workload)
            .filter(|(_, one)| one.available && one.serving == Serving::Active)
            .map(|(key, _)| key.clone())
            .collect();
        let all: Vec<_> = self
            .instances_of(workload)
            .map(|(key, _)| key.clone())
            .collect();
        let key = self.random.pick(&all)?;
        if !serving.iter().any(|other| *other != key) {
            return None;
        }
        let instance = self.objects.instances.get_mut(&key)?;
        if instance.serving == Serving::Active && self.random.below(2) == 0 {
            instance.serving = Serving::Draining;
        } else {
            instance.deleting = true;
        }
        self.judge();
        Some(format!("{key} retires"))
    }

    /// At most one host is cut off at a time.
    fn cut_or_mend(&mut self, host: &str) -> Option<String> {
        let cut_off = self.machines.iter().find(|(_, machine)| machine.cut_off);
        let host = cut_off.map_or(host.to_owned(), |(name, _)| name.clone());
        let machine = self.machines.get_mut(&host)?;
        machine.cut_off = !machine.cut_off;
        Some(format!("{host} cut off: {}", machine.cut_off))
    }

    /// At most one host is dead at a time, and not for long: where hosts are dead nothing is promised.
    fn die_or_return(&mut self, host: &str) -> Option<String> {
        let dead = self.machines.iter().find(|(_, machine)| machine.dead);
        let host = dead.map_or(host.to_owned(), |(name, _)| name.clone());
        let machine = self.machines.get_mut(&host)?;
        let dies = !machine.dead && self.random.below(4) == 0;
        machine.dead = dies;
        self.moved = true;
        Some(format!("{host} dead: {dies}"))
    }

    fn notice(&mut self, host: &str) -> Option<String> {
        let machine = &self.machines[host];
        let object = self.objects.hosts.get_mut(host)?;
        object.seen = !machine.dead && !machine.cut_off;
        let seen = object.seen;
        self.judge();
        Some(format!("{host} seen: {seen}"))
    }
}
