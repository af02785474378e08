//! One life of a case on a real cluster, in real time, with a seeded sample of faults in it.
//!
//! The same reconcilers, the same users: create, settle, stay quiet, edit, settle, delete, be gone. Calls are refused or
//! done without an answer, processes are killed and started anew, another writer touches every object, with the watches
//! open or all closed at that moment, and watches end and find their past forgotten, one fault after the other. All
//! watches lag, so that writes meet the real server's 409. What needs the whole history of the server (who went before
//! whom, what was said too early), or ends the life early, is left to the lives in memory; two lives here are never the
//! same.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter::faults::{Faults, Mode, Tripped, World};
use futures::future::{FutureExt, join_all};
use http::{Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, TypeMeta};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, resume, sleep};
use tower::service_fn;

use super::check::{Watcher, last, not_ready};
use super::ground::{label, text};
use super::service::{Call, no_answer};
use super::users::{Users, keeps_touch};
use super::watches::{Passed, Watches};
use super::{Case, Proof, sample};
use crate::clock::Clock;
use crate::run::Runtime;
use crate::stats::{Counter, Stats};
use crate::task::{Task, spawn};

/// How long it may take to settle or to be gone: a hint that was lost costs a minute.
const SETTLE_MAX: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(100);
/// All is settled or gone once nothing happened for so many steps.
const CALM_STEPS: u32 = 10;
/// How long nothing may be written once all is settled.
const QUIET: Duration = Duration::from_secs(2);
/// So many calls at most lie between two faults.
const GAP_MAX: usize = 12;
/// So many faults of either side are in a life.
const FAULTS_MAX: usize = 8;
/// What can go wrong on either side.
const API_MODES: [Mode; 5] = [
    Mode::Refused,
    Mode::Lost,
    Mode::Killed,
    Mode::Compacted,
    Mode::Touched,
];
const WORLD_MODES: [Mode; 3] = [Mode::Refused, Mode::Lost, Mode::Killed];

struct Life<'a, W> {
    case: &'a Case<W>,
    users: Users,
    world: W,
    faults: Arc<Faults>,
    sides: [Side; 2],
    running: Vec<Task<()>>,
    stats: Vec<Arc<Stats>>,
    watchers: Vec<Watcher>,
    watches: Watches,
    /// The uids of what another writer touched.
    touched: Arc<Mutex<BTreeSet<String>>>,
}

/// The faults of one side: of the API, or of the world.
struct Side {
    state: u64,
    modes: &'static [Mode],
    armed: Option<(usize, Mode)>,
    n_tripped: usize,
}

/// Lives one life on the cluster of a kubeconfig and says which law it broke.
pub(super) async fn live<W: World>(case: &Case<W>, kubeconfig: &Path) -> Result<Proof, String> {
    resume();
    let client = connect(kubeconfig).await;
    prepare(&client, &case.crds).await;
    let seed = sample::seed();
    println!("laws: one life in real time, GROMA_SEED={seed}");
    let mut life = Life::begin(case, Users::new(client, &case.crds), seed).await;
    let lived = life.run().await;
    life.running.clear();
    life.clear().await;
    let n_faults = life.sides.each_ref().map(|side| side.n_tripped);
    lived.map_err(|broken| format!("{broken} ({n_faults:?} faults, GROMA_SEED={seed})"))?;
    let proof = Proof {
        n_calls: [life.faults.trace().len(), life.world.faults().trace().len()],
        n_lives: 1,
        n_passes: life.sum(|stats| &stats.n_passes),
        n_conflicts: life.sum(|stats| &stats.n_conflicts),
    };
    let n_told = life.watches.n_told();
    println!("laws: {n_faults:?} faults, {n_told} watches listed again, {proof:?}");
    Ok(proof)
}

