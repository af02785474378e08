//! APIServices: one for each group and version that is served. Clients list them to learn what there is; in Kubernetes
//! one may also stand for another server, which this one has not.
//!
//! They follow from the registry, and only the server writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde_json::{Value, json};

use super::{Builtin, typed};
use crate::engine::{Engine, Outcome};
use crate::failure::Failure;
use crate::object::Object;
use crate::registry::Registry;
use crate::resource::{Offered, Resource};
use crate::state::State;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";
/// Says who brought the group: the program, or a definition of a user.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

pub(super) fn resource() -> Resource {
    let mut builtin = Builtin::core(PLURAL, "APIService", &[], typed::<APIService>());
    builtin.group = GROUP;
    builtin.categories = &["api-extensions"];
    builtin.namespaced = false;
    builtin.traits.offered = Offered::Reading;
    builtin.resource()
}

/// Makes those of what is served now, and removes the others. Whoever changes what is served calls it.
pub(crate) fn keep(engine: &Arc<Engine>) {
    let registry = engine.registry();
    let Some(resource) = registry.get(GROUP, PLURAL) else {
        return;
    };
    let mut wanted = wanted(&registry);
    // What is decided and not visible yet, too.
    let there: Vec<Arc<Object>> = engine.state().latest_at(&resource.home);
    let mut changes = Vec::new();
    for object in there {
        let spec = wanted.remove(&object.key.name);
        if spec.as_ref() != Some(&object.value["spec"]) {
            changes.push((object.key.clone(), spec));
        }
    }
    let made = wanted.into_iter();
    changes.extend(made.map(|(name, spec)| (resource.key("", &name), Some(spec))));
    let current = |_: &State, _: &mut Outcome| match Arc::ptr_eq(&registry, &engine.registry()) {
        true => Ok(()),
        // What is served has changed since: whoever changed it goes on.
        false => Err(Failure::no_such_path()),
    };
    for (key, spec) in changes {
        let decide = |old: Option<&Arc<Object>>| match (&spec, old) {
            (Some(spec), Some(old)) => {
                let mut value = old.value.clone();
                value["spec"] = spec.clone();
                Ok(Outcome::Set(value))
            }
            (Some(spec), None) => Ok(Outcome::Set(service(engine, &registry, &key.name, spec))),
            (None, Some(old)) => Ok(Outcome::Remove(old.value.clone())),
            (None, None) => Err(Failure::no_such_path()),
        };
        match engine.decide(&key, decide, current) {
            Ok(_) => {}
            Err(why) if why.code == 404 => return,
            Err(why) => {
                tracing::error!(name = key.name, %why, "an APIService is not as it should be")
            }
        }
    }
}

/// The specs of all of them by their names.
fn wanted(registry: &Registry) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    for resource in registry.all() {
        let (group, weight) = match (resource.group.as_str(), resource.is_built_in()) {
            ("", _) => ("", 18_000),
            (group, true) => (group, 17_000),
            (group, false) => (group, 1_000),
        };
        for version in &resource.versions {
            let name = format!("{}.{group}", version.name);
            let mut spec = json!({"groupPriorityMinimum": weight, "version": version.name, "versionPriority": 100});
            if !group.is_empty() {
                spec["group"] = group.into();
            }
            wanted.insert(name, spec);
        }
    }
    wanted
}

fn service(engine: &Engine, registry: &Registry, name: &str, spec: &Value) -> Value {
    let group = spec["group"].as_str().unwrap_or_default();
    let built_in = registry
        .all()
        .any(|resource| resource.group == group && resource.is_built_in());
    let managed = if built_in { "onstart" } else { "true" };
    let now = engine.now();
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "APIService",
        "metadata": {"name": name, "uid": engine.ids.uid(), "creationTimestamp": now, "labels": {AUTOMANAGED: managed}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": now,
            "message": "Local APIServices are always available",
        }]},
    })
}
