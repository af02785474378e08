//! A webhook that a test plays: it hears every review and answers what the test says.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use k8s_openapi::ByteString;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Play = dyn Fn(&str, Value) -> Value + Send + Sync;

/// A webhook that listens; it ends with the test's runtime.
pub struct Hook {
    port: u16,
    authority: String,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    /// Answers each review by its path and itself: with the document, or with nothing if that is `null`, ever.
    pub async fn start(play: impl Fn(&str, Value) -> Value + Send + Sync + 'static) -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("they belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (play, ears): (Arc<Play>, _) = (Arc::new(play), heard.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, play, ears) = (acceptor.clone(), play.clone(), ears.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let answer =
                        service_fn(move |request| answer(play.clone(), ears.clone(), request));
                    let serving = Builder::new(TokioExecutor::new());
                    // A client that goes away is no matter.
                    let _ = serving.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self {
            port,
            authority: cert.pem(),
            heard,
        }
    }

    /// A `clientConfig` for that path.
    pub fn config(&self, path: &str) -> Value {
        let url = format!("https://127.0.0.1:{}{path}", self.port);
        json!({"url": url, "caBundle": ByteString(self.authority.clone().into_bytes())})
    }

    /// What it was asked since the last time.
    pub fn heard(&self) -> Vec<Value> {
        std::mem::take(&mut self.heard.lock().expect("no panic"))
    }
}

async fn answer(
    play: Arc<Play>,
    ears: Arc<Mutex<Vec<Value>>>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    ears.lock().expect("no panic").push(review.clone());
    let answer = play(&path, review);
    if answer.is_null() {
        std::future::pending::<()>().await;
    }
    Ok(http::Response::new(Full::new(Bytes::from(
        answer.to_string(),
    ))))
}
