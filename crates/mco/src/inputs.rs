//! What decisions are taken on: a snapshot of the resource repository with the ledger's reservations, built again only
//! when something in it changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use ::placement::{Inventory, Snapshot, allocatable};
use api::{Host, Link, Placement, Provider, ResourcePool, Result, Site, Workload};
use kube::ResourceExt;
use runtime::{Ctx, Kind, ObjectRef};

use crate::host::Leases;
use crate::ledger::Ledger;

/// Builds snapshots and keeps the last one.
pub(crate) struct Inputs {
    ledger: Arc<Ledger>,
    leases: Arc<Leases>,
    last: Mutex<Option<(Mark, Arc<Snapshot>)>>,
    /// Workloads whose group found no place, and on what.
    refused: Mutex<BTreeMap<ObjectRef, Mark>>,
}

/// A snapshot and the revision of the ledger that it shows.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub snapshot: Arc<Snapshot>,
    pub revision: u64,
    mark: Mark,
}

/// What tells two states of the repository apart.
type Mark = (u64, u64);

impl Inputs {
    pub fn new(ledger: Arc<Ledger>, leases: Arc<Leases>) -> Self {
        Self {
            ledger,
            leases,
            last: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Everything as it is known now.
    pub fn view(&self, ctx: &Ctx) -> Result<View> {
        self.ledger.follow(|| ctx.list::<Placement>(None))?;
        let (revision, reserved) = self.ledger.reserved();
        let inventory = Inventory {
            sites: ctx.list::<Site>(None)?,
            providers: ctx.list::<Provider>(None)?,
            hosts: ctx.list::<Host>(None)?,
            pools: ctx.list::<ResourcePool>(None)?,
            links: ctx.list::<Link>(None)?,
            reserved,
        };
        let mark = (mark(&inventory), revision);
        let mut last = self.last.lock().expect("nothing panics under this lock");
        let snapshot = match last.as_ref() {
            Some((known, snapshot)) if *known == mark => snapshot.clone(),
            other => {
                let before = other.map(|(_, snapshot)| &**snapshot);
                Arc::new(Snapshot::new(&inventory, before))
            }
        };
        *last = Some((mark, snapshot.clone()));
        Ok(View {
            snapshot,
            revision,
            mark,
        })
    }

    /// Notes that the group that a workload writes for found no place on a view.
    pub fn refuse(&self, workload: ObjectRef, view: &View) {
        self.refused().insert(workload, view.mark);
    }

    /// Notes that a workload does not look for a place any more.
    pub fn settle(&self, workload: &ObjectRef) {
        self.refused().remove(workload);
    }

    /// The workloads that were refused on another state of the repository than the one that is known now.
    pub fn worth_another_try(&self, ctx: &Ctx) -> Result<Vec<ObjectRef>> {
        if self.refused().is_empty() {
            return Ok(Vec::new());
        }
        let now = self.view(ctx)?.mark;
        let refused = self.refused();
        let moved = refused.iter().filter(|(_, mark)| **mark != now);
        Ok(moved.map(|(workload, _)| workload.clone()).collect())
    }

    /// The workloads of Placements that take more than their hosts have, and may find another place.
    pub fn overcommitted(&self, ctx: &Ctx) -> Result<Vec<ObjectRef>> {
        self.ledger.follow(|| ctx.list::<Placement>(None))?;
        let mut workloads = Vec::new();
        for host in self.ledger.hosts() {
            let found = ctx.get::<Host>(None, host.name())?;
            let Some(found) = found.filter(|host| host.status.is_some()) else {
                continue;
            };
            for placement in self.ledger.excess(&host, &allocatable(&found)) {
                let namespace = placement.namespace.as_deref();
                let placement = ctx.get::<Placement>(namespace, &placement.name)?;
                let members = placement.iter().flat_map(|it| &it.spec.group.members);
                let members = members.map(|it| ObjectRef::new::<Workload>(namespace, it.name()));
                workloads.extend(members);
            }
        }
        let refused = self.refused();
        workloads.retain(|workload| !refused.contains_key(workload));
        Ok(workloads)
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<ObjectRef, Mark>> {
        self.refused.lock().expect("nothing panics under this lock")
    }
}

/// Hosts and pools by version; of the others only the spec counts, for their status says nothing to placement.
fn mark(inventory: &Inventory) -> u64 {
    let mut hasher = DefaultHasher::new();
    for host in &inventory.hosts {
        (host.uid(), host.resource_version()).hash(&mut hasher);
    }
    hash_specs(&mut hasher, &inventory.sites);
    hash_specs(&mut hasher, &inventory.providers);
    hash_specs(&mut hasher, &inventory.pools);
    hash_specs(&mut hasher, &inventory.links);
    hasher.finish()
}

fn hash_specs<K: Kind>(hasher: &mut DefaultHasher, objects: &[Arc<K>]) {
    for object in objects {
        (object.uid(), object.meta().generation).hash(hasher);
    }
    objects.len().hash(hasher);
}
