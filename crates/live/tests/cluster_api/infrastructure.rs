//! The infrastructure, played by hand: whatever is wanted of it is there at once.

use serde_json::{Value, json};

use crate::document;
use crate::life::NAMESPACE;
use crate::server::Server;

/// Of all its kinds.
pub const VERSION: &str = "infrastructure.cluster.x-k8s.io/v1beta1";

/// Provides what was asked for since the last time.
pub async fn provide(server: &Server) {
    // Nobody answers there.
    let endpoint = json!({"controlPlaneEndpoint": {"host": "127.0.0.1", "port": 1}});
    provide_each(server, "testclusters", |_| endpoint.clone()).await;
    let identity = |name: &str| json!({"providerID": format!("test://{name}")});
    provide_each(server, "testmachines", identity).await;
}

async fn provide_each(server: &Server, plural: &str, spec: impl Fn(&str) -> Value) {
    let collection = document::collection(VERSION, plural, Some(NAMESPACE));
    for wanted in server.list(&collection).await {
        if wanted["status"]["initialization"]["provisioned"] == true {
            continue;
        }
        let name = document::name(&wanted);
        let path = format!("{collection}/{name}");
        server.merge(&path, &json!({"spec": spec(name)})).await;
        let status = json!({"initialization": {"provisioned": true}});
        let path = format!("{path}/status");
        server.merge(&path, &json!({"status": status})).await;
    }
}
