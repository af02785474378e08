//! The [`adapter::Router`] of a Linux network namespace.
//!
//! Calls block for as long as netlink and nft take, so they run on the threads that tokio keeps for that; a lock lets one
//! writer at a time decide from what it read.

use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adapter::{Router, RouterState, RouterStep, SidCounters};
use api::tcm::{HostDatapathSpec, TrafficMatch};
use api::tcrr::DatapathCapability;
use api::{Error, ErrorKind};
use futures::stream::{self, BoxStream, StreamExt};
use linux::monitor::Monitor;
use linux::probe::{self, Feature};
use linux::rule::Rule;
use linux::{Namespace, Netlink, netns, nft, sysctl};
use rustix::io::Errno;

use crate::kernel::{self, Kernel};
use crate::memory::Memory;
use crate::program::{self, Device, Objects};
use crate::{firewall, state};

/// The router in one network namespace.
#[derive(Clone, Debug)]
pub struct Srv6Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    namespace: Namespace,
    memory: Mutex<Memory>,
}

impl Srv6Router {
    /// The router in the namespace of that name, which must exist; `folder` is its own and lives no longer than the namespace.
    pub fn open(namespace: &str, folder: &Path) -> Result<Self, Error> {
        let found = netns::open(namespace).map_err(convert)?;
        let found = found.ok_or_else(|| {
            let what = format!("there is no network namespace {namespace} to route in");
            Error::new(ErrorKind::NotFound, what)
        })?;
        Self::within(found, folder)
    }

    /// The router in an open namespace.
    pub fn within(namespace: Namespace, folder: &Path) -> Result<Self, Error> {
        let memory = Mutex::new(Memory::open(folder)?);
        let inner = Arc::new(Inner { namespace, memory });
        Ok(Self { inner })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| {
                Error::caused(ErrorKind::Internal, "a call to the router broke off", error)
            })?
    }
}

impl Router for Srv6Router {
    async fn capabilities(&self) -> Result<Vec<DatapathCapability>, Error> {
        self.blocking(|_| capabilities()).await
    }

    async fn underlay_address(&self) -> Result<Option<Ipv6Addr>, Error> {
        self.blocking(|inner| Ok(inner.look()?.underlay_address()))
            .await
    }

    async fn read(&self) -> Result<RouterState, Error> {
        self.blocking(Inner::read).await
    }

    async fn apply(&self, datapath: &HostDatapathSpec, step: &RouterStep) -> Result<(), Error> {
        let (datapath, step) = (datapath.clone(), step.clone());
        self.blocking(move |inner| inner.apply(&datapath, &step))
            .await
    }

    async fn counters(&self) -> Result<Vec<SidCounters>, Error> {
        self.blocking(|inner| kernel::counters(&inner.namespace).map_err(convert))
            .await
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        // Without hints the router is still looked at from time to time.
        match Monitor::open(&self.inner.namespace) {
            Ok(monitor) => stream::unfold(monitor, |monitor| async {
                monitor.changed().await.ok().map(|()| ((), monitor))
            })
            .boxed(),
            Err(_) => stream::empty().boxed(),
        }
    }
}

impl Inner {
    fn read(&self) -> Result<RouterState, Error> {
        let memory = self.memory();
        let kernel = self.look()?;
        Ok(match memory.known() {
            Some(known) => state::state(known, program::known_mtu(known), &kernel),
            None => state::state(&nothing(), 0, &kernel),
        })
    }

    fn apply(&self, wanted: &HostDatapathSpec, step: &RouterStep) -> Result<(), Error> {
        let mut memory = self.memory();
        let mtu = program::wanted_mtu(wanted)?;
        let learned = match step {
            RouterStep::EnsureAttachment(_)
            | RouterStep::EnsureUserPort(_)
            | RouterStep::EnsureSid(_)
            | RouterStep::EnsureSteering(_) => memory.knows_all(wanted),
            _ => memory.has_learned(wanted),
        };
        if !learned {
            self.learn(&mut memory, wanted, mtu)?;
        }
        match step {
            RouterStep::EnsureAttachment(attachment) => {
                self.ensure(&program::attachment(attachment, mtu))
            }
            RouterStep::EnsureUserPort(port) => self.ensure(&program::user_port(port, mtu)),
            RouterStep::EnsureSid(sid) => {
                let objects = program::sid(sid, &wanted.user_ports);
                self.ensure(&objects.ok_or_else(|| undescribed(sid.sid))?)
            }
            RouterStep::EnsureSteering(steering) => self.ensure(&program::steering(steering)),
            RouterStep::RemoveLeftovers => self.remove_leftovers(&memory, mtu),
            removal => self.remove(&mut memory, removal, mtu),
        }
    }

