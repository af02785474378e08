//! A host: a simulated machine with containers and a router, and the real agent on it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use adapter_sim::{SimContainers, SimMachine, SimNetwork, SimRouter};
use api::Host;
use api::tcm::AppliedDatapath;
use apiserver::Identity;
use kube::{Client, ResourceExt};
use runtime::{Clock, Runtime, Task, spawn};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::control_plane::Entrance;
use crate::line::Line;

/// How often the agent looks for what no object stands for, while its host is not forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// A host and, while it runs, its agent.
pub struct Agent {
    name: String,
    site: String,
    /// Interfaces that are part of the machine.
    ports: Vec<String>,
    containers: Arc<SimContainers>,
    router: Arc<SimRouter>,
    machine: Arc<SimMachine>,
    network: SimNetwork,
    entrance: Entrance,
    clock: Clock,
    line: Line,
    process: Option<Task<()>>,
}

impl Agent {
    /// The machine that a Host object tells of, switched on.
    pub fn new(host: &Host, network: &SimNetwork, entrance: &Entrance, clock: Clock) -> Self {
        let name = host.name_any();
        let containers = SimContainers::new(Arc::default());
        let router = network.router_with(&name, containers.interfaces());
        let ports = host.spec.access_ports.iter();
        let mut agent = Self {
            name,
            site: host.spec.site.to_string(),
            ports: ports.map(|port| port.interface.clone()).collect(),
            containers: Arc::new(containers),
            router: Arc::new(router),
            machine: Arc::new(SimMachine::new(Arc::default())),
            network: network.clone(),
            entrance: entrance.clone(),
            clock,
            line: Line::new(),
            process: None,
        };
        agent.switch_on();
        agent
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The site where it stands.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Starts the machine and its agent.
    pub fn switch_on(&mut self) {
        for port in &self.ports {
            self.router.add_interface(port);
        }
        self.start();
    }

    /// Takes the power away: the agent, the containers and all that the router was told are gone.
    pub fn switch_off(&mut self) {
        self.process = None;
        self.containers.power_cut();
        self.network.drift(&self.name, |applied, leftovers| {
            *applied = AppliedDatapath::default();
            leftovers.clear();
        });
    }

    /// Kills the agent and starts it again; containers and router go on.
    pub fn restart(&mut self) {
        self.process = None;
        self.start();
    }

    /// Cuts the line to the control plane; everything on the host goes on.
    pub fn cut_off(&self) {
        self.line.cut();
    }

    /// Mends the line to the control plane.
    pub fn reconnect(&self) {
        self.line.mend();
    }

    /// The names of its containers.
    pub fn containers(&self) -> Vec<String> {
        let ids = self.containers.ids();
        ids.iter().map(ToString::to_string).collect()
    }

    fn start(&mut self) {
        let identity = Identity::host(&self.name);
        let client = self.entrance.client(identity, self.line.clone());
        self.process = Some(spawn(run(Parts {
            client,
            clock: self.clock,
            name: self.name.clone(),
            containers: self.containers.clone(),
            router: self.router.clone(),
            machine: self.machine.clone(),
        })));
    }
}

/// What an agent is made of.
struct Parts {
    client: Client,
    clock: Clock,
    name: String,
    containers: Arc<SimContainers>,
    router: Arc<SimRouter>,
    machine: Arc<SimMachine>,
}

/// The same composition as that of `groma agent`.
async fn run(parts: Parts) {
    let host = &parts.name;
    let controllers = Runtime::new(parts.client.clone(), parts.clock);
    let controllers = mco::agent(
        controllers,
        host,
        parts.machine.clone(),
        parts.router.clone(),
    );
    let controllers = wdm::agent(controllers, host, parts.containers.clone());
    let controllers = tcm::agent(controllers, host, parts.router.clone());
    let forgotten = Notify::new();
    tokio::select! {
        biased;
        () = controllers.run(pending()) => {}
        () = mco::host::keep_lease(parts.client.clone(), host, &forgotten, pending()) => {}
        () = sweep(&parts, &forgotten) => {}
    }
}

async fn sweep(parts: &Parts, forgotten: &Notify) {
    loop {
        // A control plane that does not answer is asked again the next time.
        let _ = wdm::instance::sweep(&parts.client, &parts.name, &*parts.containers).await;
        let _ = tcm::sweep(&parts.client, &parts.name, &*parts.router).await;
        let _ = timeout(SWEEP, forgotten.notified()).await;
    }
}
