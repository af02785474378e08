//! Objects in a few words.

use api::condition::{READY, Truth, condition};
use api::mco::{
    Assignment, AssignmentState, Eligibility, Migration, Outcome, PlacementGroup, PlacementSpec,
    WorkloadGroup, WorkloadSpec,
};
use api::tcrr::{
    DatapathCapability, HostSpec, HostStatus, LinkSpec, ProviderSpec, ResourcePoolSpec,
    ResourcePrice, Runtime, SiteSpec, StackService, Tier, Trust, VirtualisationStackSpec,
};
use api::wdm::{Artefact, ArtefactForm, Configuration, Execution};
use api::{
    Conditions, Host, Link, Micros, Placement, Provider, Quantity, Ref, ResourcePool, Resources,
    Site, VirtualisationStack, Workload,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The tenant of all that is namespaced.
pub const TENANT: &str = "default";

pub fn cpu(cores: i64) -> Resources {
    Resources::from([("cpu", Quantity::whole(cores))])
}

pub fn provider(name: &str) -> Provider {
    let price = |per, hourly| ResourcePrice {
        resource: "cpu".into(),
        per: Quantity::whole(per),
        hourly: Quantity::milli(hourly),
    };
    let spec = ProviderSpec {
        jurisdiction: "ES".into(),
        trust: Trust::Own,
        prices: vec![price(1, 40)],
    };
    Provider::new(name, spec)
}

/// A site of the provider `telco`.
pub fn site(name: &str) -> Site {
    let spec = SiteSpec {
        provider: Ref::new("telco"),
        location: None,
        region: "iberia".into(),
        country: "ES".into(),
        tier: Tier::Edge,
    };
    Site::new(name, spec)
}

pub fn stack(sites: &[&str]) -> VirtualisationStack {
    let spec = VirtualisationStackSpec {
        provider: Ref::new("telco"),
        service: StackService::Hosts,
        technology: "oci".into(),
        sites: sites.iter().map(|site| Ref::new(*site)).collect(),
    };
    VirtualisationStack::new("hosts", spec)
}

pub fn link(a: &str, b: &str) -> Link {
    let spec = LinkSpec {
        sites: vec![Ref::new(a), Ref::new(b)],
        latency_micros: Micros(5_000),
        bandwidth: Quantity::whole(1_000_000_000),
        jitter_micros: None,
        price_per_gigabyte: None,
        shared_risk_groups: Vec::new(),
    };
    Link::new(&format!("{a}-{b}"), spec)
}

/// A host that is ready and whose agent has told its facts.
pub fn host(name: &str, site: &str, cores: i64) -> Host {
    let spec = HostSpec {
        site: Ref::new(site),
        domain: Ref::new("wan"),
        locator: "fd00:1::/48".parse().unwrap(),
        access_ports: Vec::new(),
        allocatable: Resources::default(),
    };
    let mut host = Host::new(name, spec);
    let mut ready = condition(READY, Truth::True, "Settled", "");
    ready.observed_generation = Some(1);
    host.status = Some(HostStatus {
        capacity: cpu(cores),
        architecture: Some("amd64".into()),
        runtimes: vec![Runtime {
            name: "runc".into(),
            version: "1".into(),
        }],
        datapath: vec![DatapathCapability::HEncaps, DatapathCapability::EndDt6],
        conditions: Conditions(vec![ready]),
        ..HostStatus::default()
    });
    host
}

/// The one pool, open to all.
pub fn pool(hosts: &[&str]) -> ResourcePool {
    let spec = ResourcePoolSpec {
        stack: Ref::new("hosts"),
        hosts: hosts.iter().map(|host| Ref::new(*host)).collect(),
        shared_with: vec!["*".into()],
    };
    let mut pool = ResourcePool::new("edge", spec);
    pool.metadata.namespace = Some(api::SYSTEM_NAMESPACE.into());
    pool
}

fn artefact(name: &str) -> Artefact {
    Artefact {
        form: ArtefactForm::Container,
        image: format!("layout:{name}"),
        architecture: None,
    }
}

/// A workload of one replica that takes so many cores.
pub fn workload(name: &str, cores: i64) -> Workload {
    let spec = WorkloadSpec {
        artefacts: vec![artefact(name)],
        execution: Execution::default(),
        resources: cpu(cores),
        replicas: 1,
        configuration: Configuration::default(),
        ports: Vec::new(),
        network: None,
        function: None,
        group: None,
        demands: Vec::new(),
        depends_on: Vec::new(),
        user_access: None,
        eligibility: Eligibility::default(),
        migration: Migration::default(),
        policy: None,
    };
    let mut workload = Workload::new(name, spec);
    workload.metadata.namespace = Some(TENANT.into());
    workload
}

/// A workload of one core that belongs to a group.
pub fn grouped(name: &str, group: &str, members: &[&str]) -> Workload {
    let mut workload = workload(name, 1);
    workload.spec.group = Some(WorkloadGroup {
        name: group.into(),
        members: members.iter().map(|member| Ref::new(*member)).collect(),
    });
    workload
}

/// Where a replica runs; the site has the host's name.
pub fn assignment(workload: &str, replica: u32, host: &str, cores: i64) -> Assignment {
    Assignment {
        workload: Ref::new(workload),
        replica,
        state: AssignmentState::Active,
        outcome: Outcome::Reuse {
            pool_namespace: api::SYSTEM_NAMESPACE.into(),
            pool: Ref::new("edge"),
        },
        site: Ref::new(host),
        host: Ref::new(host),
        artefact: artefact(workload),
        reserved: cpu(cores),
        hourly_cost: Quantity::milli(40),
        since: Time(Timestamp::UNIX_EPOCH),
    }
}

/// A stored decision: workload, host and cores of each replica 0.
pub fn placement(name: &str, assignments: &[(&str, &str, i64)]) -> Placement {
    let assignments: Vec<Assignment> = assignments
        .iter()
        .map(|(workload, host, cores)| assignment(workload, 0, host, *cores))
        .collect();
    let spec = PlacementSpec {
        group: PlacementGroup {
            name: name.into(),
            members: Vec::new(),
        },
        decided: Time(Timestamp::UNIX_EPOCH),
        inputs_digest: "sha256:0".into(),
        policy: None,
        assignments,
        hourly_cost: Quantity::ZERO,
        explanation: Vec::new(),
    };
    let mut placement = Placement::new(name, spec);
    placement.metadata.namespace = Some(TENANT.into());
    placement.metadata.uid = Some(format!("uid-{name}"));
    placement
}
