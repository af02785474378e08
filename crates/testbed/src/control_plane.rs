//! The control plane as one process: the controllers of all blocks, and the API server, unless the objects are on a cluster.
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

use crate::home::{Door, Home};
use crate::line::{Line, no_answer};

/// The control plane.
pub struct ControlPlane {
    clock: Clock,
    entrance: Entrance,
    controllers: Option<Task<()>>,
    n_starts: u64,
}

/// Where clients find the server, whichever process runs it; a clone is the same place.
#[derive(Clone)]
pub struct Entrance {
    home: Home,
    open: Arc<Mutex<Option<Open>>>,
}

/// A running process: its server if it has one, and the line that ends with it.
#[derive(Clone)]
struct Open {
    server: Option<Server>,
    line: Line,
}

impl ControlPlane {
    /// Starts it.
    pub fn start(home: Home, clock: Clock) -> Self {
        let entrance = Entrance {
            home,
            open: Arc::default(),
        };
        let mut control_plane = Self {
            clock,
            entrance,
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
        let server = match &self.entrance.home {
            Home::Own(store) => Some(serve(store.clone(), self.n_starts, clock)),
            Home::Cluster(_) => None,
        };
        let line = Line::new();
        *self.entrance.open() = Some(Open { server, line });
        let client = self
            .entrance
            .client(Identity::admin(CONTROLLERS), Line::new());
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

    /// Every object there is, or those of one kind of ours; none while no server runs.
    pub async fn objects(&self, kind: &str) -> Vec<Value> {
        if let Home::Cluster(cluster) = &self.entrance.home {
            return cluster.objects(kind).await;
        }
        let server = self
            .entrance
            .open()
            .as_ref()
            .and_then(|it| it.server.clone());
        let mut objects = server.map(|server| server.objects()).unwrap_or_default();
        let of_kind = |object: &Value| {
            object["kind"]
                .as_str()
                .unwrap_or_default()
                .eq_ignore_ascii_case(kind)
        };
        objects.retain(|object| kind.is_empty() || of_kind(object));
        objects
    }

    /// Whether a process that runs has failed.
    pub fn has_failed(&self) -> bool {
        self.controllers.as_ref().is_some_and(Task::is_finished)
    }
}

/// Whom the controllers are.
pub const CONTROLLERS: &str = "groma";

/// A server over what was stored. A process does not make the uids of the one before it again.
fn serve(store: Memory, seed: u64, clock: Clock) -> Server {
    let builder = Server::builder().crds(api::crds()).storage(store);
    let builder = builder.seed(seed).clock(Arc::new(move || clock.now()));
    builder
        .build()
        .expect("the server can serve our own definitions over what it stored")
}

impl Entrance {
    /// A client that reaches the server over a line.
    pub fn client(&self, identity: Identity, line: Line) -> Client {
        let entrance = self.clone();
        let far = match &self.home {
            Home::Own(_) => None,
            Home::Cluster(cluster) => Some(Door::Far(cluster.client(&identity))),
        };
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (entrance, identity, line) = (entrance.clone(), identity.clone(), line.clone());
            let far = far.clone();
            async move {
                let answer = entrance.answer(&identity, far, request);
                Ok::<_, Infallible>(line.carry(answer).await)
            }
        });
        Client::new(service, "default")
    }

    async fn answer(
        &self,
        identity: &Identity,
        far: Option<Door>,
        request: Request<kube::client::Body>,
    ) -> Response<Body> {
        let open = self.open().clone();
        let Some(Open { server, line }) = open else {
            return no_answer();
        };
        match far.or(server.map(Door::Server)) {
            Some(door) => line.carry(door.answer(identity, request)).await,
            None => no_answer(),
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
