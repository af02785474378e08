//! One life of a case: create, settle, stay quiet, edit, settle, stay quiet, delete, be gone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use adapter::faults::{Mode, World};
use futures::future::{FutureExt, pending};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::check::{Honesty, Watcher, last, not_ready};
use super::ground::{Ground, text};
use super::{Case, Proof};
use crate::clock::Clock;
use crate::run::Runtime;
use crate::stats::{Counter, Stats};
use crate::task::{Task, spawn};

/// A life may take this long to settle or to be gone, in virtual time.
const SETTLE_MAX: Duration = Duration::from_secs(1800);
/// Longer than the longest resync, so that a forgotten wake-up shows as a late write.
const QUIET: Duration = Duration::from_secs(1500);
const STEP: Duration = Duration::from_millis(250);
const QUIET_STEP: Duration = Duration::from_secs(5);
/// All is settled once nothing was written for so many steps.
const CALM_STEPS: u32 = 8;
/// All is gone once nothing came back for so many steps.
const GONE_STEPS: u32 = 240;
/// What resyncs, a restart and a lost list may cost per object and reconciler while nothing changes.
const PASSES_QUIET_MAX: usize = 8;

/// The calls of a life: to the API, and to the world.
pub(super) type Calls = [Vec<String>; 2];

/// One call that goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub side: Side,
    pub at: usize,
    pub mode: Mode,
    pub call: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Api,
    World,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} call {} ({}) {:?}",
            self.side, self.at, self.call, self.mode
        )
    }
}

struct Life<'a, W> {
    case: &'a Case<W>,
    ground: Ground,
    world: W,
    fault: Option<Fault>,
    clock: Clock,
    /// One per process of the case.
    running: Vec<Task<()>>,
    killed: bool,
    /// Of each process that ever ran.
    stats: Vec<Arc<Stats>>,
    /// The reconcilers of all processes, by what they write.
    watchers: Vec<Watcher>,
    honesty: Honesty,
}

/// Lives one life and says which law it broke.
pub(super) async fn live<W: World>(
    case: &Case<W>,
    fault: Option<Fault>,
    proof: &mut Proof,
) -> Result<Calls, String> {
    let mut life = Life::begin(case, fault).await;
    life.write(&case.objects).await;
    life.settle().await?;
    life.quiet().await?;
    life.write(&case.edits).await;
    life.settle().await?;
    life.quiet().await?;
    for object in &case.objects {
        life.ground.users.delete(object).await;
    }
    life.gone().await?;
    life.running.clear();
    if life.sum(|stats| &stats.n_panics) > 0 {
        return Err("law 1: a pass panicked".into());
    }
    proof.n_lives += 1;
    proof.n_passes += life.sum(|stats| &stats.n_passes);
    proof.n_conflicts += life.sum(|stats| &stats.n_conflicts);
    Ok([life.ground.faults.trace(), life.world.faults().trace()])
}

impl<'a, W: World> Life<'a, W> {
    async fn begin(case: &'a Case<W>, fault: Option<Fault>) -> Self {
        let world = (case.world)();
        let there = world.clone();
        let ground = Ground::new(&case.crds, move |uid| {
            there.left().iter().any(|left| left == uid)
        });
        let start = Timestamp::from_second(1_767_225_600).expect("the start of 2026 is a time");
        let mut life = Self {
            case,
            ground,
            world,
            fault,
            clock: Clock::starting_at(start),
            running: Vec::new(),
            killed: false,
            stats: Vec::new(),
            watchers: Vec::new(),
            honesty: Honesty::new(case.lively),
        };
        for fixture in &case.fixtures {
            life.ground.users.apply(fixture).await;
        }
        life.arm();
        for process in 0..case.processes.len() {
            let task = life.start(process);
            life.running.push(task);
        }
        life
    }

    fn arm(&self) {
        let Some(Fault { side, at, mode, .. }) = self.fault.clone() else {
            return;
        };
        let (ground, objects) = (self.ground.clone(), self.case.objects.clone());
        let hook = move || disturb(mode, ground, objects).boxed();
        match side {
            Side::Api => self.ground.faults.arm(at, mode, hook),
            Side::World => self.world.faults().arm(at, mode, hook),
        }
    }

    fn start(&mut self, process: usize) -> Task<()> {
        let process = &self.case.processes[process];
        let client = self.ground.client(process.name, self.case.lag);
        let runtime = (process.build)(Runtime::new(client, self.clock), &self.world);
        self.stats.push(runtime.stats());
        for watcher in runtime.conditions() {
            if !self.watchers.contains(&watcher) {
                self.watchers.push(watcher);
            }
        }
        spawn(runtime.run(pending()))
    }

    async fn write(&self, objects: &[Value]) {
        for object in objects {
            // The user who deleted the objects does not write them again.
            if self.tripped(Mode::Deleted).is_none() {
                self.ground.users.apply(object).await;
            }
        }
    }

    /// The call that went wrong in this way, once it has.
    fn tripped(&self, mode: Mode) -> Option<String> {
        self.fault.as_ref().filter(|fault| fault.mode == mode)?;
        self.ground
            .faults
            .tripped()
            .or_else(|| self.world.faults().tripped())
    }

