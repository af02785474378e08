//! The sweep of a host goes on beside an Instance that this program cannot read, and leaves its container alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter::{ContainerId, ContainerRuntime, ContainerSpec};
use adapter_sim::SimContainers;
use api::{Instance, crds};
use apiserver::Server;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// Our definitions as another version of this program may have left them: an Instance may say anything.
fn tolerant() -> Vec<CustomResourceDefinition> {
    let mut all = crds();
    for crd in &mut all {
        if crd.spec.names.kind != "Instance" {
            continue;
        }
        let mut json = serde_json::to_value(&*crd).expect("it serialises");
        let schema = &mut json["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"host": {"type": "string"}}});
        *crd = serde_json::from_value(json).expect("a definition");
    }
    all
}

async fn create(client: &Client, name: &str, spec: Value) -> ContainerId {
    let resource = ApiResource::erase::<Instance>(&());
    let instances: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let object = json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Instance",
        "metadata": {"name": name}, "spec": spec});
    let object = serde_json::from_value(object).expect("an object");
    let made = instances.create(&PostParams::default(), &object).await;
    id(
        name,
        &made.expect("it is created").uid().expect("it has a uid"),
    )
}

fn id(name: &str, uid: &str) -> ContainerId {
    ContainerId {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        image: "layout:web".to_owned(),
        execution: Default::default(),
        resources: Default::default(),
        environment: BTreeMap::new(),
        files: BTreeMap::new(),
        on_change: Default::default(),
        interfaces: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_does_not_parse_does_not_stop_the_sweep() {
    let client = Server::in_memory(tolerant()).client();
    let odd = json!({"host": "mad-1", "artefact": "none that is known"});
    let odd = create(&client, "odd", odd).await;
    let containers = SimContainers::new(Arc::default());
    let gone = id("gone", "0");
    for id in [&odd, &gone] {
        containers
            .ensure(id, &container())
            .await
            .expect("it is taken");
    }
    let swept = wdm::instance::sweep(&client, "mad-1", &containers).await;
    assert_eq!(
        swept.expect("it goes on"),
        1,
        "the one without an Instance goes"
    );
    assert!(containers.list().await.expect("a list").contains(&odd));
}
