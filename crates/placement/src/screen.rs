//! The hard filters that depend on one component and one site alone: computed once, before the search.

use api::Micros;
use api::mco::Eligibility;
use api::tcrr::DatapathCapability;

use crate::money::Money;
use crate::reject::Reject;
use crate::request::{Component, Request};
use crate::snapshot::{HostFacts, SiteFacts, Snapshot};

/// What a host's kernel must be able to do for a component that is connected.
const DATAPATH_NEEDED: [DatapathCapability; 2] =
    [DatapathCapability::HEncaps, DatapathCapability::EndDt6];

/// A component against every site of the snapshot.
#[derive(Debug)]
pub(crate) struct Screen {
    pub sites: Vec<Result<Fit, Reject>>,
    /// What one replica costs at each site, whether it fits or not.
    pub costs: Vec<Money>,
    /// The latency from its farthest users to each site; none without users or without a path.
    pub user_latencies: Vec<Option<Micros>>,
}

/// A site that could take the component if it has room.
#[derive(Debug)]
pub(crate) struct Fit {
    /// The hosts that could, each with the artefact that it would run.
    pub hosts: Vec<(usize, usize)>,
}

impl Screen {
    /// Screens all sites for a component.
    pub fn new(snapshot: &Snapshot, request: &Request, component: &Component) -> Self {
        let indices = 0..snapshot.sites.len();
        Self {
            sites: indices
                .clone()
                .map(|site| fit(snapshot, request, component, site))
                .collect(),
            costs: snapshot
                .sites
                .iter()
                .map(|site| Money::of(&component.resources, &site.prices))
                .collect(),
            user_latencies: indices
                .map(|site| user_latency(snapshot, component, site))
                .collect(),
        }
    }
}

/// Whether a replica may stay on a host, which need not be ready for that; the artefact that it runs.
pub(crate) fn may_stay(
    snapshot: &Snapshot,
    request: &Request,
    component: &Component,
    host: usize,
) -> Result<usize, Reject> {
    let facts = &snapshot.hosts[host];
    eligible(&component.eligibility, &snapshot.sites[facts.site])?;
    if !facts.pool.serves(&request.namespace) {
        let tenant = request.namespace.clone();
        return Err(Reject::NoPool { tenant });
    }
    let artefact = able(component, facts)?;
    reached(snapshot, component, facts.site)?;
    Ok(artefact)
}

fn fit(
    snapshot: &Snapshot,
    request: &Request,
    component: &Component,
    site: usize,
) -> Result<Fit, Reject> {
    let facts = &snapshot.sites[site];
    eligible(&component.eligibility, facts)?;
    let serving: Vec<usize> = facts
        .hosts
        .iter()
        .copied()
        .filter(|host| snapshot.hosts[*host].pool.serves(&request.namespace))
        .collect();
    if serving.is_empty() {
        let tenant = request.namespace.clone();
        return Err(Reject::NoPool { tenant });
    }
    let mut furthest = Reject::NoReadyHost {
        n_hosts: serving.len(),
    };
    let mut hosts = Vec::new();
    for host in serving {
        let facts = &snapshot.hosts[host];
        if !facts.ready {
            continue;
        }
        match able(component, facts).and_then(|artefact| roomy(component, facts).map(|()| artefact))
        {
            Ok(artefact) => hosts.push((host, artefact)),
            Err(reject) => furthest = furthest.max(reject),
        }
    }
    if hosts.is_empty() {
        return Err(furthest);
    }
    reached(snapshot, component, site)?;
    Ok(Fit { hosts })
}

fn eligible(eligibility: &Eligibility, site: &SiteFacts) -> Result<(), Reject> {
    let refuse = |what, value: &str| {
        let value = value.to_owned();
        Err(Reject::NotEligible { what, value })
    };
    if !allows(&eligibility.sites, &site.name) {
        return refuse("site", site.name.name());
    }
    if !allows(&eligibility.providers, &site.provider) {
        return refuse("provider", site.provider.name());
    }
    if !allows(&eligibility.countries, &site.country) {
        return refuse("country", &site.country);
    }
    if !allows(&eligibility.tiers, &site.tier) {
        return refuse("tier", &format!("{:?}", site.tier));
    }
    Ok(())
}

fn allows<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

/// The first artefact that the host can run, if its data path can do what is needed.
fn able(component: &Component, host: &HostFacts) -> Result<usize, Reject> {
    let architecture = host.architecture.as_deref().unwrap_or("an unknown machine");
    let runs = |artefact: &api::wdm::Artefact| {
        host.runs_containers
            && artefact
                .architecture
                .as_deref()
                .is_none_or(|wanted| wanted == architecture)
    };
    let Some(artefact) = component.artefacts.iter().position(runs) else {
        let architecture = match host.runs_containers {
            true => architecture.to_owned(),
            false => "a host without a container runtime".to_owned(),
        };
        return Err(Reject::NoArtefact { architecture });
    };
    let lacking = DATAPATH_NEEDED
        .into_iter()
        .find(|capability| component.connected && !host.datapath.contains(capability));
    match lacking {
        Some(capability) => Err(Reject::DatapathUnable { capability }),
        None => Ok(artefact),
    }
}

/// Whether the host could carry one replica if all that is reserved went away; what is free is the search's business.
fn roomy(component: &Component, host: &HostFacts) -> Result<(), Reject> {
    match host.allocatable.lacks(&component.resources) {
        Some((resource, needed, free)) => Err(Reject::Resources {
            resource: resource.to_owned(),
            needed,
            free,
        }),
        None => Ok(()),
    }
}

/// Whether all users reach the site as they need.
fn reached(snapshot: &Snapshot, component: &Component, site: usize) -> Result<(), Reject> {
    let Some(access) = &component.user_access else {
        return Ok(());
    };
    let bandwidth = access.bandwidth.unwrap_or_default();
    for from in &access.sites {
        let path = |from| snapshot.topology.latency(from, site, bandwidth);
        let index = snapshot.site(from);
        match (index.and_then(path), access.latency_max_micros) {
            (Some(latency), Some(max)) if latency > max => {
                let from = from.clone();
                return Err(Reject::UserLatency { from, latency, max });
            }
            (Some(_), _) => {}
            (None, _) => {
                let widest = index.and_then(|index| snapshot.topology.widest(index, site));
                let from = from.clone();
                return Err(match widest {
                    Some(widest) => Reject::UserBandwidth {
                        from,
                        needed: bandwidth,
                        widest,
                    },
                    None => Reject::UserPath { from },
                });
            }
        }
    }
    Ok(())
}

fn user_latency(snapshot: &Snapshot, component: &Component, site: usize) -> Option<Micros> {
    let access = component.user_access.as_ref()?;
    let bandwidth = access.bandwidth.unwrap_or_default();
    let latency = |from| {
        let from = snapshot.site(from)?;
        snapshot.topology.latency(from, site, bandwidth)
    };
    let latencies: Option<Vec<Micros>> = access.sites.iter().map(latency).collect();
    latencies?.into_iter().max()
}
