//! The looks at a life: what is protected and must work, and how a life settles.

use std::collections::{BTreeMap, BTreeSet};

use api::tcm::ChainEnd;
use api::wdm::Protocol;
use api::{Ref, interface_name, service_address};

use super::chains::workloads;
use super::machine::{apply, interfaces};
use super::{Life, ROUNDS_MAX, Start};
use crate::sample::{PORT, TENANT, network};
use crate::world::{Chain, Key, World};
use crate::{Loss, Packet, Place, hops, plan, trace};

impl Life {
    /// Looks at each chain from each of its starts: what is protected works.
    pub fn check(&mut self, when: &str) {
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
        let chains = self.objects.chains.iter();
        chains
            .flat_map(|(chain, object)| self.starts_of(chain, object))
            .collect()
    }

    fn starts_of(&self, chain: &Key, object: &Chain) -> Vec<Start> {
        let start = |host: &str, interface: String| Start {
            chain: chain.clone(),
            created: object.created,
            host: host.to_owned(),
            interface,
        };
        match &object.spec.from {
            ChainEnd::Users { sites } => {
                let hosts = self.objects.hosts.iter();
                let at = hosts.filter(|(_, host)| sites.contains(&Ref::new(&*host.site)));
                at.map(|(name, _)| start(name, "users0".to_owned()))
                    .collect()
            }
            ChainEnd::Workload { name } => {
                let running = self.instances_of(name.name());
                let running = running.filter(|(key, _)| self.running.contains(*key));
                let interface = |key: &Key| interface_name(TENANT, &key.name, "eth0");
                running
                    .map(|(key, one)| start(&one.host, interface(key)))
                    .collect()
            }
        }
    }

    /// Whether the chain is there for all to see, all hosts that its packets may pass live, and each of its workloads
    /// runs somewhere. Whether any says that it is available does not count: what is ill or cannot be seen may well pass
    /// packets on.
    fn may_be_protected(&self, start: &Start) -> bool {
        let lives = |host: &str| self.machines.get(host).is_some_and(|machine| !machine.dead);
        let passed = self.passed.get(&start.chain);
        let all_live = passed.into_iter().flatten().all(|workload| {
            let worlds = [&self.objects, &self.view];
            let mut instances = worlds.iter().flat_map(|world| world.instances.values());
            instances.all(|one| one.workload != *workload || lives(&one.host))
        });
        let worlds = [&self.objects, &self.view];
        let served = worlds.iter().all(|world| {
            let chain = world.chains.get(&start.chain);
            let chain = chain.filter(|chain| chain.created == start.created);
            let workloads = chain.map(workloads);
            workloads.is_some_and(|mut all| all.all(|workload| self.runs(world, workload)))
        });
        lives(&start.host) && all_live && served
    }

    /// Whether some instance of a workload runs and is to go on.
    fn runs(&self, world: &World, workload: &str) -> bool {
        let mut instances = world.instances.iter();
        instances.any(|(key, one)| {
            one.workload == workload && !one.deleting && self.running.contains(key)
        })
    }

    /// Whether a packet gets there and the answer comes back; if not, where it is lost.
    fn works(&self, start: &Start) -> Result<(), String> {
        let living = self.machines.iter().filter(|(_, machine)| !machine.dead);
        let routers: BTreeMap<_, _> = living
            .map(|(name, machine)| (name.clone(), machine.router.clone()))
            .collect();
        let spec = &self.objects.chains[&start.chain].spec;
        let there = service_address(network(), TENANT, spec.to.name());
        let back = match &spec.from {
            ChainEnd::Users { .. } => {
                let users = self.objects.hosts[&start.host].user_ports[0].prefix;
                users.address()
            }
            ChainEnd::Workload { name } => service_address(network(), TENANT, name.name()),
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

    /// Mends what is cut off, lets everything be seen and applied, and expects every chain that can work to work.
    pub fn settle(&mut self, seed: u64) {
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
        for start in self.starts() {
            let works = self.works(&start);
            let state = hops(&self.view, &start.chain);
            assert!(
                state.is_available() && works.is_ok(),
                "seed {seed}: {start:?} {works:?} {state:?}"
            );
        }
    }
}
