//! A registry with one artifact, as far as who pulls it asks: manifest, configuration and one layer of files (OCI
//! distribution specification, §Pull).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.cncf.flux.config.v1+json";
const FILES: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
/// The one tag.
const TAG: &str = "latest";

/// What is served by its path: the type and the bytes.
type Content = BTreeMap<String, (&'static str, Bytes)>;

/// A registry that listens; it ends with the test's runtime.
pub struct Registry {
    port: u16,
    content: Arc<Mutex<Content>>,
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let content = Arc::new(Mutex::new(Content::new()));
        let served = content.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| {
                        let answer = answer(&served.lock().expect("no panic"), &request);
                        std::future::ready(Ok::<_, Infallible>(answer))
                    });
                    let serving = Builder::new(TokioExecutor::new());
                    // A client that goes away is no matter.
                    let _ = serving.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { port, content }
    }

    /// The address of the artifact.
    pub fn url(&self) -> String {
        format!("oci://127.0.0.1:{}/shop", self.port)
    }

    /// Puts files in the place of what was there; says by which revision Flux knows them.
    pub fn push(&self, files: &[(&str, &str)]) -> String {
        let mut content = Content::new();
        let mut add = |kind: &str, media, bytes: Vec<u8>| {
            let (digest, size) = (digest(&bytes), bytes.len());
            let path = format!("/v2/shop/{kind}/{digest}");
            content.insert(path, (media, bytes.into()));
            json!({"mediaType": media, "digest": digest, "size": size})
        };
        let config = add("blobs", CONFIGURATION, b"{}".to_vec());
        let layer = add("blobs", FILES, packed(files));
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let manifest = manifest.to_string().into_bytes();
        let digest = digest(&manifest);
        add("manifests", MANIFEST, manifest.clone());
        content.insert(
            format!("/v2/shop/manifests/{TAG}"),
            (MANIFEST, manifest.into()),
        );
        content.insert("/v2/".to_owned(), ("application/json", "{}".into()));
        *self.content.lock().expect("no panic") = content;
        format!("{TAG}@{digest}")
    }
}

fn answer(content: &Content, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some((media, bytes)) = content.get(request.uri().path()) else {
        let nothing = Response::builder().status(404).body(Full::default());
        return nothing.expect("an answer");
    };
    let answer = Response::builder()
        .header("content-type", *media)
        .header("docker-content-digest", digest(bytes));
    answer.body(Full::new(bytes.clone())).expect("an answer")
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let letters: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{letters}")
}

fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into().expect("it is small"));
        header.set_mode(0o644);
        let added = archive.append_data(&mut header, name, text.as_bytes());
        added.expect("writing to memory cannot fail");
    }
    let packed = archive.into_inner().and_then(GzEncoder::finish);
    packed.expect("writing to memory cannot fail")
}
