//! The service that all tests use, the laboratory it runs in, and what is to be true of both.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use live::Laboratory;
use live::lab::{Probed, Role, Running, wait};
use serde_json::Value;

const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/main_job/topology.yaml");
const SERVICE: &str = include_str!("service.yaml");
/// The firewall's rule that lets requests pass.
const RULE: &str = "allow tcp 8080 from left";
/// The rule by which components leave hosts that cannot be seen.
const MOVES: &str = "{afterUnreachableSeconds: 1}";
/// The programs of the three components, as the kernel names them.
const PROGRAMS: [&str; 3] = ["firewall", "http-app", "limiter"];
/// The kinds that a service brings into being, itself among them.
const KINDS: [&str; 7] = [
    "service",
    "workload",
    "placement",
    "workloaddeployment",
    "instance",
    "servicefunctionchain",
    "network",
];
/// Where users are.
const USERS: &str = "users-north-1-users";
/// The port at which the application listens.
pub const PORT: u16 = 8080;
/// The host of the firewall: the only one at its site.
pub const NORTH: &str = "north-1";

static TURN: Mutex<()> = Mutex::new(());

/// The shop in its laboratory.
pub struct Shop {
    // Dropped first: the next test waits until nothing is left.
    pub laboratory: Laboratory,
    _turn: MutexGuard<'static, ()>,
}

impl Shop {
    /// The laboratory without a service; `None`, with the reason printed, where it cannot be.
    pub fn closed() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        match Laboratory::up(Path::new(TOPOLOGY)) {
            Ok(laboratory) => Some(Self {
                laboratory,
                _turn: turn,
            }),
            Err(skip) => {
                skip.report();
                None
            }
        }
    }

    /// Applies the service and tries again until the server has taken it.
    pub fn open(&self) {
        self.apply(SERVICE);
    }

    /// The same, but nothing moves when hosts cannot be seen.
    pub fn open_immovable(&self) {
        self.apply(&SERVICE.replace(MOVES, "{}"));
    }

    /// The immovable service with other firewall rules.
    pub fn with_rule(&self, rule: &str) {
        self.apply(&SERVICE.replace(MOVES, "{}").replace(RULE, rule));
    }

    /// Applies the service, once.
    pub fn apply_once(&self) -> Result<String, String> {
        self.laboratory.apply(SERVICE)
    }

    fn apply(&self, manifest: &str) {
        wait("the server to take the service", || {
            self.laboratory.apply(manifest)
        });
    }

    /// Deletes the service and does not wait.
    pub fn close(&self) {
        let deleted = || match self
            .laboratory
            .client(&["delete", "service", "shop", "--no-wait"])
        {
            Err(why) if !why.contains("NotFound") && !why.contains("not found") => Err(why),
            _ => Ok(()),
        };
        wait("the server to take the deletion", deleted);
    }

    /// Waits until the service serves: says so, answers its users, and runs each component once. Says how long it took.
    pub fn serving(&self) -> Duration {
        let begun = Instant::now();
        wait("the service to serve", || {
            self.available()?;
            let probed = self.ask("wait")?;
            if !probed.all() {
                return Err(probed.said);
            }
            self.each_once()
        });
        begun.elapsed()
    }

    /// The service, if it says that it is available.
    pub fn available(&self) -> Result<Value, String> {
        let service = self.laboratory.get("service", "shop")?;
        if is_true(&service, "Available") {
            Ok(service)
        } else {
            Err(format!(
                "not available: {}",
                service["status"]["conditions"]
            ))
        }
    }

    /// Whether every component runs exactly once on this machine, all hosts taken together, each under one shim in one
    /// container, and no container besides.
    pub fn each_once(&self) -> Result<(), String> {
        let running = self.running();
        let programs: Vec<_> = running.iter().map(|one| one.program.as_str()).collect();
        let hosts = self.laboratory.hosts().iter();
        let containers: Vec<_> = hosts
            .flat_map(|host| self.laboratory.containers(host))
            .collect();
        let processes = self.laboratory.processes();
        let shims = processes
            .iter()
            .filter(|(role, _)| *role == Role::Shim)
            .count();
        // Of each container there is a control group and a network namespace.
        if programs == PROGRAMS && containers.len() == 2 * PROGRAMS.len() && shims == PROGRAMS.len()
        {
            Ok(())
        } else {
            Err(format!(
                "each component once is wanted: {running:?}, {containers:?}, {shims} shims"
            ))
        }
    }

    /// The processes of the components.
    pub fn running(&self) -> Vec<Running> {
        self.laboratory.running(&PROGRAMS)
    }

    /// Where the users reach the application.
    pub fn address(&self) -> Result<String, String> {
        let service = self.laboratory.get("service", "shop")?;
        let address = service["status"]["endpoints"][0]["address"].as_str();
        address.map(str::to_owned).ok_or("no endpoint".to_owned())
    }

    /// Requests of the users.
    pub fn ask(&self, prefix: &str) -> Result<Probed, String> {
        self.ask_at(USERS, PORT, prefix)
    }

    /// Requests from a node to a port of the application's address.
    pub fn ask_at(&self, node: &str, port: u16, prefix: &str) -> Result<Probed, String> {
        let url = format!("http://[{}]:{port}/echo", self.address()?);
        Ok(self.laboratory.probe(node, &url, prefix))
    }

    /// The users' requests from another port.
    pub fn ask_port(&self, port: u16) -> Probed {
        self.ask_at(USERS, port, "port")
            .expect("there is an endpoint")
    }

    /// The site and the host of the application.
    pub fn place_of_app(&self) -> (String, String) {
        let running = self.running();
        let app = running.iter().find(|one| one.program == "http-app");
        let host = app.expect("the application runs").host.clone();
        let site = host
            .split('-')
            .next()
            .expect("a host is named after its site");
        (site.to_owned(), host)
    }

    /// Waits until nothing is left of the service, in the API and on the hosts. Says how long it took.
    pub fn empty(&self) -> Duration {
        let begun = Instant::now();
        wait("everything of the service to go", || {
            let left = self.left()?;
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join("\n"))
            }
        });
        begun.elapsed()
    }

    fn left(&self) -> Result<Vec<String>, String> {
        let mut left = Vec::new();
        for kind in KINDS {
            let objects = self.laboratory.list(kind)?;
            let name = |object: &Value| format!("{kind} {}", object["metadata"]["name"]);
            left.extend(objects.iter().map(name));
        }
        for host in self.laboratory.hosts() {
            left.extend(self.laboratory.containers(host));
            left.extend(self.laboratory.datapath(host));
        }
        Ok(left)
    }
}

/// Whether a condition of an object is true.
pub fn is_true(object: &Value, condition: &str) -> bool {
    condition_of(object, condition).is_some_and(|found| found["status"] == "True")
}

/// A condition of an object.
pub fn condition_of<'a>(object: &'a Value, condition: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|found| found["type"] == condition)
}
