//! All there is in a scenario: a control plane, hosts with their agents, and the network between them.

use std::collections::BTreeMap;
use std::time::Duration;

use adapter_sim::SimNetwork;
use anyhow::{Result, bail};
use api::Host;
use apiserver::Identity;
use jiff::Timestamp;
use kube::Client;
use runtime::Clock;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::control_plane::ControlPlane;
use crate::home::Home;
use crate::line::Line;

/// The time that a dead process leaves between its end and the start of the next one.
const RESTART: Duration = Duration::from_millis(100);
/// Where time is real, a scenario waits at most so long for nothing to happen.
const REAL_ADVANCE_MAX: Duration = Duration::from_secs(3);

/// Everything.
pub struct World {
    /// When it began.
    pub start: Timestamp,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The routers of all hosts.
    pub network: SimNetwork,
    /// What a user asks through.
    pub user: Client,
    agents: BTreeMap<String, Agent>,
    clock: Clock,
    is_real_time: bool,
}

impl World {
    /// A control plane and nothing else. On a cluster, whose time is real, all time is.
    pub fn new(home: Home) -> Self {
        let is_real_time = matches!(home, Home::Cluster(_));
        let (start, clock) = match is_real_time {
            true => (Timestamp::now(), Clock::system()),
            false => {
                let start = "2026-01-01T00:00:00Z".parse().expect("the text is a time");
                (start, Clock::starting_at(start))
            }
        };
        let control_plane = ControlPlane::start(home, clock);
        let user = Identity::admin("user");
        Self {
            start,
            user: control_plane.entrance().client(user, Line::new()),
            control_plane,
            network: SimNetwork::new(Default::default()),
            agents: BTreeMap::new(),
            clock,
            is_real_time,
        }
    }

    /// Lets time pass.
    pub async fn advance(&self, time: Duration) {
        let time = match self.is_real_time {
            true => time.min(REAL_ADVANCE_MAX),
            false => time,
        };
        sleep(time).await;
    }

    /// Switches on a machine for each Host that has none yet.
    pub async fn meet_hosts(&mut self) {
        for host in self.objects::<Host>("Host").await {
            let name = host.metadata.name.clone().unwrap_or_default();
            let (network, entrance) = (&self.network, self.control_plane.entrance());
            self.agents
                .entry(name)
                .or_insert_with(|| Agent::new(&host, network, entrance, self.clock));
        }
    }

    /// All hosts that ever were.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// The hosts that `site NAME` or `host NAME` means.
    pub fn chosen(&mut self, what: &str, name: &str) -> Result<Vec<&mut Agent>> {
        let is_meant = |agent: &&mut Agent| match what {
            "site" => agent.site() == name,
            _ => agent.name() == name,
        };
        let chosen: Vec<_> = self.agents.values_mut().filter(is_meant).collect();
        match chosen.is_empty() {
            true => bail!("there is no host of {what} {name}"),
            false => Ok(chosen),
        }
    }

    /// Kills the control plane and starts it again.
    pub async fn restart_control_plane(&mut self) {
        self.control_plane.kill();
        sleep(RESTART).await;
        self.control_plane.run();
    }

    /// All objects of a kind of ours.
    pub async fn objects<K: DeserializeOwned>(&self, kind: &str) -> Vec<K> {
        let all = self.control_plane.objects(kind).await.into_iter();
        all.filter(is_ours)
            .map(|object| serde_json::from_value(object).expect("the server checked the schema"))
            .collect()
    }

    /// An object by its kind in small letters and its name; the kinds of ours come first.
    pub async fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let is_it = |object: &&Value| object["metadata"]["name"] == name;
        let objects = self.control_plane.objects(kind).await;
        let ours = objects
            .iter()
            .find(|object| is_ours(object) && is_it(object));
        ours.or_else(|| objects.iter().find(is_it)).cloned()
    }
}

/// Whether an object is of a kind of ours.
pub fn is_ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.starts_with(api::GROUP)
}
