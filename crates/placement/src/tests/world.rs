//! A small telco: inventories and requests in a few words.

use std::sync::Arc;

use api::condition::{Truth, condition};
use api::mco::{Assignment, Demand, Eligibility, PlacementPolicySpec, UserAccess};
use api::tcrr::{
    DatapathCapability, HostSpec, HostStatus, LinkSpec, ProviderSpec, ResourcePoolSpec,
    ResourcePrice, Runtime, SiteSpec, Tier, Trust,
};
use api::wdm::{Artefact, ArtefactForm};
use api::{
    Conditions, Host, Link, Micros, Provider, Quantity, READY, Ref, ResourcePool, Resources, Site,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{Component, Held, Inventory, Request};

/// A site with one host for each number of cores; the price is for one core, in thousandths.
pub fn add_site(inventory: &mut Inventory, name: &str, price: i64, hosts: &[i64]) {
    let provider = ProviderSpec {
        jurisdiction: "ES".into(),
        trust: Trust::Own,
        prices: vec![ResourcePrice {
            resource: "cpu".into(),
            per: Quantity::whole(1),
            hourly: Quantity::milli(price),
        }],
    };
    let provider_name = format!("of-{name}");
    let provider = Provider::new(&provider_name, provider);
    inventory.providers.push(Arc::new(provider));
    let site = SiteSpec {
        provider: Ref::new(provider_name),
        location: None,
        region: "iberia".into(),
        country: "ES".into(),
        tier: Tier::Edge,
    };
    inventory.sites.push(Arc::new(Site::new(name, site)));
    let names: Vec<Ref<Host>> = (0..hosts.len())
        .map(|index| Ref::new(format!("{name}-{index}")))
        .collect();
    for (host, cores) in names.iter().zip(hosts) {
        inventory
            .hosts
            .push(Arc::new(host_of(host.name(), name, *cores)));
    }
    let pool = ResourcePoolSpec {
        stack: Ref::new("hosts"),
        hosts: names,
        shared_with: vec!["*".into()],
    };
    let mut pool = ResourcePool::new(name, pool);
    pool.metadata.namespace = Some("operator".into());
    inventory.pools.push(Arc::new(pool));
}

fn host_of(name: &str, site: &str, cores: i64) -> Host {
    let spec = HostSpec {
        site: Ref::new(site),
        domain: Ref::new("wan"),
        locator: "fd00:1::/48".parse().unwrap(),
        access_ports: Vec::new(),
        allocatable: Resources::default(),
    };
    let mut host = Host::new(name, spec);
    host.status = Some(HostStatus {
        capacity: cpu(cores * 1000),
        architecture: Some("amd64".into()),
        runtimes: vec![Runtime {
            name: "runc".into(),
            version: "1".into(),
        }],
        datapath: vec![DatapathCapability::HEncaps, DatapathCapability::EndDt6],
        conditions: Conditions(vec![condition(READY, Truth::True, "Settled", "")]),
        ..HostStatus::default()
    });
    host
}

/// Changes a host.
pub fn edit_host(inventory: &mut Inventory, name: &str, edit: impl FnOnce(&mut HostStatus)) {
    let hosts = &mut inventory.hosts;
    let host = hosts
        .iter_mut()
        .find(|host| host.metadata.name.as_deref() == Some(name))
        .unwrap();
    let host = Arc::make_mut(host);
    edit(host.status.as_mut().unwrap());
}

/// Makes a host one that cannot be seen.
pub fn lose(inventory: &mut Inventory, name: &str) {
    edit_host(inventory, name, |status| {
        status.conditions = Conditions(vec![condition(READY, Truth::Unknown, "Unreachable", "")]);
    });
}

pub fn add_link(inventory: &mut Inventory, a: &str, b: &str, millis: u64) {
    let link = LinkSpec {
        sites: vec![Ref::new(a), Ref::new(b)],
        latency_micros: Micros(millis * 1000),
        bandwidth: Quantity::whole(1_000_000_000),
        jitter_micros: None,
        price_per_gigabyte: None,
        shared_risk_groups: Vec::new(),
    };
    let link = Link::new(&format!("{a}-{b}"), link);
    inventory.links.push(Arc::new(link));
}

pub fn cpu(milli: i64) -> Resources {
    Resources::from([("cpu", Quantity::milli(milli))])
}

/// A component without needs but its cores, in thousandths.
pub fn component(name: &str, milli_cores: i64) -> Component {
    Component {
        workload: Ref::new(name),
        artefacts: vec![Artefact {
            form: ArtefactForm::Container,
            image: format!("layout:{name}"),
            architecture: None,
        }],
        resources: cpu(milli_cores),
        replicas: 1,
        connected: true,
        demands: Vec::new(),
        user_access: None,
        eligibility: Eligibility::default(),
    }
}

pub fn users(site: &str, max_millis: Option<u64>) -> Option<UserAccess> {
    Some(UserAccess {
        sites: vec![Ref::new(site)],
        latency_max_micros: max_millis.map(|millis| Micros(millis * 1000)),
        bandwidth: None,
    })
}

pub fn demand(to: &str, max_millis: Option<u64>) -> Demand {
    Demand {
        to: Ref::new(to),
        bandwidth: None,
        latency_max_micros: max_millis.map(|millis| Micros(millis * 1000)),
    }
}

pub fn request(components: Vec<Component>) -> Request {
    Request {
        namespace: "tenant".into(),
        components,
        policy: PlacementPolicySpec::default(),
        held: Vec::new(),
        now: Time(Timestamp::UNIX_EPOCH),
    }
}

pub fn held(assignments: &[Assignment]) -> Vec<Held> {
    let held = |assignment: &Assignment| Held {
        assignment: assignment.clone(),
        lost: false,
    };
    assignments.iter().map(held).collect()
}

/// Takes assignments as reservations.
pub fn reserve(inventory: &mut Inventory, assignments: &[Assignment]) {
    for item in assignments {
        let reserved = inventory.reserved.entry(item.host.clone()).or_default();
        reserved.add(&item.reserved);
    }
}
