//! What there is: sites, hosts, pools, links and reservations, indexed for deciding.
//!
//! Built from the resources as they are stored. It is a copy: a decision does not see what changes meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use api::mco::Placement;
use api::tcrr::{DatapathCapability, Tier};
use api::{Host, Link, Provider, Quantity, READY, Ref, ResourcePool, Resources, Site};
use serde::Serialize;

use crate::digest::{Digest, name_hash};
use crate::topology::{Edge, Topology};

/// The resources that a snapshot is made of.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// All sites.
    pub sites: Vec<Arc<Site>>,
    /// Their providers; a site whose provider is missing has no prices.
    pub providers: Vec<Arc<Provider>>,
    /// All hosts.
    pub hosts: Vec<Arc<Host>>,
    /// All pools.
    pub pools: Vec<Arc<ResourcePool>>,
    /// All links.
    pub links: Vec<Arc<Link>>,
    /// What placements reserve on each host, draining ones included.
    pub reserved: BTreeMap<Ref<Host>, Resources>,
}

/// What there is, indexed. Sites and hosts are in order of name.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) sites: Vec<SiteFacts>,
    pub(crate) hosts: Vec<HostFacts>,
    pub(crate) topology: Arc<Topology>,
    edges: Vec<Vec<Edge>>,
    digest: OnceLock<String>,
    by_name: BTreeMap<Ref<Site>, usize>,
    hosts_by_name: BTreeMap<Ref<Host>, usize>,
}

/// A site as placement sees it.
#[derive(Debug, Serialize)]
pub(crate) struct SiteFacts {
    pub name: Ref<Site>,
    pub provider: Ref<Provider>,
    pub country: String,
    pub tier: Tier,
    pub prices: Prices,
    /// Its hosts in pools.
    pub hosts: Vec<usize>,
}

/// What resources cost: `hourly` for `per` units.
pub(crate) type Prices = BTreeMap<String, Price>;

/// The price of a resource.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Price {
    pub per: Quantity,
    pub hourly: Quantity,
}

/// A host as placement sees it.
#[derive(Debug, Serialize)]
pub(crate) struct HostFacts {
    pub name: Ref<Host>,
    pub site: usize,
    pub ready: bool,
    pub architecture: Option<String>,
    pub runs_containers: bool,
    pub datapath: Vec<DatapathCapability>,
    pub allocatable: Resources,
    pub free: Resources,
    pub pool: PoolFacts,
    /// Breaks ties together with the policy's seed.
    pub tie: u64,
}

/// The pool that a host is in.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PoolFacts {
    pub namespace: String,
    pub name: Ref<ResourcePool>,
    shared_with: Vec<String>,
}

impl PoolFacts {
    pub fn serves(&self, tenant: &str) -> bool {
        self.namespace == tenant
            || self
                .shared_with
                .iter()
                .any(|name| name == "*" || name == tenant)
    }
}

impl Snapshot {
    /// Indexes the inventory. Latencies that `before` has computed are kept if the links are the same.
    pub fn new(inventory: &Inventory, before: Option<&Self>) -> Self {
        let prices: BTreeMap<&str, Prices> = inventory
            .providers
            .iter()
            .map(|provider| (named(&provider.metadata.name), prices(provider)))
            .collect();
        let mut sites: Vec<SiteFacts> = inventory
            .sites
            .iter()
            .filter(|site| site.metadata.deletion_timestamp.is_none())
            .map(|site| site_facts(site, &prices))
            .collect();
        sites.sort_by(|a, b| a.name.cmp(&b.name));
        let by_name = positions(sites.iter().map(|site| &site.name));
        let hosts = hosts(inventory, &by_name);
        for (index, host) in hosts.iter().enumerate() {
            sites[host.site].hosts.push(index);
        }
        let edges = edges(&inventory.links, &by_name);
        let same = before.filter(|before| before.by_name == by_name && before.topology.has(&edges));
        let topology = match same {
            Some(before) => before.topology.clone(),
            None => Arc::new(Topology::new(edges.clone())),
        };
        let hosts_by_name = positions(hosts.iter().map(|host| &host.name));
        Self {
            sites,
            hosts,
            topology,
            edges,
            digest: OnceLock::new(),
            by_name,
            hosts_by_name,
        }
    }

    /// A digest of all that a decision may depend on.
    pub fn digest(&self) -> &str {
        let inputs = (&self.sites, &self.hosts, &self.edges);
        self.digest.get_or_init(|| Digest::of(&inputs))
    }

    pub(crate) fn site(&self, name: &Ref<Site>) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn host(&self, name: &Ref<Host>) -> Option<usize> {
        self.hosts_by_name.get(name).copied()
    }
}

