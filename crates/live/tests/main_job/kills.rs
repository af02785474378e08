//! Everything that runs is killed at moments of chance, again and again: it always converges, doubles nothing and leaves
//! nothing.

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use linux::process::Process;
use live::lab::{Role, wait};
use rustix::process::Signal;

use crate::random::Random;
use crate::shop::Shop;

/// Rounds of a standard run; `GROMA_KILLS` gives another number.
const ROUNDS: usize = 25;
/// The longest time between the beginning of what happens and the kill.
const DELAY_MAX_MILLIS: usize = 1500;
/// The components of the service, each with one replica.
const COMPONENTS: usize = 3;
/// The sites that the application can run at.
const SITES: [&str; 2] = ["east", "west"];
const VICTIMS: [Victim; 4] = [Victim::Server, Victim::Agent, Victim::Shim, Victim::Daemon];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Server,
    Agent,
    Shim,
    Daemon,
}

/// What goes on while something is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Apply,
    Steady,
    Stop(&'static str),
    Start(&'static str),
    Delete,
}

#[test]
fn kill_loop() {
    let Some(shop) = Shop::closed() else { return };
    let rounds = env::var("GROMA_KILLS").ok().map_or(ROUNDS, |rounds| {
        rounds.parse().expect("GROMA_KILLS is a number of rounds")
    });
    let mut random = Random::seeded();
    let mut world = World {
        shop,
        open: false,
        stopped: None,
    };
    let mut kills: BTreeMap<Victim, usize> = BTreeMap::new();
    for n in 0..rounds {
        let begun = Instant::now();
        let (moment, victim) = (world.moment(&mut random), *random.one(&VICTIMS));
        let delay = Duration::from_millis(random.below(DELAY_MAX_MILLIS) as u64);
        println!("round {n}: kill {victim:?} {delay:?} after the beginning of {moment:?}");
        if world.round(moment, victim, delay, &mut random) {
            *kills.entry(victim).or_default() += 1;
        }
        println!(
            "round {n}: converged {:.2?} after its beginning",
            begun.elapsed()
        );
    }
    println!("{rounds} rounds, kills: {kills:?}");
    let left = world
        .shop
        .laboratory
        .down()
        .map(|()| world.shop.laboratory.remains());
    assert_eq!(left, Ok(Vec::new()), "`lab down` leaves nothing");
}

/// What is there and what is wanted.
struct World {
    shop: Shop,
    /// Whether the service is wanted.
    open: bool,
    /// The site that is without power.
    stopped: Option<&'static str>,
}

impl World {
    /// Something that can happen now.
    fn moment(&self, random: &mut Random) -> Moment {
        let mut moments = Vec::new();
        match self.stopped {
            Some(site) => moments.push(Moment::Start(site)),
            None if self.open => moments.extend(SITES.map(Moment::Stop)),
            None => {}
        }
        if self.open {
            moments.extend([Moment::Steady, Moment::Delete]);
        } else {
            moments.push(Moment::Apply);
        }
        *random.one(&moments)
    }

    /// Lets it happen, kills meanwhile, and waits until all is well. Says whether there was somebody to kill.
    fn round(
        &mut self,
        moment: Moment,
        victim: Victim,
        delay: Duration,
        random: &mut Random,
    ) -> bool {
        let killed = thread::scope(|scope| {
            let happening = scope.spawn(|| self.try_once(moment));
            thread::sleep(delay);
            let killed = self.kill(victim, random);
            // It may fail: what it needs was killed.
            let _ = happening.join().expect("trying does not panic");
            killed
        });
        if victim == Victim::Daemon {
            self.shop.laboratory.build();
        }
        self.make_happen(moment);
        self.converge();
        killed
    }

    /// What a user types, once.
    fn try_once(&self, moment: Moment) -> Result<String, String> {
        let laboratory = &self.shop.laboratory;
        match moment {
            Moment::Apply => self.shop.apply_once(),
            Moment::Steady => Ok(String::new()),
            Moment::Stop(site) => laboratory.lab(&["stop", site]),
            Moment::Start(site) => laboratory.lab(&["start", site]),
            Moment::Delete => laboratory.client(&["delete", "service", "shop", "--no-wait"]),
        }
    }

    /// What a user types again when it failed.
    fn make_happen(&mut self, moment: Moment) {
        match moment {
            Moment::Steady => {}
            Moment::Delete => self.shop.close(),
            Moment::Apply | Moment::Stop(_) | Moment::Start(_) => {
                wait("a command to be done", || self.try_once(moment));
            }
        }
        match moment {
            Moment::Apply => self.open = true,
            Moment::Delete => self.open = false,
            Moment::Stop(site) => self.stopped = Some(site),
            Moment::Start(_) => self.stopped = None,
            Moment::Steady => {}
        }
    }

    fn converge(&mut self) {
        wait("every program to run once", || self.programs());
        if self.open {
            self.shop.serving();
            if self.stopped.is_none() {
                wait("one instance for each component", || self.instances());
            }
            return;
        }
        // What was at a site without power goes when that returns.
        if let Some(site) = self.stopped.take() {
            self.make_happen(Moment::Start(site));
        }
        self.shop.empty();
    }

    /// Whether there is one daemon, one server, and one agent on each host that has power.
    fn programs(&self) -> Result<(), String> {
        let laboratory = &self.shop.laboratory;
        let processes = laboratory.processes();
        let mut roles: Vec<Role> = processes.into_iter().map(|(role, _)| role).collect();
        roles.retain(|role| *role != Role::Shim);
        roles.sort();
        let has_power = |host: &&String| !self.stopped.is_some_and(|site| host.starts_with(site));
        let hosts = laboratory.hosts().iter().filter(has_power);
        let mut wanted = vec![Role::Daemon, Role::Server];
        wanted.extend(hosts.map(|host| Role::Agent(host.clone())));
        wanted.sort();
        if roles == wanted {
            Ok(())
        } else {
            Err(format!("{wanted:?} is wanted, there is {roles:?}"))
        }
    }

    /// Whether no instance is left at a place that its component has moved away from.
    fn instances(&self) -> Result<(), String> {
        let instances = self.shop.laboratory.list("instance")?;
        if instances.len() == COMPONENTS {
            Ok(())
        } else {
            let names = instances
                .iter()
                .map(|one| one["metadata"]["name"].to_string());
            Err(names.collect::<Vec<_>>().join(", "))
        }
    }

    /// Kills one of that kind, if there is one.
    fn kill(&self, victim: Victim, random: &mut Random) -> bool {
        let is_victim = |role: &Role| match victim {
            Victim::Server => *role == Role::Server,
            Victim::Agent => matches!(role, Role::Agent(_)),
            Victim::Shim => *role == Role::Shim,
            Victim::Daemon => *role == Role::Daemon,
        };
        let processes = self.shop.laboratory.processes();
        let mut candidates: Vec<(Role, Process)> = processes
            .into_iter()
            .filter(|(role, _)| is_victim(role))
            .collect();
        candidates.sort_by_key(|(_, process)| process.pid());
        if candidates.is_empty() {
            return false;
        }
        let (role, process) = random.one(&candidates);
        println!("  killing {role:?} {}", process.pid());
        process
            .signal(Signal::KILL)
            .expect("a process can be killed");
        true
    }
}
