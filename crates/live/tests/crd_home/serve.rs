//! Two processes of controllers: one leads, the other takes over.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::home::{Home, Running, until};

fn provider(name: &str) -> Value {
    json!({"apiVersion": "groma.dev/v1alpha1", "kind": "Provider", "metadata": {"name": name},
        "spec": {"jurisdiction": "ES"}})
}

async fn lease(home: &Home) -> Option<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(home.admin.clone(), "groma-system");
    let found = leases.get_opt("groma-controllers").await;
    found
        .expect("an administrator may")
        .and_then(|lease| lease.spec)
}

/// Waits until one of the processes leads; which.
async fn leader(home: &Home, running: &[&Running]) -> usize {
    until("does one lead", async || {
        let holder = lease(home).await.and_then(|lease| lease.holder_identity);
        let holder = holder.unwrap_or_default();
        let is = |it: &&Running| holder.contains(&format!("_{}-", it.id()));
        let said = || running.iter().map(|it| it.said()).collect::<String>();
        running.iter().position(is).ok_or_else(said)
    })
    .await
}

/// Makes an object and waits until a controller has said that it is ready.
async fn is_looked_after(home: &Home, name: &str) {
    let resource = kube::api::ApiResource::erase::<api::Provider>(&());
    let providers: Api<DynamicObject> = Api::all_with(home.admin.clone(), &resource);
    let object = serde_json::from_value(provider(name)).expect("an object");
    let made = providers.create(&PostParams::default(), &object).await;
    made.expect("it is valid");
    until("is it ready", async || {
        let found = providers.get(name).await.map_err(|it| it.to_string())?;
        let conditions = &found.data["status"]["conditions"];
        let ready = conditions.as_array().into_iter().flatten();
        let mut ready = ready.filter(|it| it["type"] == "Ready" && it["status"] == "True");
        ready.next().map(drop).ok_or_else(|| found.data.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_leads_and_another_takes_over() {
    let Some(home) = Home::installed().await else {
        return;
    };
    let mut running = vec![home.serve("first"), home.serve("second")];
    let leads = leader(&home, &running.iter().collect::<Vec<_>>()).await;
    is_looked_after(&home, "iberia").await;
    running.swap_remove(leads).kill();
    leader(&home, &running.iter().collect::<Vec<_>>()).await;
    is_looked_after(&home, "alpina").await;
    let lease_now = lease(&home).await.expect("it is there");
    assert_eq!(lease_now.lease_transitions, Some(1));
    // Who is asked to end lets the next one begin at once.
    running.pop().expect("one is left").end();
    let given_back = lease(&home).await.and_then(|lease| lease.holder_identity);
    assert_eq!(given_back.as_deref(), Some(""));
}