    /// Before the first step of a new spec: writes it down, and lets the firewall know all of it, so that a later step is
    /// never refused by it.
    fn learn(&self, memory: &mut Memory, wanted: &HostDatapathSpec, mtu: u32) -> Result<(), Error> {
        let kernel = self.look()?;
        let known = match memory.known() {
            Some(past) => {
                let applied = state::applied(past, program::known_mtu(past), &kernel);
                state::known(wanted, past.mtu, applied)
            }
            None => wanted.clone(),
        };
        sysctl::set(&self.namespace, sysctl::ROUTER).map_err(convert)?;
        self.write_firewall(&known, mtu)?;
        memory.learn(wanted.clone(), known)
    }

    fn ensure(&self, objects: &Objects) -> Result<(), Error> {
        let mut netlink = self.netlink()?;
        if let Some(device) = &objects.device {
            set_up(&mut netlink, device).map_err(convert)?;
        }
        self.check_tables(&mut netlink, &objects.rules)?;
        for route in &objects.routes {
            netlink.replace_route(route).map_err(convert)?;
        }
        let mut rules = objects.rules.iter();
        rules
            .try_for_each(|rule| netlink.add_rule(rule))
            .map_err(convert)
    }

    /// The numbers of tables are hashes: two that meet must not share their routes.
    fn check_tables(&self, netlink: &mut Netlink, rules: &[Rule]) -> Result<(), Error> {
        if rules.is_empty() {
            return Ok(());
        }
        let seen = netlink.rules(program::PROTOCOL).map_err(convert)?;
        let clash = rules.iter().find_map(|rule| {
            let others = seen.iter().filter(|other| other.table == rule.table);
            others
                .into_iter()
                .find(|other| other.selector != rule.selector)
                .map(|other| (rule, other))
        });
        match clash {
            None => Ok(()),
            Some((rule, other)) => {
                let what = format!(
                    "cannot add rule {rule}: its table is taken by {}",
                    other.selector
                );
                Err(Error::new(ErrorKind::Conflict, what))
            }
        }
    }

    fn remove(&self, memory: &mut Memory, removal: &RouterStep, mtu: u32) -> Result<(), Error> {
        let Some(known) = memory.known() else {
            return Ok(());
        };
        let (objects, rest) = split(known, removal, mtu);
        let mut netlink = self.netlink()?;
        for rule in objects.iter().flat_map(|objects| &objects.rules) {
            netlink.delete_rule(rule).map_err(convert)?;
        }
        // The last route is the one that leads to the others.
        for route in objects
            .iter()
            .flat_map(|objects| objects.routes.iter().rev())
        {
            netlink.delete_route(route).map_err(convert)?;
        }
        self.write_firewall(&rest, mtu)?;
        memory.forget(rest)
    }

    fn remove_leftovers(&self, memory: &Memory, mtu: u32) -> Result<(), Error> {
        let Some(known) = memory.known() else {
            return Ok(());
        };
        let kernel = self.look()?;
        let applied = state::applied(known, mtu, &kernel);
        let (routes, rules) = state::leftovers(&applied, mtu, &kernel);
        let mut netlink = self.netlink()?;
        rules
            .iter()
            .try_for_each(|rule| netlink.delete_rule(rule))
            .map_err(convert)?;
        routes
            .iter()
            .try_for_each(|route| netlink.delete_route(route))
            .map_err(convert)?;
        if !kernel.wrong_settings.is_empty() {
            sysctl::set(&self.namespace, sysctl::ROUTER).map_err(convert)?;
        }
        if kernel.firewall != firewall::content(known, mtu) {
            self.write_firewall(known, mtu)?;
        }
        Ok(())
    }

