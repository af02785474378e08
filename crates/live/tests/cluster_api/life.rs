//! The life of one cluster on one server.

use live::tools::cluster_api::Manager;
use serde_json::Value;

use crate::managers::Managers;
use crate::server::Server;
use crate::{definitions, document, infrastructure};

/// Where everything is created.
pub const NAMESPACE: &str = "default";
/// A class and a cluster of it.
const CLUSTER: &str = include_str!("cluster.yaml");
const CLUSTER_VERSION: &str = "cluster.x-k8s.io/v1beta2";
/// One of the control plane and two workers.
const MACHINES: usize = 3;
/// The keys and certificates of a control plane, and how to be let in there.
const SECRETS: [&str; 5] = ["ca", "etcd", "kubeconfig", "proxy", "sa"];

/// The kinds of what the managers make of a cluster, with what they are made from.
pub const KINDS: [(&str, &str); 15] = [
    (CLUSTER_VERSION, "clusterclasses"),
    (CLUSTER_VERSION, "clusters"),
    (CLUSTER_VERSION, "machinedeployments"),
    (CLUSTER_VERSION, "machines"),
    (CLUSTER_VERSION, "machinesets"),
    ("bootstrap.cluster.x-k8s.io/v1beta2", "kubeadmconfigs"),
    (
        "bootstrap.cluster.x-k8s.io/v1beta2",
        "kubeadmconfigtemplates",
    ),
    (
        "controlplane.cluster.x-k8s.io/v1beta2",
        "kubeadmcontrolplanes",
    ),
    (
        "controlplane.cluster.x-k8s.io/v1beta2",
        "kubeadmcontrolplanetemplates",
    ),
    (infrastructure::VERSION, "testclusters"),
    (infrastructure::VERSION, "testclustertemplates"),
    (infrastructure::VERSION, "testmachines"),
    (infrastructure::VERSION, "testmachinetemplates"),
    ("v1", "configmaps"),
    ("v1", "secrets"),
];

/// A server with the managers beside it.
pub struct Stage {
    // They end before their server, which must be there as long as they are.
    _managers: Managers,
    pub server: Server,
}

impl Stage {
    pub async fn set(server: Server, programs: &[Manager]) -> Self {
        let mut managers = Managers::new(programs);
        definitions::apply_kinds(&server, &managers).await;
        managers.start(&server).await;
        definitions::apply_webhooks(&server, &managers).await;
        Self {
            _managers: managers,
            server,
        }
    }

    /// Creates the cluster and waits until it is provisioned.
    pub async fn create(&self) {
        for object in document::read(CLUSTER) {
            let path = document::path(&object, Some(NAMESPACE));
            self.server.apply(&path, &object).await;
        }
        let provisioned = async || {
            infrastructure::provide(&self.server).await;
            self.is_provisioned().await
        };
        self.server
            .until("the cluster is provisioned", provisioned)
            .await;
    }

    async fn is_provisioned(&self) -> bool {
        let clusters = self.objects(CLUSTER_VERSION, "clusters").await;
        let machines = self.objects(CLUSTER_VERSION, "machines").await;
        let secrets = self.objects("v1", "secrets").await;
        let is_provisioned = |it: &Value| it["status"]["phase"] == "Provisioned";
        let has_data = |it: &Value| it["spec"]["bootstrap"]["dataSecretName"].is_string();
        let has_secret = |name: &&str| {
            secrets
                .iter()
                .any(|it| document::name(it) == format!("shop-{name}"))
        };
        clusters.iter().all(is_provisioned)
            && machines.len() == MACHINES
            && machines.iter().any(has_data)
            && SECRETS.iter().all(has_secret)
    }

    /// Deletes the cluster, then its class; nothing may stay.
    pub async fn delete(&self) {
        let mut objects = document::read(CLUSTER);
        objects.reverse();
        for object in objects {
            let path = document::path(&object, Some(NAMESPACE));
            self.server.delete(&path).await;
            let gone = async || self.server.get(&path).await.is_none();
            self.server.until(&format!("{path} is gone"), gone).await;
        }
        let nothing = async || self.remains().await.is_empty();
        self.server.until("nothing is left", nothing).await;
    }

    async fn remains(&self) -> Vec<Value> {
        let mut remains = Vec::new();
        for (version, plural) in KINDS {
            remains.extend(self.objects(version, plural).await);
        }
        if !self.server.collects {
            remains.retain(|it| it["metadata"]["ownerReferences"].is_null());
        }
        remains
    }

    async fn objects(&self, version: &str, plural: &str) -> Vec<Value> {
        let collection = document::collection(version, plural, Some(NAMESPACE));
        self.server.list(&collection).await
    }
}
