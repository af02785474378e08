//! The simulated world of the toys: things that take a while to start and to stop, and then hint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use futures::stream::{BoxStream, StreamExt, unfold};
use runtime::laws::{Effect, Faults, Tripped, World};
use runtime::{Kind, ObjectRef, Plan, Wait};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

/// How long a thing takes to start, and to stop.
const DELAY: Duration = Duration::from_secs(3);

/// A clone is the same world.
#[derive(Clone)]
pub struct Things(Arc<Inner>);

struct Inner {
    faults: Faults,
    things: Mutex<BTreeMap<Id, Stored>>,
    hints: broadcast::Sender<ObjectRef>,
}

/// The uid of the object, and what it is for it.
type Id = (String, &'static str);

#[derive(Clone, Copy)]
struct Stored {
    size: u32,
    stopping: bool,
    done: Instant,
}

#[derive(Debug, PartialEq)]
pub struct Thing {
    pub size: u32,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Starting,
    Running,
    Stopping,
}

#[derive(Debug, PartialEq)]
pub enum Step {
    Ensure(u32),
    Remove,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ensure(size) => write!(f, "+ thing of size {size}"),
            Self::Remove => f.write_str("- thing"),
        }
    }
}

/// What every reconciler of things does once the thing may run.
pub fn plan(wanted: Option<u32>, thing: &Option<Thing>) -> Plan<Step> {
    let wait = |why: &str| Plan {
        waits: vec![Wait::World(why.into())],
        ..Plan::default()
    };
    let step = |step| Plan {
        steps: vec![step],
        ..Plan::default()
    };
    match (wanted, thing) {
        (
            _,
            Some(Thing {
                state: State::Stopping,
                ..
            }),
        ) => wait("the thing is stopping"),
        (None, None) => Plan::default(),
        (None, Some(_)) => step(Step::Remove),
        (Some(size), Some(thing)) if thing.size == size => match thing.state {
            State::Running => Plan::default(),
            _ => wait("the thing is starting"),
        },
        (Some(size), _) => step(Step::Ensure(size)),
    }
}

/// The word for the status.
pub fn word(thing: &Option<Thing>) -> Option<String> {
    thing
        .as_ref()
        .map(|thing| format!("{:?}", thing.state).to_lowercase())
}

impl Things {
    pub fn new() -> Self {
        let hints = broadcast::channel(64).0;
        Self(Arc::new(Inner {
            faults: Faults::default(),
            things: Mutex::default(),
            hints,
        }))
    }

    pub async fn find(&self, object: &impl Kind, role: &'static str) -> Result<Option<Thing>> {
        let id = id(object, role);
        let what = format!("find {role} {}", id.0);
        let thing = self
            .call(what, Effect::Read, |things| things.get(&id).copied())
            .await?;
        Ok(thing.filter(|thing| !thing.gone()).map(|thing| Thing {
            size: thing.size,
            state: match (thing.stopping, thing.done <= Instant::now()) {
                (true, _) => State::Stopping,
                (_, true) => State::Running,
                _ => State::Starting,
            },
        }))
    }

    pub async fn apply(&self, object: &impl Kind, role: &'static str, step: &Step) -> Result<()> {
        let (id, name) = (id(object, role), ObjectRef::of(object));
        let done = Instant::now() + DELAY;
        let stored = match *step {
            Step::Ensure(size) => Stored {
                size,
                stopping: false,
                done,
            },
            Step::Remove => Stored {
                size: 0,
                stopping: true,
                done,
            },
        };
        let what = format!("{step} {role} {}", id.0);
        self.call(what, Effect::Write, |things| things.insert(id, stored))
            .await?;
        let inner = self.0.clone();
        tokio::spawn(async move {
            sleep(DELAY).await;
            // A hint is a call like others: it may be lost.
            let send = async { inner.hints.send(name.clone()) };
            let _ = inner
                .faults
                .call(format!("hint {name}"), Effect::Read, send)
                .await;
        });
        Ok(())
    }

    pub fn hints(&self) -> BoxStream<'static, ObjectRef> {
        unfold(self.0.hints.subscribe(), async |mut hints| {
            loop {
                match hints.recv().await {
                    Ok(name) => return Some((name, hints)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    async fn call<T>(
        &self,
        what: String,
        effect: Effect,
        act: impl FnOnce(&mut BTreeMap<Id, Stored>) -> T,
    ) -> Result<T> {
        let act = async { act(&mut self.0.things.lock().unwrap()) };
        let done = self.0.faults.call(&what, effect, act).await;
        done.map_err(|Tripped| Error::new(ErrorKind::Unavailable, format!("cannot {what}")))
    }
}

impl World for Things {
    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn left(&self) -> Vec<String> {
        let things = self.0.things.lock().unwrap();
        things
            .iter()
            .filter(|(_, thing)| !thing.gone())
            .map(|((uid, _), _)| uid.clone())
            .collect()
    }
}

impl Stored {
    fn gone(&self) -> bool {
        self.stopping && self.done <= Instant::now()
    }
}

fn id(object: &impl Kind, role: &'static str) -> Id {
    (object.meta().uid.clone().unwrap(), role)
}