    fn write_firewall(&self, known: &HostDatapathSpec, mtu: u32) -> Result<(), Error> {
        let (table, content) = (firewall::table(), firewall::content(known, mtu));
        match content.is_empty() {
            true => nft::delete_table(&self.namespace, &table),
            false => nft::replace_table(&self.namespace, &table, content),
        }
        .map_err(convert)
    }

    fn look(&self) -> Result<Kernel, Error> {
        Kernel::read(&self.namespace).map_err(convert)
    }

    fn netlink(&self) -> Result<Netlink, Error> {
        Netlink::open(&self.namespace).map_err(convert)
    }

    /// A panic elsewhere leaves nothing half-done in memory: it is replaced whole.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_up(netlink: &mut Netlink, device: &Device) -> linux::Result<()> {
    netlink.set_mtu(&device.name, device.mtu)?;
    netlink.set_up(&device.name)?;
    netlink.add_address(&device.name, kernel::router_address())
}

/// The objects that a removal takes away, and what is known without it.
fn split(
    known: &HostDatapathSpec,
    removal: &RouterStep,
    mtu: u32,
) -> (Vec<Objects>, HostDatapathSpec) {
    let mut rest = known.clone();
    let objects = match removal {
        RouterStep::RemoveAttachment(interface) => {
            let gone = rest
                .attachments
                .extract_if(.., |one| one.interface == *interface);
            gone.map(|one| program::attachment(&one, mtu)).collect()
        }
        RouterStep::RemoveUserPort(interface) => {
            let gone = rest
                .user_ports
                .extract_if(.., |one| one.interface == *interface);
            gone.map(|one| program::user_port(&one, mtu)).collect()
        }
        RouterStep::RemoveSid(sid) => {
            let gone = rest.sids.extract_if(.., |one| one.sid == *sid);
            gone.filter_map(|one| program::sid(&one, &known.user_ports))
                .map(only_last_route)
                .collect()
        }
        RouterStep::RemoveSteering {
            interface,
            matching,
        } => {
            let same = |one: &TrafficMatch| one == matching;
            let gone = rest
                .steering
                .extract_if(.., |one| one.interface == *interface && same(&one.matching));
            gone.map(|one| program::steering(&one)).collect()
        }
        _ => Vec::new(),
    };
    (objects, rest)
}

/// The way behind a segment belongs to its attachment, and other segments may lead there.
fn only_last_route(mut objects: Objects) -> Objects {
    let last = objects.routes.len().saturating_sub(1);
    objects.routes.drain(..last);
    objects
}

/// A datapath without anything in it.
fn nothing() -> HostDatapathSpec {
    HostDatapathSpec {
        locator: api::Ipv6Prefix::host(Ipv6Addr::UNSPECIFIED),
        mtu: 0,
        attachments: Vec::new(),
        user_ports: Vec::new(),
        sids: Vec::new(),
        steering: Vec::new(),
    }
}

fn capabilities() -> Result<Vec<DatapathCapability>, Error> {
    let tried = probe::capabilities().map_err(convert)?;
    let works = tried.iter().filter(|tried| tried.missing.is_none());
    Ok(works
        .filter_map(|tried| match tried.feature {
            Feature::HEncaps => Some(DatapathCapability::HEncaps),
            Feature::EndDt6 => Some(DatapathCapability::EndDt6),
            Feature::Nftables => Some(DatapathCapability::Nftables),
            Feature::Vrf => Some(DatapathCapability::Vrf),
            _ => None,
        })
        .collect())
}

fn undescribed(sid: Ipv6Addr) -> Error {
    let what = format!("sid {sid} hands over to a user port that is not among userPorts");
    Error::new(ErrorKind::Invalid, what)
}

fn convert(error: linux::Error) -> Error {
    let kind = match error.errno() {
        _ if error.is_missing() => ErrorKind::NotFound,
        Some(Errno::PERM | Errno::ACCESS) => ErrorKind::Forbidden,
        Some(Errno::INVAL | Errno::OPNOTSUPP) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let what = error.what.clone();
    Error::caused(kind, what, error.source)
}
