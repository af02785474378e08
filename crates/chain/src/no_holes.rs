//! The promise of the whole crate, tried on random lives: while instances move, hosts die and chains change, hosts
//! apply late and are seen late, no packet of a chain that worked is lost as long as the chain's own hosts live.

use std::collections::{BTreeMap, BTreeSet};

use api::tcm::{
    AppliedDatapath, Attachment, ChainEnd, FailPolicy, HostDatapathSpec, LocalSid, SidTarget,
    Steering,
};
use api::wdm::{Protocol, Serving};
use api::{Ref, interface_name, service_address};

use crate::sample::{self, PORT, TENANT, key, network};
use crate::world::{Key, World};
use crate::{Loss, Packet, Place, hops, plan, trace, users};

/// Lives per run of the test.
const LIVES: u64 = 12;
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
        n_protected > LIVES * 200,
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

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())].clone())
    }
}

/// A host as it really is.
#[derive(Default)]
struct Machine {
    dead: bool,
    /// It lives and forwards, but its agent reaches nobody.
    cut_off: bool,
    /// The plan that its agent fetched last.
    fetched: Option<HostDatapathSpec>,
    router: AppliedDatapath,
}

/// A chain and the place where its packets start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    chain: Key,
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
        Self {
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

    /// Functions come, go and change places; the policy changes.
    fn edit_chain(&mut self) -> Option<String> {
        let functions = [&["fw", "lim"][..], &["lim", "fw"], &["fw"], &["lim"], &[]];
        let functions = self.random.pick(&functions)?;
        let policy = self.random.pick(&[FailPolicy::Block, FailPolicy::Bypass])?;
        let spec = &mut self.objects.chains.get_mut(&key("web"))?.spec;
        spec.functions = functions.iter().map(|name| Ref::new(*name)).collect();
        spec.fail_policy = policy;
        Some(format!("chain web goes through {functions:?}, {policy:?}"))
    }

    /// Looks at each chain from each of its starts: what is protected works.
    fn check(&mut self, when: &str) {
        let moved = std::mem::take(&mut self.moved);
        if !moved {
            let mut protected = std::mem::take(&mut self.protected);
            protected.retain(|start| self.may_be_protected(start));
            self.protected = protected;
            return;
        }
        let starts = self.starts();
        let mut protected = BTreeSet::new();
        for start in starts {
            let works = self.works(&start);
            if self.protected.contains(&start) && self.may_be_protected(&start) {
                self.n_protected += 1;
                if let Err(lost) = &works {
                    panic!(
                        "{when}: chain {} from {} has a hole: {lost}",
                        start.chain, start.host
                    );
                }
            }
            if let Err(lost) = &works {
                assert!(!lost.ends_with(&Loss::Loop.to_string()), "{when}: {lost}");
            }
            if works.is_ok() && self.may_be_protected(&start) {
                protected.insert(start);
            }
        }
        self.protected = protected;
    }

    /// Where packets of the chains start.
    fn starts(&self) -> Vec<Start> {
        let users = ["e1", "w1"].map(|host| Start {
            chain: key("web"),
            host: host.to_owned(),
            interface: "users0".to_owned(),
        });
        let apps = self
            .instances_of("app")
            .filter(|(key, _)| self.running.contains(*key));
        let apps = apps.map(|(app, one)| Start {
            chain: key("store"),
            host: one.host.clone(),
            interface: interface_name(TENANT, &app.name, "eth0"),
        });
        users.into_iter().chain(apps).collect()
    }

    /// Whether all hosts of the chain live and each of its workloads has an instance that may serve, for all to see.
    fn may_be_protected(&self, start: &Start) -> bool {
        let workloads: &[&str] = if start.chain.name == "web" {
            &["fw", "lim", "app"]
        } else {
            &["app", "nat", "db"]
        };
        let lives = |host: &str| self.machines.get(host).is_some_and(|machine| !machine.dead);
        let served = |world: &World, workload: &str| {
            let mut instances = world
                .instances
                .values()
                .filter(|one| one.workload == workload);
            instances.any(|one| one.available && one.serving == Serving::Active)
        };
        lives(&start.host)
            && workloads.iter().all(|workload| {
                let all_live = [&self.objects, &self.view].iter().all(|world| {
                    let mut instances = world.instances.values();
                    instances.all(|one| one.workload != *workload || lives(&one.host))
                });
                all_live && served(&self.objects, workload) && served(&self.view, workload)
            })
    }

    /// Whether a packet gets there and the answer comes back; if not, where it is lost.
    fn works(&self, start: &Start) -> Result<(), String> {
        let living = self.machines.iter().filter(|(_, machine)| !machine.dead);
        let routers: BTreeMap<_, _> = living
            .map(|(name, machine)| (name.clone(), machine.router.clone()))
            .collect();
        let (there, back) = if start.chain.name == "web" {
            let users = self.objects.hosts[&start.host].user_ports[0].prefix;
            (self.address("app"), users.address())
        } else {
            (self.address("db"), self.address("app"))
        };
        let send = |from: Place, destination| {
            let packet = Packet {
                host: from.host,
                interface: from.interface,
                destination,
                protocol: Protocol::Tcp,
                port: PORT,
            };
            let trace = trace(&routers, &packet);
            match (&trace.lost, trace.last()) {
                (None, Some(last)) => Ok(last.clone()),
                _ => Err(trace.to_string()),
            }
        };
        let from = Place {
            host: start.host.clone(),
            interface: start.interface.clone(),
            of: String::new(),
        };
        let end = send(from, there)?;
        send(end, back).map(drop)
    }

    fn address(&self, workload: &str) -> std::net::Ipv6Addr {
        service_address(network(), TENANT, workload)
    }

    /// Mends what is cut off, lets everything be seen and applied, and expects every chain that can work to work.
    fn settle(&mut self, seed: u64) {
        let names: Vec<_> = self.machines.keys().cloned().collect();
        for host in &names {
            let machine = self.machines.get_mut(host).unwrap();
            (machine.cut_off, machine.dead) = (false, false);
            self.notice(host);
        }
        self.healthy.extend(self.running.iter().cloned());
        for _ in 0..ROUNDS_MAX {
            for host in &names {
                self.see_host(host);
                self.see_instances();
                self.see_chains();
                self.plan(host);
                self.fetch(host);
                let interfaces = interfaces(&self.objects, &self.running, host);
                let machine = self.machines.get_mut(host).unwrap();
                if let Some(wanted) = machine.fetched.clone() {
                    apply(&mut machine.router, &wanted, &interfaces, 3);
                }
                self.report(host);
            }
            self.release();
            self.stop();
            self.moved = true;
            self.check(&format!("seed {seed}, settling"));
        }
        let deleting = self
            .objects
            .instances
            .iter()
            .filter(|(_, one)| one.deleting);
        assert_eq!(
            deleting.count(),
            0,
            "seed {seed}: an instance is never let go"
        );
        for host in &names {
            let planned = plan(&self.view, host);
            assert_eq!(
                planned, self.objects.hosts[host].spec,
                "seed {seed}: the plan of {host} is not stable"
            );
        }
        for start in self
            .starts()
            .into_iter()
            .filter(|start| start.chain.name == "web")
        {
            let works = self.works(&start);
            let state = hops(&self.view, &start.chain);
            assert!(
                state.is_available() && works.is_ok(),
                "seed {seed}: {start:?} {works:?} {state:?}"
            );
        }
    }
}

