//! One switch for everything that can go wrong at one call to the outside, and what a simulated world must offer.
//!
//! Each call is counted and can be the one that fails, so that a test can go through all of them. The simulated world
//! routes its calls through [`Faults::call`]; the laws of the reconcile harness do the same with calls to the API.

use std::fmt::Display;
use std::future::pending;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;

/// How long a call takes each way, so that calls overlap and a process can die between request and effect.
const LATENCY: Duration = Duration::from_millis(1);

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing happened.
    Refused,
    /// It happened, but the caller is told that it did not.
    Lost,
    /// It happened, and the caller never hears again: its process is then killed and started anew.
    Killed,
    /// Just before this call a user deletes the objects.
    Deleted,
    /// Just before this call the API forgets its history: every watch must list again.
    Compacted,
    /// Just before this call another writer touches every object: no work of others may be lost.
    Touched,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::Refused,
        Self::Lost,
        Self::Killed,
        Self::Deleted,
        Self::Compacted,
        Self::Touched,
    ];
}

/// Whether a call changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only looks.
    Read,
    /// It changes the outside.
    Write,
}

/// A simulated outside world; a clone is the same world.
pub trait World: Clone + Send + Sync + 'static {
    /// The switch that its calls go through.
    fn faults(&self) -> &Faults;
    /// The uids of the objects that still have something in it.
    fn left(&self) -> Vec<String>;
}

/// The calls so far, and the one that is to fail.
#[derive(Default)]
pub struct Faults(Mutex<State>);

/// What happens just before the armed call.
type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

#[derive(Default)]
struct State {
    trace: Vec<String>,
    n_writes: usize,
    armed: Option<(usize, Mode)>,
    tripped: Option<String>,
    hook: Option<Hook>,
}

/// The caller did not get an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripped;

impl Faults {
    /// Counts a call and runs `act`, unless the fault comes before it.
    pub async fn call<T>(
        &self,
        what: impl Display,
        effect: Effect,
        act: impl Future<Output = T>,
    ) -> Result<T, Tripped> {
        let (mode, hook) = self.enter(what.to_string(), effect);
        if let Some(hook) = hook {
            hook().await;
        }
        tokio::time::sleep(LATENCY).await;
        if mode == Some(Mode::Refused) {
            return Err(Tripped);
        }
        let done = act.await;
        match mode {
            Some(Mode::Lost) => return Err(Tripped),
            Some(Mode::Killed) => pending().await,
            _ => tokio::time::sleep(LATENCY).await,
        }
        Ok(done)
    }

    /// Lets call number `at`, counted from 0, go wrong; `hook` runs just before it.
    pub fn arm(
        &self,
        at: usize,
        mode: Mode,
        hook: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        let mut state = self.state();
        state.armed = Some((at, mode));
        state.hook = Some(Box::new(hook));
    }

    /// The call that went wrong, once it has.
    pub fn tripped(&self) -> Option<String> {
        self.state().tripped.clone()
    }

    /// How many calls were meant to change something.
    pub fn n_writes(&self) -> usize {
        self.state().n_writes
    }

    /// How many calls there were so far.
    pub fn n_calls(&self) -> usize {
        self.state().trace.len()
    }

    /// All calls in order.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    fn enter(&self, what: String, effect: Effect) -> (Option<Mode>, Option<Hook>) {
        let mut state = self.state();
        let at = state.trace.len();
        state.trace.push(what.clone());
        state.n_writes += usize::from(effect == Effect::Write);
        let Some((_, mode)) = state.armed.filter(|(armed, _)| *armed == at) else {
            return (None, None);
        };
        state.tripped = Some(what);
        (Some(mode), state.hook.take())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use futures::future::FutureExt;

    use super::*;

    async fn second_call(mode: Mode) -> (Result<(), Tripped>, u32) {
        let (faults, n_done) = (Faults::default(), Cell::new(0));
        faults.arm(1, mode, || ready(()).boxed());
        let act = async || n_done.set(n_done.get() + 1);
        assert_eq!(faults.call("one", Effect::Read, act()).await, Ok(()));
        let answer = faults.call("two", Effect::Write, act()).await;
        assert_eq!(
            (faults.tripped().as_deref(), faults.n_writes()),
            (Some("two"), 1)
        );
        (answer, n_done.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_has_no_effect_and_a_lost_one_has() {
        assert_eq!(second_call(Mode::Refused).await, (Err(Tripped), 1));
        assert_eq!(second_call(Mode::Lost).await, (Err(Tripped), 2));
        assert_eq!(second_call(Mode::Touched).await, (Ok(()), 2));
    }
}