    fn sum(&self, count: fn(&Stats) -> &Counter) -> usize {
        self.stats.iter().map(|stats| count(stats).get()).sum()
    }

    fn n_writes(&self) -> usize {
        self.ground.faults.n_writes() + self.world.faults().n_writes()
    }

    fn last_calls(&self) -> String {
        let (api, world) = (self.ground.faults.trace(), self.world.faults().trace());
        format!("last calls: {:#?} {:#?}", last(&api), last(&world))
    }

    /// Lets time pass; killed processes are started anew.
    async fn step(&mut self, time: Duration) {
        sleep(time).await;
        if !self.killed
            && let Some(call) = self.tripped(Mode::Killed)
        {
            self.killed = true;
            self.restart(&call);
        }
        assert!(
            !self.running.iter().any(Task::is_finished),
            "a process ended"
        );
    }

    /// A call to the API kills the process that made it, one to the world kills all: they share a host.
    fn restart(&mut self, call: &str) {
        let world = self
            .fault
            .as_ref()
            .is_some_and(|fault| fault.side == Side::World);
        for process in 0..self.running.len() {
            let name = self.case.processes[process].name;
            if world || call.split(' ').next() == Some(name) {
                self.running[process] = self.start(process);
            }
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let end = Instant::now() + SETTLE_MAX;
        let (mut n_calm, mut before) = (0, 0);
        while n_calm < CALM_STEPS && self.tripped(Mode::Deleted).is_none() {
            self.step(STEP).await;
            let calm = before == self.n_writes() && self.not_ready().is_empty();
            n_calm = if calm { n_calm + 1 } else { 0 };
            before = self.n_writes();
            if Instant::now() > end {
                let calls = self.last_calls();
                return Err(format!(
                    "law 1: does not settle: {:#?}\n{calls}",
                    self.not_ready()
                ));
            }
        }
        let states = self.ground.history(self.honesty.seen());
        if self.fault.is_none() {
            self.honesty.judge(states, &self.watchers)
        } else {
            Ok(())
        }
    }

    fn not_ready(&self) -> Vec<String> {
        not_ready(&self.ground.objects(), &self.watchers)
    }

    async fn quiet(&mut self) -> Result<(), String> {
        let end = Instant::now() + QUIET;
        let (n_writes, n_passes) = (self.n_writes(), self.sum(|stats| &stats.n_passes));
        while Instant::now() < end && self.tripped(Mode::Deleted).is_none() {
            self.step(QUIET_STEP).await;
        }
        if self.tripped(Mode::Deleted).is_some() {
            return Ok(());
        }
        let trampled = self.ground.trampled();
        if !trampled.is_empty() {
            return Err(format!(
                "law 4: the work of another writer was lost in {trampled:?}"
            ));
        }
        if self.n_writes() != n_writes {
            return Err(format!(
                "law 2: settled, yet it writes; {}",
                self.last_calls()
            ));
        }
        let n_passes = self.sum(|stats| &stats.n_passes) - n_passes;
        let n_looked_after: usize = self
            .ground
            .objects()
            .iter()
            .map(|object| self.n_reconcilers(object))
            .sum();
        match n_passes > PASSES_QUIET_MAX * n_looked_after {
            true => Err(format!(
                "law 2: settled, yet {n_looked_after} objects were looked at {n_passes} times"
            )),
            false => Ok(()),
        }
    }

    fn n_reconcilers(&self, object: &Value) -> usize {
        self.watchers
            .iter()
            .filter(|watcher| watcher.kind.kind == text(object, "/kind"))
            .count()
    }

    async fn gone(&mut self) -> Result<(), String> {
        let end = Instant::now() + SETTLE_MAX;
        let mut n_gone = 0;
        while n_gone < GONE_STEPS {
            self.step(STEP).await;
            let (objects, things) = (self.left(), self.world.left());
            n_gone = if objects.is_empty() && things.is_empty() {
                n_gone + 1
            } else {
                0
            };
            if Instant::now() > end {
                return Err(format!(
                    "law 3: deleting leaves {objects:#?} {things:#?}\n{}",
                    self.last_calls()
                ));
            }
        }
        match self.ground.orphaned() {
            orphaned if orphaned.is_empty() => Ok(()),
            orphaned => Err(format!("law 3: gone before what they own: {orphaned:?}")),
        }
    }

    /// The objects that are there, without the fixtures and what is to last.
    fn left(&self) -> Vec<Value> {
        let name = |object: &Value| {
            ["/kind", "/metadata/name"].map(|field| text(object, field).to_owned())
        };
        let fixtures: Vec<_> = self.case.fixtures.iter().map(name).collect();
        let mut objects = self.ground.objects();
        objects.retain(|object| !fixtures.contains(&name(object)));
        objects.retain(|object| !self.case.lasting.contains(&text(object, "/kind")));
        objects
    }
}

/// What others do just before the call that goes wrong.
async fn disturb(mode: Mode, ground: Ground, objects: Vec<Value>) {
    match mode {
        Mode::Deleted => {
            for object in &objects {
                ground.users.delete(object).await;
            }
        }
        Mode::Compacted => ground.compact(),
        Mode::Touched => ground.touch().await,
        Mode::Refused | Mode::Lost | Mode::Killed => {}
    }
}
