//! The control plane as one process: the API server and the controllers of all blocks over one store.
//!
//! It can be killed at any moment: what it was doing is lost, and what it had stored is there when it starts again.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use apiserver::store::memory::Memory;
use apiserver::{Body, Identity, Server};
use http::{Request, Response};
use kube::Client;
use runtime::{Clock, Runtime, Task, spawn};
use serde_json::Value;
use tower::service_fn;

use crate::line::{Line, no_answer};

/// The control plane.
pub struct ControlPlane {
    store: Memory,
    clock: Clock,
    entrance: Entrance,
    controllers: Option<Task<()>>,
    n_starts: u64,
}

/// Where clients find the server, whichever process runs it; a clone is the same place.
#[derive(Clone, Default)]
pub struct Entrance(Arc<Mutex<Option<Open>>>);

/// A running server, and the line that ends with it.
#[derive(Clone)]
struct Open {
    server: Server,
    line: Line,
}

impl ControlPlane {
    /// Starts it over an empty store.
    pub fn start(clock: Clock) -> Self {
        let mut control_plane = Self {
            store: Memory::default(),
            clock,
            entrance: Entrance::default(),
            controllers: None,
            n_starts: 0,
        };
        control_plane.run();
        control_plane
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.controllers = None;
        if let Some(open) = self.entrance.open().take() {
            open.line.cut();
        }
    }

    /// Starts the process again over what the last one stored.
    pub fn run(&mut self) {
        self.n_starts += 1;
        let clock = self.clock;
        let server = Server::builder()
            .crds(api::crds())
            .storage(self.store.clone())
            // A process does not make the uids of the one before it again.
            .seed(self.n_starts)
            .clock(Arc::new(move || clock.now()))
            .build()
            .expect("the server can serve our own definitions over what it stored");
        let line = Line::new();
        *self.entrance.open() = Some(Open { server, line });
        let client = self
            .entrance
            .client(Identity::Admin("groma".into()), Line::new());
        let controllers = Runtime::new(client, clock);
        let controllers = tcso::control_plane(controllers);
        let controllers = mco::control_plane(controllers);
        let controllers = wdm::control_plane(controllers);
        let controllers = tcm::control_plane(controllers);
        self.controllers = Some(spawn(controllers.run(pending())));
    }

    /// Where clients find it.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Every object there is; none while no process runs.
    pub fn objects(&self) -> Vec<Value> {
        let open = self.entrance.open().clone();
        open.map(|open| open.server.objects()).unwrap_or_default()
    }

    /// Whether a process that runs has failed.
    pub fn has_failed(&self) -> bool {
        self.controllers.as_ref().is_some_and(Task::is_finished)
    }
}

impl Entrance {
    /// A client that reaches the server over a line.
    pub fn client(&self, identity: Identity, line: Line) -> Client {
        let entrance = self.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (entrance, identity, line) = (entrance.clone(), identity.clone(), line.clone());
            async move {
                let answer = entrance.answer(&identity, request);
                Ok::<_, Infallible>(line.carry(answer).await)
            }
        });
        Client::new(service, "default")
    }

    async fn answer(
        &self,
        identity: &Identity,
        request: Request<kube::client::Body>,
    ) -> Response<Body> {
        let open = self.open().clone();
        match open {
            None => no_answer(),
            Some(Open { server, line }) => line.carry(server.serve(identity, request)).await,
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