/// What placements reserve on each host, draining assignments included.
pub fn reserved<'a>(
    placements: impl IntoIterator<Item = &'a Placement>,
) -> BTreeMap<Ref<Host>, Resources> {
    let mut reserved: BTreeMap<Ref<Host>, Resources> = BTreeMap::new();
    for assignment in placements
        .into_iter()
        .flat_map(|placement| &placement.spec.assignments)
    {
        reserved
            .entry(assignment.host.clone())
            .or_default()
            .add(&assignment.reserved);
    }
    reserved
}

fn positions<'a, K: 'a>(names: impl Iterator<Item = &'a Ref<K>>) -> BTreeMap<Ref<K>, usize> {
    names
        .enumerate()
        .map(|(index, name)| (name.clone(), index))
        .collect()
}

fn named(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or_default()
}

fn prices(provider: &Provider) -> Prices {
    provider
        .spec
        .prices
        .iter()
        .map(|price| {
            let (per, hourly) = (price.per, price.hourly);
            (price.resource.clone(), Price { per, hourly })
        })
        .collect()
}

fn site_facts(site: &Site, prices: &BTreeMap<&str, Prices>) -> SiteFacts {
    let spec = &site.spec;
    SiteFacts {
        name: Ref::new(named(&site.metadata.name)),
        provider: spec.provider.clone(),
        country: spec.country.clone(),
        tier: spec.tier,
        prices: prices
            .get(spec.provider.name())
            .cloned()
            .unwrap_or_default(),
        hosts: Vec::new(),
    }
}

/// The hosts that are in a pool, in order of name; a host belongs to the first pool by name that lists it.
fn hosts(inventory: &Inventory, sites: &BTreeMap<Ref<Site>, usize>) -> Vec<HostFacts> {
    let mut pools: BTreeMap<&Ref<Host>, PoolFacts> = BTreeMap::new();
    let mut sorted: Vec<&Arc<ResourcePool>> = inventory.pools.iter().collect();
    sorted.sort_by_key(|pool| (&pool.metadata.namespace, &pool.metadata.name));
    for pool in sorted {
        let facts = PoolFacts {
            namespace: named(&pool.metadata.namespace).to_owned(),
            name: Ref::new(named(&pool.metadata.name)),
            shared_with: pool.spec.shared_with.clone(),
        };
        for host in &pool.spec.hosts {
            pools.entry(host).or_insert_with(|| facts.clone());
        }
    }
    let mut hosts: Vec<HostFacts> = inventory
        .hosts
        .iter()
        .filter_map(|host| {
            let name = Ref::new(named(&host.metadata.name));
            let (site, pool) = (sites.get(&host.spec.site)?, pools.get(&name)?);
            Some(host_facts(
                host,
                *site,
                pool.clone(),
                inventory.reserved.get(&name),
            ))
        })
        .collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}

fn host_facts(
    host: &Host,
    site: usize,
    pool: PoolFacts,
    reserved: Option<&Resources>,
) -> HostFacts {
    let status = host.status.clone().unwrap_or_default();
    let allocatable = allocatable(host);
    let mut free = allocatable.clone();
    if let Some(reserved) = reserved {
        free.subtract(reserved);
    }
    let name = named(&host.metadata.name);
    HostFacts {
        name: Ref::new(name),
        site,
        ready: status.conditions.is_true(READY) && host.metadata.deletion_timestamp.is_none(),
        architecture: status.architecture,
        runs_containers: !status.runtimes.is_empty(),
        datapath: status.datapath,
        allocatable,
        free,
        pool,
        tie: name_hash(name),
    }
}

/// How much of a host may carry workloads: what its spec names, and what the agent sees for the rest.
pub fn allocatable(host: &Host) -> Resources {
    let seen = host.status.as_ref().map(|status| status.capacity.clone());
    let mut all = seen.unwrap_or_default();
    all.0.extend(host.spec.allocatable.0.clone());
    all
}

/// Both directions of each link whose sites exist.
fn edges(links: &[Arc<Link>], sites: &BTreeMap<Ref<Site>, usize>) -> Vec<Vec<Edge>> {
    let mut edges: Vec<BTreeSet<Edge>> = vec![BTreeSet::new(); sites.len()];
    for link in links {
        let [a, b] = &link.spec.sites[..] else {
            continue;
        };
        let (Some(a), Some(b)) = (sites.get(a), sites.get(b)) else {
            continue;
        };
        for (from, to) in [(*a, *b), (*b, *a)] {
            edges[from].insert(Edge {
                to,
                latency: link.spec.latency_micros,
                bandwidth: link.spec.bandwidth,
            });
        }
    }
    edges
        .into_iter()
        .map(|edges| edges.into_iter().collect())
        .collect()
}
