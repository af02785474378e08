//! The doors that are open: at most one per host, the latest, each with the task that drives its connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access::Standing;
use crate::failure::Failure;

/// Doors at a time; one host has one.
pub const DOORS_MAX: usize = 32_768;
/// How often a silent agent is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer that; then the door is closed.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long an agent may take to begin an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The open doors of a server. Clones are the same doors; they close when the last one is dropped.
#[derive(Clone, Default)]
pub struct Doors(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<String, Door>,
    /// One task per connection; they end with this.
    connections: JoinSet<()>,
}

struct Door {
    /// Tells this connection from an older one of the same host.
    id: u64,
    agent: SendRequest<Incoming>,
}

impl Doors {
    /// No open doors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the agent of that host can be asked now.
    #[must_use]
    pub fn is_open(&self, host: &str) -> bool {
        self.state()
            .open
            .get(host)
            .is_some_and(|door| !door.agent.is_closed())
    }

    /// Makes a door of the connection once the upgrade is done, for as long as its agent may have one.
    pub(super) fn open_after(
        &self,
        host: &str,
        upgrade: OnUpgrade,
        mut standing: Standing,
    ) -> Result<(), Failure> {
        // The task holds no strong reference, or the doors would keep themselves alive.
        let doors = Arc::downgrade(&self.0);
        let host = host.to_owned();
        let mut state = self.state();
        while state.connections.try_join_next().is_some() {}
        if state.connections.len() >= DOORS_MAX {
            return Err(Failure::new(
                429,
                "TooManyRequests",
                format!("{DOORS_MAX} doors are open already"),
            ));
        }
        state.connections.spawn(async move {
            let opened = async { handshake().handshake(upgrade.await?).await };
            let (agent, connection) = match opened.await {
                Ok(opened) => opened,
                Err(error) => return tracing::info!(host, %error, "a door did not open"),
            };
            let Some(state) = doors.upgrade() else { return };
            let id = Self(state).enter(&host, agent);
            tokio::select! {
                ended = connection => tracing::info!(host, ended = ?ended.err(), "a door closed"),
                () = standing.ended() => tracing::info!(host, "a door closed: its agent has no right to it any more"),
            }
            if let Some(state) = doors.upgrade() {
                Self(state).leave(&host, id);
            }
        });
        Ok(())
    }

    /// Asks the agent of a host and gives the beginning of its answer; the body follows as it comes.
    pub(super) async fn ask(
        &self,
        host: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let agent = self.state().open.get(host).map(|door| door.agent.clone());
        let Some(mut agent) = agent else {
            let why = format!("host {host:?} has no open door: its agent is not connected");
            return Err(Failure::new(503, "ServiceUnavailable", why));
        };
        match timeout(ANSWER_PATIENCE, agent.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                tracing::info!(host, %error, "an agent did not answer");
                Err(Failure::new(
                    503,
                    "ServiceUnavailable",
                    format!("the door of host {host:?} closed before its agent answered"),
                ))
            }
            Err(_) => {
                let why = format!(
                    "the agent of host {host:?} did not answer within {} s",
                    ANSWER_PATIENCE.as_secs()
                );
                Err(Failure::new(504, "Timeout", why))
            }
        }
    }

    /// Notes an open door; an older one of the same host closes when what goes through it is done.
    fn enter(&self, host: &str, agent: SendRequest<Incoming>) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.open.insert(host.to_owned(), Door { id, agent });
        tracing::info!(host, "a door opened");
        id
    }

    fn leave(&self, host: &str, id: u64) {
        let mut state = self.state();
        if state.open.get(host).is_some_and(|door| door.id == id) {
            state.open.remove(host);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handshake() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .keep_alive_while_idle(true);
    builder
}