async fn connect(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("GROMA_LAWS_ON names a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("it is complete")).expect("it can be used")
}

/// Has the cluster serve the kinds of a case.
async fn prepare(client: &Client, crds: &[CustomResourceDefinition]) {
    let how = PatchParams::apply("laws").force();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api::SYSTEM_NAMESPACE}});
    let namespace = Patch::Apply(namespace);
    let made = namespaces
        .patch(api::SYSTEM_NAMESPACE, &how, &namespace)
        .await;
    made.expect("a namespace can be made");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let (name, definition) = (crd.name_any(), Patch::Apply(crd));
        let done = definitions.patch(&name, &how, &definition).await;
        done.expect("the server takes our definitions");
    }
    let is_served = |crd: &CustomResourceDefinition| {
        let status = crd.status.as_ref();
        let mut conditions = status
            .into_iter()
            .flat_map(|it| it.conditions.iter().flatten());
        conditions.any(|it| it.type_ == "Established" && it.status == "True")
    };
    for crd in crds {
        let served = async || {
            definitions
                .get(&crd.name_any())
                .await
                .is_ok_and(|it| is_served(&it))
        };
        while !served().await {
            sleep(STEP).await;
        }
    }
}

impl<'a, W: World> Life<'a, W> {
    async fn begin(case: &'a Case<W>, users: Users, seed: u64) -> Self {
        let side = |state, modes| Side {
            state,
            modes,
            armed: None,
            n_tripped: 0,
        };
        let mut life = Self {
            case,
            users,
            world: (case.world)(),
            faults: Arc::default(),
            sides: [side(seed, &API_MODES[..]), side(!seed, &WORLD_MODES[..])],
            running: Vec::new(),
            stats: Vec::new(),
            watchers: Vec::new(),
            watches: Watches::default(),
            touched: Arc::default(),
        };
        life.clear().await;
        for fixture in &case.fixtures {
            life.users.apply(fixture).await;
        }
        for process in 0..case.processes.len() {
            let task = life.start(process);
            life.running.push(task);
        }
        life
    }

    async fn run(&mut self) -> Result<(), String> {
        for object in &self.case.objects {
            self.users.apply(object).await;
        }
        self.settle().await?;
        self.quiet().await?;
        for edit in &self.case.edits {
            self.users.apply(edit).await;
        }
        self.settle().await?;
        for object in &self.case.objects {
            self.users.delete(object).await;
        }
        self.gone().await?;
        let stubborn = self.watches.stubborn(&self.faults.trace());
        if !stubborn.is_empty() {
            return Err(format!(
                "law 4: the past of {stubborn:?} is forgotten, yet they do not list again"
            ));
        }
        match self.sum(|stats| &stats.n_panics) {
            0 => Ok(()),
            _ => Err("law 1: a pass panicked".into()),
        }
    }

    fn start(&mut self, process: usize) -> Task<()> {
        let process = &self.case.processes[process];
        let way = Way {
            process: process.name,
            cluster: self.users.client.clone(),
            faults: self.faults.clone(),
            watches: self.watches.clone(),
            lag: self.case.lag,
        };
        let client = way.client();
        let runtime = (process.build)(Runtime::new(client, Clock::system()), &self.world);
        self.stats.push(runtime.stats());
        for watcher in runtime.conditions() {
            if !self.watchers.contains(&watcher) {
                self.watchers.push(watcher);
            }
        }
        spawn(runtime.run(pending()))
    }

    fn sum(&self, count: fn(&Stats) -> &Counter) -> usize {
        self.stats.iter().map(|stats| count(stats).get()).sum()
    }

    fn n_writes(&self) -> usize {
        self.faults.n_writes() + self.world.faults().n_writes()
    }

    fn last_calls(&self) -> String {
        let (api, world) = (self.faults.trace(), self.world.faults().trace());
        format!("last calls: {:#?} {:#?}", last(&api), last(&world))
    }

