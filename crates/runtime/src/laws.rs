//! The laws that every set of reconcilers must keep, proved by one call per set.
//!
//! A life: create, settle, stay quiet, edit, settle, stay quiet, delete, be gone.
//! 1. It settles, without a panic or a shown conflict, and what it called settled stays so.
//! 2. Once settled it writes nothing, to the API or to the world, for longer than a resync.
//! 3. Deleting leaves nothing in either, and nothing goes before what it owns.
//! 4. All that holds with a fault at each call to the API and to the world in turn (see [`Mode`]).
//!
//! Lives run in paused time and repeat exactly, or law 4 would prove nothing: this is asserted too. A block writes:
//!
//! ```text
//! #[tokio::test(start_paused = true)]
//! async fn instances_keep_the_laws() {
//!     let build = |runtime: Runtime, world: &Sim| runtime.add(InstanceReconciler::new(world.clone()));
//!     let case = Case::new(api::crds(), Sim::new, build);
//!     laws(&Case { objects: vec![instance("1")], edits: vec![instance("2")], ..case }).await;
//! }
//! ```
//!
//! `cargo test` tries a seeded sample of the faults (`GROMA_SEED`), `GROMA_LAWS=all cargo test` tries all. With a kubeconfig
//! in `GROMA_LAWS_ON`, each case lives one life on that cluster instead, in real time and with several faults in it.

mod body;
mod check;
mod cluster;
mod ground;
mod life;
mod sample;
mod service;
mod users;
mod watches;

use std::time::Duration;

pub use adapter::faults::{Effect, Faults, Mode, Tripped, World};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::object::Kind;
use crate::run::Runtime;
pub(crate) use check::Watcher;
use life::{Calls, Fault, Side};
pub use sample::Sample;

/// How many faults `cargo test` tries of each case.
const FAULTS_TRIED: usize = 40;

/// A set of reconcilers, the world they act on, and what a user does with them.
pub struct Case<W> {
    /// The kinds that the API serves.
    pub crds: Vec<CustomResourceDefinition>,
    /// A new world.
    pub world: fn() -> W,
    /// The processes of the set; each has its own loop and is killed apart from the others.
    pub processes: Vec<Process<W>>,
    /// Objects that are there before and stay, with their status if they have one.
    pub fixtures: Vec<Value>,
    /// What a user applies, in this order, and deletes at the end.
    pub objects: Vec<Value>,
    /// What a user changes once all is settled: merge patches that name their object.
    pub edits: Vec<Value>,
    /// Kinds whose status goes on changing while they are ready, because it shows what others do.
    pub lively: &'static [&'static str],
    /// Kinds that stay when everything else is gone, because they tell of what was.
    pub lasting: &'static [&'static str],
    /// How far the watch of a plural lags behind.
    pub lag: fn(&str) -> Duration,
    /// How many of the faults are tried; `GROMA_LAWS=all` tries all.
    pub sample: Sample,
}

/// One process: its name in traces, and the reconcilers that it adds to its loop.
pub struct Process<W> {
    /// A word such as `agent`.
    pub name: &'static str,
    /// Adds the reconcilers.
    pub build: fn(Runtime, &W) -> Runtime,
}

impl<W: World> Case<W> {
    /// A case of one process without objects.
    pub fn new(
        crds: Vec<CustomResourceDefinition>,
        world: fn() -> W,
        build: fn(Runtime, &W) -> Runtime,
    ) -> Self {
        Self {
            crds,
            world,
            processes: vec![Process {
                name: "control",
                build,
            }],
            fixtures: Vec::new(),
            objects: Vec::new(),
            edits: Vec::new(),
            lively: &[],
            lasting: &[],
            lag: |plural| Duration::from_millis(if plural.len() % 2 == 0 { 80 } else { 50 }),
            sample: Sample::Seeded(FAULTS_TRIED),
        }
    }
}

/// An object as a user applies it.
pub fn applied(object: &impl Kind) -> Value {
    serde_json::to_value(object).expect("a derived kind always serialises")
}

/// What was tried.
#[derive(Debug, Default)]
pub struct Proof {
    /// Calls to the API and to the world in a life without faults: each is a place for a fault.
    pub n_calls: [usize; 2],
    /// Lives lived.
    pub n_lives: usize,
    /// Passes in all lives.
    pub n_passes: usize,
    /// Conflicts in all lives.
    pub n_conflicts: usize,
}

/// Proves the laws for a case, or panics with the law that is broken, the fault at which, and the seed.
pub async fn laws<W: World>(case: &Case<W>) -> Proof {
    if let Some(kubeconfig) = sample::cluster() {
        return cluster::live(case, &kubeconfig)
            .await
            .unwrap_or_else(|broken| panic!("{broken}"));
    }
    let mut proof = Proof::default();
    let calls = life::live(case, None, &mut proof)
        .await
        .unwrap_or_else(|broken| panic!("{broken}"));
    let again = life::live(case, None, &mut proof)
        .await
        .unwrap_or_else(|broken| panic!("{broken}"));
    assert_same(&calls, &again);
    proof.n_calls = calls.each_ref().map(Vec::len);
    let (seed, faults) = sample::pick(case.sample, &faults(&calls));
    println!(
        "laws: {} faults of {:?} calls, GROMA_SEED={seed}",
        faults.len(),
        proof.n_calls
    );
    for fault in faults {
        if let Err(broken) = life::live(case, Some(fault.clone()), &mut proof).await {
            panic!("law 4: {fault} (GROMA_SEED={seed}): {broken}");
        }
    }
    println!("laws: {proof:?}");
    proof
}

fn faults(calls: &Calls) -> Vec<Fault> {
    let sides = [Side::Api, Side::World].into_iter().zip(calls);
    let places = sides.flat_map(|(side, calls)| {
        calls
            .iter()
            .enumerate()
            .map(move |(at, call)| (side, at, call))
    });
    places
        .flat_map(|(side, at, call)| {
            Mode::ALL.map(|mode| Fault {
                side,
                at,
                mode,
                call: call.clone(),
            })
        })
        .collect()
}

fn assert_same(calls: &Calls, again: &Calls) {
    for (first, second) in calls.iter().zip(again) {
        let differs = first
            .iter()
            .zip(second)
            .position(|(one, other)| one != other);
        let at = differs.unwrap_or(first.len().min(second.len()));
        assert!(
            first == second,
            "law 4 cannot be proved: two equal lives differ at call {at}: {:?} and {:?}",
            first.get(at),
            second.get(at)
        );
    }
}
