//! Ways into a real API server: files for programs, clients for tests, as its administrator or as somebody else.

use std::fs;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use super::{ApiServer, TOKEN};

/// Somebody whom the administrator acts as.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The name.
    pub name: &'a str,
    /// The groups, besides that of all who are known.
    pub groups: &'a [&'a str],
}

impl ApiServer {
    /// A file by which a program is let in.
    pub fn kubeconfig(&self, user: Option<User<'_>>) -> PathBuf {
        let mut who = json!({"token": TOKEN});
        let mut file = "admin".to_owned();
        if let Some(User { name, groups }) = user {
            let known = ["system:authenticated"];
            let groups: Vec<&str> = groups.iter().copied().chain(known).collect();
            (who["as"], who["as-groups"]) = (name.into(), groups.into());
            file = name.replace(':', "-");
        }
        let cluster = json!({"server": self.url(), "insecure-skip-tls-verify": true});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": who}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = self.path(&format!("{file}.kubeconfig"));
        fs::write(&path, config.to_string()).expect("credentials can be written");
        path
    }

    /// A client; must be called in a tokio runtime.
    pub async fn client(&self, user: Option<User<'_>>) -> Client {
        let read = Kubeconfig::read_from(self.kubeconfig(user)).expect("it was just written");
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("it is complete")).expect("it can be used")
    }

    /// Waits until it serves, the first namespace included.
    pub async fn wait_until_ready(&mut self) {
        let client = self.client(None).await;
        let runtime = tokio::runtime::Handle::current();
        let serves = async |path: &str| {
            let request = http::Request::get(path).body(Vec::new());
            let request = request.expect("the path is fixed");
            client.request_text(request).await.is_ok()
        };
        tokio::task::block_in_place(|| {
            self.wait(|| {
                runtime.block_on(async {
                    serves("/readyz").await && serves("/api/v1/namespaces/default").await
                })
            });
        });
    }
}
