//! Routers that exist only in memory: one shared network of many hosts, which a packet can be traced through.
//!
//! They have no kernel, so nothing takes time but the call itself; nothing is counted, for no packets flow. Interfaces
//! come and go with the containers of the host, or by hand.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use adapter::faults::{Effect, Faults, Tripped, World};
use adapter::{Router, RouterState, RouterStep, SidCounters};
use api::tcm::{AppliedDatapath, HostDatapathSpec, LocalSid, SidTarget};
use api::tcrr::DatapathCapability;
use api::{Error, ErrorKind, short_hash};
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::broadcast;

use crate::containers::Interfaces;

/// Hints that nobody has read yet; older ones are lost, as hints may be.
const HINTS_MAX: usize = 64;

/// All routers; a clone is the same network.
#[derive(Clone)]
pub struct SimNetwork(Arc<Inner>);

struct Inner {
    faults: Arc<Faults>,
    hosts: Mutex<BTreeMap<String, Host>>,
    /// Names of hosts whose router changed.
    hints: broadcast::Sender<String>,
}

#[derive(Default)]
struct Host {
    applied: AppliedDatapath,
    leftovers: Vec<String>,
    interfaces: Interfaces,
}

/// The router of one host; a clone is the same one.
#[derive(Clone)]
pub struct SimRouter {
    network: SimNetwork,
    host: String,
}

impl SimNetwork {
    /// A network without hosts whose calls go through this switch.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self(Arc::new(Inner {
            faults,
            hosts: Mutex::default(),
            hints: broadcast::channel(HINTS_MAX).0,
        }))
    }

    /// The router of a host, which is made if it is new.
    pub fn router(&self, host: &str) -> SimRouter {
        self.hosts().entry(host.to_owned()).or_default();
        SimRouter {
            network: self.clone(),
            host: host.to_owned(),
        }
    }

    /// The router of a host whose containers bring these interfaces.
    pub fn router_with(&self, host: &str, interfaces: Interfaces) -> SimRouter {
        let router = self.router(host);
        self.hosts().entry(host.to_owned()).or_default().interfaces = interfaces;
        router
    }

    /// What all routers have, by host: what a trace needs.
    pub fn applied(&self) -> BTreeMap<String, AppliedDatapath> {
        let hosts = self.hosts();
        hosts
            .iter()
            .map(|(name, host)| (name.clone(), host.state().applied))
            .collect()
    }

    /// Changes what a router has behind everybody's back, and hints at it.
    pub fn drift(&self, host: &str, change: impl FnOnce(&mut AppliedDatapath, &mut Vec<String>)) {
        if let Some(host) = self.hosts().get_mut(host) {
            change(&mut host.applied, &mut host.leftovers);
        }
        self.hint(host);
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.0.hosts.lock().expect("nothing panics under this lock")
    }

    fn hint(&self, host: &str) {
        // Nobody may be listening.
        let _ = self.0.hints.send(host.to_owned());
    }
}

impl SimRouter {
    /// Lets an interface appear.
    pub fn add_interface(&self, name: &str) {
        self.with(|host| {
            host.interfaces
                .send_if_modified(|names| names.insert(name.to_owned()))
        });
    }

    /// Lets an interface disappear, and all that stands on it.
    pub fn remove_interface(&self, name: &str) {
        self.with(|host| host.interfaces.send_if_modified(|names| names.remove(name)));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Host) -> T) -> T {
        act(self.network.hosts().entry(self.host.clone()).or_default())
    }

    async fn call<T>(
        &self,
        what: String,
        effect: Effect,
        act: impl FnOnce(&mut Host) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = self
            .network
            .0
            .faults
            .call(&what, effect, async { self.with(act) })
            .await;
        done.unwrap_or_else(|Tripped| {
            Err(Error::new(ErrorKind::Unavailable, format!("cannot {what}")))
        })
    }
}

impl Router for SimRouter {
    async fn capabilities(&self) -> Result<Vec<DatapathCapability>, Error> {
        Ok(vec![
            DatapathCapability::HEncaps,
            DatapathCapability::EndDt6,
            DatapathCapability::Nftables,
        ])
    }

    /// An address that follows from the host's name.
    async fn underlay_address(&self) -> Result<Option<Ipv6Addr>, Error> {
        let what = format!("read underlay address of {}", self.host);
        let low = short_hash(&["underlay", &self.host]);
        let address = Ipv6Addr::from_bits((0xfd << 120) | u128::from(low));
        self.call(what, Effect::Read, |_| Ok(Some(address))).await
    }

    async fn read(&self) -> Result<RouterState, Error> {
        let what = format!("read router of {}", self.host);
        self.call(what, Effect::Read, |host| Ok(host.state())).await
    }

    async fn apply(&self, _datapath: &HostDatapathSpec, step: &RouterStep) -> Result<(), Error> {
        let what = format!("{step} on {}", self.host);
        self.call(what, Effect::Write, |host| host.apply(step))
            .await
    }