/// The names of interfaces that exist in a host's router.
fn interfaces(objects: &World, running: &BTreeSet<Key>, host: &str) -> BTreeSet<String> {
    let here = objects
        .instances
        .iter()
        .filter(|(key, one)| one.host == host && running.contains(*key));
    let attachments = here.flat_map(|(key, one)| {
        one.interfaces
            .iter()
            .map(|interface| interface_name(TENANT, &key.name, &interface.name))
    });
    attachments.chain(["users0".to_owned()]).collect()
}

/// What a router loses together with interfaces.
fn lose_interfaces(router: &mut AppliedDatapath, interfaces: &BTreeSet<String>) {
    router
        .attachments
        .retain(|one| interfaces.contains(&one.interface));
    router
        .steering
        .retain(|one| interfaces.contains(&one.interface));
    router.sids.retain(|one| interfaces.contains(target(one)));
}

/// Applies the first stages of a plan: segments, then steering, then what goes.
fn apply(
    router: &mut AppliedDatapath,
    wanted: &HostDatapathSpec,
    interfaces: &BTreeSet<String>,
    stages: usize,
) {
    let exists = |interface: &String| interfaces.contains(interface);
    if stages >= 1 {
        let attachments = wanted
            .attachments
            .iter()
            .filter(|one| exists(&one.interface));
        put(&mut router.attachments, attachments, |one: &Attachment| {
            one.interface.clone()
        });
        router.user_ports = wanted.user_ports.clone();
        put(
            &mut router.sids,
            wanted.sids.iter().filter(|one| exists(target(one))),
            |one| one.sid,
        );
    }
    if stages >= 2 {
        let steering = wanted.steering.iter().filter(|one| exists(&one.interface));
        put(&mut router.steering, steering, slot);
    }
    if stages >= 3 {
        router
            .steering
            .retain(|have| wanted.steering.iter().any(|one| slot(one) == slot(have)));
        router
            .sids
            .retain(|have| wanted.sids.iter().any(|one| one.sid == have.sid));
        router
            .attachments
            .retain(|have| wanted.attachments.contains(have));
    }
}

/// Puts each in the place of the one with the same identity.
fn put<'a, T: Clone + 'a, I: PartialEq>(
    have: &mut Vec<T>,
    wanted: impl Iterator<Item = &'a T>,
    identity: impl Fn(&T) -> I,
) {
    for one in wanted {
        have.retain(|old| identity(old) != identity(one));
        have.push(one.clone());
    }
}

fn slot(steering: &Steering) -> (String, api::tcm::TrafficMatch) {
    (steering.interface.clone(), steering.matching.clone())
}

fn target(sid: &LocalSid) -> &String {
    let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) = &sid.target;
    interface
}
