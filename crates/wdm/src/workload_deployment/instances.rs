//! The Instance of one replica: its name, interfaces, and configuration with the placement facts filled in.

use std::net::Ipv6Addr;

use api::mco::FunctionForm;
use api::wdm::{
    ConfigFile, Configuration, DeploymentReplica, EnvVar, InstanceInterface, InstanceSpec,
    InterfaceRole, PlacementFact, Value, instance_name,
};
use api::{Host, Instance, Site, WorkloadDeployment};
use kube::ResourceExt;
use runtime::Child;

/// Where a replica runs and what follows from that.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub host: &'a Host,
    pub site: &'a Site,
    /// The service address, if the workload is attached to a network.
    pub address: Option<Ipv6Addr>,
}

/// The Instance of a replica, named after workload, replica and host.
pub fn instance(
    deployment: &WorkloadDeployment,
    replica: &DeploymentReplica,
    place: &Place<'_>,
) -> Child {
    let spec = &deployment.spec;
    let name = instance_name(spec.workload.name(), replica.replica, replica.host.name());
    let configuration = with_facts(&spec.configuration, &name, place);
    let instance = InstanceSpec {
        host: replica.host.clone(),
        workload: spec.workload.clone(),
        artefact: replica.artefact.clone(),
        execution: spec.execution.clone(),
        resources: replica.resources.clone(),
        configuration,
        interfaces: interfaces(spec.function, place.address),
        serving: replica.serving,
    };
    Child::named(deployment, Instance::new(&name, instance))
}

fn interfaces(function: Option<FunctionForm>, address: Option<Ipv6Addr>) -> Vec<InstanceInterface> {
    let interface = |name: &str, role, address| InstanceInterface {
        name: name.to_owned(),
        role,
        address,
    };
    match function {
        Some(FunctionForm::Router) => {
            vec![
                interface("left", InterfaceRole::Left, None),
                interface("right", InterfaceRole::Right, None),
            ]
        }
        None => vec![interface("eth0", InterfaceRole::End, address)],
    }
}

fn with_facts(configuration: &Configuration, instance: &str, place: &Place<'_>) -> Configuration {
    let value = |value: &Value| match value {
        Value::Fact { fact } => Value::Literal {
            value: told(*fact, instance, place),
        },
        other => other.clone(),
    };
    let variable = |variable: &EnvVar| EnvVar {
        name: variable.name.clone(),
        value: value(&variable.value),
    };
    let file = |file: &ConfigFile| ConfigFile {
        path: file.path.clone(),
        content: value(&file.content),
    };
    Configuration {
        environment: configuration.environment.iter().map(variable).collect(),
        files: configuration.files.iter().map(file).collect(),
        on_change: configuration.on_change.clone(),
    }
}

fn told(fact: PlacementFact, instance: &str, place: &Place<'_>) -> String {
    match fact {
        PlacementFact::Instance => instance.to_owned(),
        PlacementFact::Host => place.host.name_any(),
        PlacementFact::Site => place.site.name_any(),
        PlacementFact::Region => place.site.spec.region.clone(),
        PlacementFact::Country => place.site.spec.country.clone(),
        PlacementFact::Provider => place.site.spec.provider.to_string(),
        PlacementFact::Address => place
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    }
}