    async fn counters(&self) -> Result<Vec<SidCounters>, Error> {
        let what = format!("read counters of {}", self.host);
        self.call(what, Effect::Read, |host| {
            let sids = host.state().applied.sids;
            Ok(sids.iter().map(|sid| unused(sid.sid)).collect())
        })
        .await
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let interfaces = self.with(|host| host.interfaces.subscribe());
        let state = (
            self.network.0.hints.subscribe(),
            interfaces,
            self.host.clone(),
        );
        unfold(state, |(mut hints, mut interfaces, host)| async move {
            loop {
                tokio::select! {
                    biased;
                    hint = hints.recv() => match hint {
                        Ok(changed) if changed != host => {}
                        // What was missed may well have been one of ours.
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                        Err(broadcast::error::RecvError::Closed) => return None,
                    },
                    Ok(()) = interfaces.changed() => break,
                }
            }
            Some(((), (hints, interfaces, host)))
        })
        .boxed()
    }
}

impl World for SimNetwork {
    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The hosts whose routers have anything: routers know of no objects.
    fn left(&self) -> Vec<String> {
        let hosts = self.hosts();
        let holds = |host: &Host| {
            host.state().applied != AppliedDatapath::default() || !host.leftovers.is_empty()
        };
        hosts
            .iter()
            .filter(|(_, host)| holds(host))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Host {
    /// What is programmed on interfaces that exist; a kernel forgets the rest together with the interface.
    fn state(&self) -> RouterState {
        let interfaces = self.interfaces.borrow();
        let mut applied = self.applied.clone();
        applied
            .attachments
            .retain(|one| interfaces.contains(&one.interface));
        applied
            .user_ports
            .retain(|one| interfaces.contains(&one.interface));
        applied.sids.retain(|one| interfaces.contains(target(one)));
        applied
            .steering
            .retain(|one| interfaces.contains(&one.interface));
        RouterState {
            applied,
            interfaces: interfaces.iter().cloned().collect(),
            leftovers: self.leftovers.clone(),
        }
    }

    fn apply(&mut self, step: &RouterStep) -> Result<(), Error> {
        self.applied = self.state().applied;
        let have = &mut self.applied;
        match step {
            RouterStep::EnsureAttachment(one) => {
                self.check(&one.interface)?;
                let have = &mut self.applied;
                have.attachments
                    .retain(|old| old.interface != one.interface);
                have.attachments.push(one.clone());
            }
            RouterStep::EnsureUserPort(one) => {
                self.check(&one.interface)?;
                let have = &mut self.applied;
                have.user_ports.retain(|old| old.interface != one.interface);
                have.user_ports.push(one.clone());
            }
            RouterStep::EnsureSid(one) => {
                self.check(target(one))?;
                let have = &mut self.applied;
                have.sids.retain(|old| old.sid != one.sid);
                have.sids.push(one.clone());
            }
            RouterStep::EnsureSteering(one) => {
                self.check(&one.interface)?;
                let have = &mut self.applied;
                have.steering.retain(|old| {
                    (&old.interface, &old.matching) != (&one.interface, &one.matching)
                });
                have.steering.push(one.clone());
            }
            RouterStep::RemoveSteering {
                interface,
                matching,
            } => have
                .steering
                .retain(|old| (&old.interface, &old.matching) != (interface, matching)),
            RouterStep::RemoveSid(sid) => have.sids.retain(|old| old.sid != *sid),
            RouterStep::RemoveUserPort(name) => {
                have.user_ports.retain(|old| old.interface != *name);
            }
            RouterStep::RemoveAttachment(name) => {
                have.attachments.retain(|old| old.interface != *name);
            }
            RouterStep::RemoveLeftovers => self.leftovers.clear(),
        }
        Ok(())
    }

    fn check(&self, interface: &str) -> Result<(), Error> {
        match self.interfaces.borrow().contains(interface) {
            true => Ok(()),
            false => {
                let what = format!("the router has no interface {interface}");
                Err(Error::new(ErrorKind::NotFound, what))
            }
        }
    }
}

fn target(sid: &LocalSid) -> &String {
    let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) = &sid.target;
    interface
}

fn unused(sid: Ipv6Addr) -> SidCounters {
    SidCounters {
        sid,
        packets: 0,
        bytes: 0,
        errors: 0,
    }
}

#[cfg(test)]
mod tests {
    use adapter::router::contract::{self, Ground};

    use super::*;

    struct Alone(SimRouter);

    impl Ground for Alone {
        type Router = SimRouter;

        fn router(&self) -> &SimRouter {
            &self.0
        }

        async fn add_interface(&self, name: &str) {
            self.0.add_interface(name);
        }

        async fn remove_interface(&self, name: &str) {
            self.0.remove_interface(name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_simulated_router_keeps_the_contract() {
        contract::check(&Alone(SimNetwork::new(Arc::default()).router("m1"))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn drift_is_hinted_at_and_seen_by_that_host_alone() {
        let network = SimNetwork::new(Arc::default());
        let (one, other) = (network.router("m1"), network.router("m2"));
        let (mut hints, mut others) = (one.changes(), other.changes());
        network.drift("m1", |_, leftovers| leftovers.push("stray route".into()));
        assert_eq!(hints.next().await, Some(()));
        assert!(futures::FutureExt::now_or_never(others.next()).is_none());
        assert_eq!(one.read().await.unwrap().leftovers, ["stray route"]);
        assert_eq!(other.read().await.unwrap().leftovers, Vec::<String>::new());
        assert_eq!(network.left(), ["m1"]);
    }
}