    /// Lets time pass; killed processes are started anew, and the next fault is laid.
    async fn step(&mut self) {
        for n in 0..self.sides.len() {
            let trace = match n {
                0 => self.faults.trace(),
                _ => self.world.faults().trace(),
            };
            if let Some(mode) = self.sides[n].tripped(trace.len()) {
                if mode == Mode::Killed {
                    let call = trace[self.sides[n].at()].clone();
                    self.restart(n, &call);
                }
                self.sides[n].armed = None;
            }
            if let Some((at, mode)) = self.sides[n].next(trace.len()) {
                self.arm(n, at, mode);
            }
        }
        sleep(STEP).await;
    }

    fn arm(&mut self, side: usize, at: usize, mode: Mode) {
        let (users, touched) = (self.users.clone(), self.touched.clone());
        let watches = self.watches.clone();
        // Half of the times nobody hears of the other writer before he looks again.
        let unheard = sample::below(&mut self.sides[side].state, 2) == 0;
        let hook = move || {
            async move {
                match mode {
                    Mode::Compacted => watches.forget(),
                    Mode::Touched => {
                        if unheard {
                            watches.close();
                        }
                        touch(&users, &touched).await;
                    }
                    Mode::Refused | Mode::Lost | Mode::Killed | Mode::Deleted => {}
                }
            }
            .boxed()
        };
        match side {
            0 => self.faults.arm(at, mode, hook),
            _ => self.world.faults().arm(at, mode, hook),
        }
    }

    /// A call to the API kills the process that made it, one to the world kills all: they share a host.
    fn restart(&mut self, side: usize, call: &str) {
        for process in 0..self.running.len() {
            let name = self.case.processes[process].name;
            if side == 1 || call.split(' ').next() == Some(name) {
                self.running[process] = self.start(process);
            }
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let end = Instant::now() + SETTLE_MAX;
        let (mut n_calm, mut before) = (0, 0);
        while n_calm < CALM_STEPS {
            self.step().await;
            let unready = not_ready(&objects(&self.users).await, &self.watchers);
            let calm = before == self.n_writes() && unready.is_empty();
            n_calm = if calm { n_calm + 1 } else { 0 };
            before = self.n_writes();
            if Instant::now() > end {
                let calls = self.last_calls();
                return Err(format!("law 1: does not settle: {unready:#?}\n{calls}"));
            }
        }
        let touched = self
            .touched
            .lock()
            .expect("nothing panics under it")
            .clone();
        let objects = objects(&self.users).await.into_iter();
        let touched = objects.filter(|it| touched.contains(text(it, "/metadata/uid")));
        let trampled: Vec<_> = touched
            .filter(|it| !keeps_touch(it))
            .map(|it| label(&it))
            .collect();
        match trampled.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "law 4: the work of another writer was lost in {trampled:?}"
            )),
        }
    }

    async fn quiet(&mut self) -> Result<(), String> {
        let before = self.n_writes();
        sleep(QUIET).await;
        match self.n_writes() == before {
            true => Ok(()),
            false => Err(format!(
                "law 2: settled, yet it writes; {}",
                self.last_calls()
            )),
        }
    }

    async fn gone(&mut self) -> Result<(), String> {
        let end = Instant::now() + SETTLE_MAX;
        let mut n_gone = 0;
        while n_gone < CALM_STEPS {
            self.step().await;
            let (objects, things) = (self.left().await, self.world.left());
            let gone = objects.is_empty() && things.is_empty();
            n_gone = if gone { n_gone + 1 } else { 0 };
            if Instant::now() > end {
                let calls = self.last_calls();
                return Err(format!(
                    "law 3: deleting leaves {objects:#?} {things:#?}\n{calls}"
                ));
            }
        }
        Ok(())
    }

    /// The objects that are there, without the fixtures and what is to last.
    async fn left(&self) -> Vec<String> {
        let fixtures: BTreeSet<String> = self.case.fixtures.iter().map(label).collect();
        let mut objects = objects(&self.users).await;
        objects.retain(|object| !self.case.lasting.contains(&text(object, "/kind")));
        let left = objects.iter().map(label);
        left.filter(|label| !fixtures.contains(label)).collect()
    }

    /// Takes all objects away, whoever holds them: the next life finds none.
    async fn clear(&self) {
        loop {
            let objects = objects(&self.users).await;
            if objects.is_empty() {
                return;
            }
            for object in &objects {
                let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                let name = text(object, "/metadata/name");
                // It may be gone already.
                let api = self.users.api(object);
                let _ = api.patch(name, &PatchParams::default(), &free).await;
                self.users.delete(object).await;
            }
        }
    }
}

