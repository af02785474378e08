//! Toys broken on purpose: each is caught, by the law that says so.

use std::time::Duration;

use api::{Conditions, Result};
use futures::stream::{BoxStream, StreamExt, unfold};
use jiff::Timestamp;
use runtime::laws::{Case, Sample, laws};
use runtime::{Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Role, Runtime, deleting};
use serde::Serialize;
use tokio::time::sleep;

use crate::child::ChildReconciler;
use crate::kinds::{Child, Parent, ParentStatus, crds};
use crate::parent::{ParentReconciler, ready_children, wanted};
use crate::sound::parent;
use crate::things::{State, Step, Thing, Things, plan, word};

/// What is wrong with a reconciler of children.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    /// Takes a thing that is stopping for one that is gone.
    LeavesEarly,
    /// Takes a thing that is starting for one that runs.
    SettlesEarly,
    /// Puts the time into the status.
    ShowsTheTime,
    /// Hints every second that something changed.
    Hints,
    /// Does not plan for what it made already.
    Panics,
}

struct Flawed(Flaw, Things);

#[derive(Serialize)]
struct Status {
    thing: Option<String>,
    seal: Option<String>,
}

impl Reconciler for Flawed {
    type Object = Child;
    type Observed = (Timestamp, Option<Thing>);
    type Step = Step;
    type Status = Status;

    async fn observe(&self, ctx: &Ctx, child: &Child) -> Result<Self::Observed> {
        Ok((ctx.now(), self.1.find(child, "body").await?))
    }

    fn plan(&self, child: &Child, (_, thing): &Self::Observed) -> Plan<Step> {
        let state = thing.as_ref().map(|thing| thing.state);
        match (self.0, state) {
            (Flaw::LeavesEarly, Some(State::Stopping)) => Plan::default(),
            (Flaw::SettlesEarly, Some(State::Starting)) => Plan::default(),
            (Flaw::Panics, Some(State::Running)) => panic!("a running thing was not expected"),
            _ => plan((!deleting(child)).then_some(child.spec.size), thing),
        }
    }

    async fn act(&self, _: &Ctx, child: &Child, step: &Step) -> Result<()> {
        self.1.apply(child, "body", step).await
    }

    fn report(&self, _: &Child, (now, thing): &Self::Observed) -> Report<Status> {
        let seal = (self.0 == Flaw::ShowsTheTime).then(|| now.to_string());
        Status {
            thing: word(thing),
            seal,
        }
        .into()
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        match self.0 {
            Flaw::Hints => unfold(ctx.clone(), async |ctx| {
                sleep(Duration::from_secs(1)).await;
                let children = ctx.list::<Child>(None).unwrap();
                let first = children.first().map(|child| ObjectRef::of(&**child));
                Some((
                    first.unwrap_or_else(|| ObjectRef::new::<Child>(None, "none")),
                    ctx,
                ))
            })
            .boxed(),
            _ => self.1.hints(),
        }
    }
}

async fn prove(build: fn(Runtime, &Things) -> Runtime) {
    let case = Case::new(crds(), Things::new, build);
    let (objects, edits) = (vec![parent(2, 1)], vec![parent(1, 2)]);
    laws(&Case {
        objects,
        edits,
        sample: Sample::Seeded(20),
        ..case
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 3: gone before what they own")]
async fn leaving_before_the_thing_is_gone_is_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(Flawed(Flaw::LeavesEarly, things.clone()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 2: settled, yet it writes")]
async fn not_waiting_for_the_world_is_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(Flawed(Flaw::SettlesEarly, things.clone()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 2: settled, yet it writes")]
async fn writing_when_settled_is_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(Flawed(Flaw::ShowsTheTime, things.clone()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "were looked at")]
async fn hints_without_a_change_are_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(Flawed(Flaw::Hints, things.clone()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 1: does not settle")]
async fn a_panic_is_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(Flawed(Flaw::Panics, things.clone()))
    })
    .await;
}

/// A parent that does not wait for its children.
struct Hasty;

impl Reconciler for Hasty {
    type Object = Parent;
    type Observed = Vec<String>;
    type Step = Never;
    type Status = ParentStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Child>();
    }

    async fn observe(&self, ctx: &Ctx, parent: &Parent) -> Result<Vec<String>> {
        ready_children(ctx, parent)
    }

    fn plan(&self, parent: &Parent, _: &Vec<String>) -> Plan<Never> {
        let children = (0..parent.spec.replicas).map(|i| wanted(parent, i, parent.spec.size));
        Plan {
            children: children.collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, _: &Parent, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Parent, ready: &Vec<String>) -> Report<ParentStatus> {
        ParentStatus {
            ready: ready.len() as u32,
            conditions: Conditions::default(),
        }
        .into()
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 1: Parent p was settled too early")]
async fn a_parent_that_forgets_to_wait_is_caught() {
    prove(|runtime, things| runtime.add(Hasty).add(ChildReconciler(things.clone()))).await;
}

#[derive(Serialize)]
struct Nothing {}

/// A guest that puts something into the world and never takes it away.
struct Careless(Things);

impl Reconciler for Careless {
    type Object = Child;
    type Observed = Option<Thing>;
    type Step = Step;
    type Status = Nothing;

    fn role() -> Role {
        Role::Guest {
            condition: "Sealed",
            finalizer: None,
        }
    }

    async fn observe(&self, _: &Ctx, child: &Child) -> Result<Option<Thing>> {
        self.0.find(child, "seal").await
    }

    fn plan(&self, child: &Child, thing: &Option<Thing>) -> Plan<Step> {
        if deleting(child) {
            Plan::default()
        } else {
            plan(Some(1), thing)
        }
    }

    async fn act(&self, _: &Ctx, child: &Child, step: &Step) -> Result<()> {
        self.0.apply(child, "seal", step).await
    }

    fn report(&self, _: &Child, _: &Option<Thing>) -> Report<Nothing> {
        Nothing {}.into()
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "law 3")]
async fn a_guest_that_leaves_something_behind_is_caught() {
    prove(|runtime, things| {
        runtime
            .add(ParentReconciler)
            .add(ChildReconciler(things.clone()))
            .add(Careless(things.clone()))
    })
    .await;
}
