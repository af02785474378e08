//! The container of an Instance: values are looked up, interfaces get their names in the router.

use std::collections::BTreeMap;

use adapter::{ContainerInterface, ContainerSpec};
use api::wdm::{KeySelector, Value};
use api::{Instance, interface_name};
use kube::ResourceExt;

use crate::instance::references::Read;

/// What should run, or which ConfigMap, Secret or key is missing.
pub fn container(instance: &Instance, read: &Read) -> Result<ContainerSpec, String> {
    let spec = &instance.spec;
    let mut environment = BTreeMap::new();
    for variable in &spec.configuration.environment {
        let named = |why| format!("environment variable {}: {why}", variable.name);
        let value = value(&variable.value, read).map_err(named)?;
        let value =
            String::from_utf8(value).map_err(|_| named("its value is not text".to_owned()))?;
        environment.insert(variable.name.clone(), value);
    }
    let mut files = BTreeMap::new();
    for file in &spec.configuration.files {
        let named = |why| format!("file {}: {why}", file.path);
        files.insert(
            file.path.clone(),
            value(&file.content, read).map_err(named)?,
        );
    }
    Ok(ContainerSpec {
        image: spec.artefact.image.clone(),
        execution: spec.execution.clone(),
        resources: spec.resources.clone(),
        environment,
        files,
        on_change: spec.configuration.on_change.clone(),
        interfaces: interfaces(instance),
    })
}

fn interfaces(instance: &Instance) -> Vec<ContainerInterface> {
    let (namespace, name) = (
        instance.namespace().unwrap_or_default(),
        instance.name_any(),
    );
    let interface = |interface: &api::wdm::InstanceInterface| ContainerInterface {
        name: interface.name.clone(),
        router_interface: interface_name(&namespace, &name, &interface.name),
        role: interface.role,
        address: interface.address,
    };
    instance.spec.interfaces.iter().map(interface).collect()
}

fn value(value: &Value, read: &Read) -> Result<Vec<u8>, String> {
    match value {
        Value::Literal { value } => Ok(value.clone().into_bytes()),
        Value::ConfigMap(key) => looked_up("ConfigMap", key, read.config_maps.get(&key.name)),
        Value::Secret(key) => looked_up("Secret", key, read.secrets.get(&key.name)),
        Value::Fact { fact } => Err(format!("the placement fact {fact:?} was not filled in")),
    }
}

fn looked_up(
    kind: &str,
    selector: &KeySelector,
    found: Option<&BTreeMap<String, Vec<u8>>>,
) -> Result<Vec<u8>, String> {
    let KeySelector { name, key } = selector;
    let object = found.ok_or_else(|| format!("{kind} {name} does not exist"))?;
    object
        .get(key)
        .cloned()
        .ok_or_else(|| format!("{kind} {name} has no key {key}"))
}
