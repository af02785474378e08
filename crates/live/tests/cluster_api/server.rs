//! A server, real or ours, and what a user asks of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// The name under which the test writes.
const USER: &str = "test";

/// One that runs elsewhere.
pub struct Server {
    pub name: &'static str,
    pub kubeconfig: PathBuf,
    /// Whether what belongs to an object goes with it: beside a kube-apiserver alone there is nobody who sees to that.
    pub collects: bool,
    client: Client,
}

impl Server {
    /// A real kube-apiserver.
    pub async fn real(kubeconfig: PathBuf) -> Self {
        Self::new("kube-apiserver", kubeconfig, false).await
    }

    /// Ours.
    pub async fn ours(kubeconfig: PathBuf) -> Self {
        Self::new("groma", kubeconfig, true).await
    }

    /// Waits until it serves, the first namespace included.
    async fn new(name: &'static str, kubeconfig: PathBuf, collects: bool) -> Self {
        let read = Kubeconfig::read_from(&kubeconfig).expect("it was just written");
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("it is complete")).expect("a client");
        let server = Self {
            name,
            kubeconfig,
            collects,
            client,
        };
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            let serves = async || server.ask("GET", path, "", None).await.0 == 200;
            server.until(path, serves).await;
        }
        server
    }

    /// Looks again and again until that is so.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "{}: not yet: {what}", self.name);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The object, if it is there.
    pub async fn get(&self, path: &str) -> Option<Value> {
        match self.ask("GET", path, "", None).await {
            (200, object) => Some(object),
            (404, _) => None,
            (code, said) => panic!("{}: GET {path}: {code} {said}", self.name),
        }
    }

    /// The objects of a collection.
    pub async fn list(&self, collection: &str) -> Vec<Value> {
        let mut list = self.must("GET", collection, "", None).await;
        let items = list["items"].as_array_mut();
        items.map(std::mem::take).unwrap_or_default()
    }

    /// Applies an object.
    pub async fn apply(&self, path: &str, object: &Value) {
        let path = format!("{path}?fieldManager={USER}");
        let content_type = "application/apply-patch+yaml";
        self.must("PATCH", &path, content_type, Some(object)).await;
    }

    /// Changes some fields of an object.
    pub async fn merge(&self, path: &str, fields: &Value) {
        let path = format!("{path}?fieldManager={USER}");
        let content_type = "application/merge-patch+json";
        self.must("PATCH", &path, content_type, Some(fields)).await;
    }

    /// Deletes an object; what belongs to one that was deleted before may be gone already.
    pub async fn delete(&self, path: &str) {
        let (code, said) = self.ask("DELETE", path, "", None).await;
        let gone = matches!(code, 200 | 202 | 404);
        assert!(gone, "{}: DELETE {path}: {code} {said}", self.name);
    }

    async fn must(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Value {
        let (code, said) = self.ask(method, path, content_type, body).await;
        assert!(
            (200..300).contains(&code),
            "{}: {method} {path}: {code} {said}",
            self.name
        );
        said
    }

    /// The code and the document of an answer; 0 if there is none.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let text = body.map_or_else(String::new, Value::to_string);
        let request = request.body(Body::from(text.into_bytes()));
        let response = match self.client.send(request.expect("a request")).await {
            Ok(response) => response,
            Err(error) => return (0, error.to_string().into()),
        };
        let code = response.status().as_u16();
        let body = response.into_body().collect().await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let told = || String::from_utf8_lossy(&body).into_owned().into();
        (
            code,
            serde_json::from_slice(&body).unwrap_or_else(|_| told()),
        )
    }
}