impl Side {
    fn at(&self) -> usize {
        self.armed.map_or(0, |(at, _)| at)
    }

    /// What went wrong, once the call has been made that was to.
    fn tripped(&mut self, n_calls: usize) -> Option<Mode> {
        let (_, mode) = self.armed.filter(|(at, _)| n_calls > *at)?;
        self.n_tripped += 1;
        Some(mode)
    }

    /// The next fault, if one is to be laid.
    fn next(&mut self, n_calls: usize) -> Option<(usize, Mode)> {
        if self.armed.is_some() || self.n_tripped >= FAULTS_MAX {
            return None;
        }
        let at = n_calls + sample::below(&mut self.state, GAP_MAX);
        let mode = self.modes[sample::below(&mut self.state, self.modes.len())];
        self.armed = Some((at, mode));
        self.armed
    }
}

/// Another writer puts his mark on every object; the uids of those that took it.
async fn touch(users: &Users, touched: &Mutex<BTreeSet<String>>) {
    for object in objects(users).await {
        if users.touch(&object).await {
            let uid = text(&object, "/metadata/uid").to_owned();
            touched.lock().expect("nothing panics under it").insert(uid);
        }
    }
}

/// All objects of the case's kinds; of built-in ones those where cases have theirs.
async fn objects(users: &Users) -> Vec<Value> {
    let lists = users.kinds.values().map(|served| async {
        let api = Api::<kube::api::DynamicObject>::all_with(users.client.clone(), &served.resource);
        let list = api.list(&ListParams::default()).await;
        let mut objects = list.expect("a user may list").items;
        for object in &mut objects {
            object.types = Some(TypeMeta {
                api_version: served.resource.api_version.clone(),
                kind: served.resource.kind.clone(),
            });
        }
        objects
    });
    let ours = |object: &kube::api::DynamicObject| {
        let namespace = object.metadata.namespace.as_deref();
        matches!(namespace, None | Some("default" | api::SYSTEM_NAMESPACE))
    };
    let all = join_all(lists).await.into_iter().flatten().filter(ours);
    all.map(|object| serde_json::to_value(object).expect("an object serialises"))
        .collect()
}

/// How a process under proof reaches the cluster: each request is counted and can fail, and each watch lags.
struct Way {
    process: &'static str,
    cluster: Client,
    faults: Arc<Faults>,
    watches: Watches,
    lag: fn(&str) -> Duration,
}

impl Way {
    fn client(self) -> Client {
        let way = Arc::new(self);
        let service = service_fn(move |request: Request<Body>| {
            let way = way.clone();
            async move { way.answer(request).await }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Passed>, kube::Error> {
        let call = Call::of(&request);
        let what = format!("{} {} {}", self.process, call.method, request.uri().path());
        let act = async {
            let Some(plural) = &call.watched else {
                let answer = self.cluster.send(request).await?;
                return Ok(answer.map(BodyExt::boxed_unsync));
            };
            let request = self.watches.sent(&what, self.faults.n_calls(), request);
            let answer = self.cluster.send(request).await?;
            Ok(self.watches.answered(answer, (self.lag)(plural)))
        };
        match self.faults.call(&what, call.effect, act).await {
            Ok(answer) => answer,
            Err(Tripped) => Ok(no_answer(|text| {
                Body::from(text.into_bytes()).boxed_unsync()
            })),
        }
    }
}
