//! A light client: HTTP/1.1 for one request after the other, HTTP/2 for many watches, both over TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bench::load::Call;

/// Where a server is, and how it lets in.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom to trust and what to show.
    pub tls: Arc<ClientConfig>,
    /// Shown with each request, if the certificate does not say who asks.
    pub token: Option<HeaderValue>,
}

/// One connection for one request after the other.
pub struct Connection {
    endpoint: Endpoint,
    sender: http1::SendRequest<Full<Bytes>>,
}

/// One connection for many requests at once.
#[derive(Clone)]
pub struct Streams {
    endpoint: Endpoint,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Endpoint {
    /// The server of a kubeconfig of ours, and its user.
    ///
    /// # Errors
    /// When it is none.
    pub fn by_kubeconfig(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Value = serde_json::from_slice(&text)?;
        let data =
            |value: &Value| anyhow::Ok(serde_json::from_value::<ByteString>(value.clone())?.0);
        let (cluster, user) = (
            &config["clusters"][0]["cluster"],
            &config["users"][0]["user"],
        );
        let certificate = certificates(&data(&user["client-certificate-data"])?)?;
        let key = PrivateKeyDer::from_pem_slice(&data(&user["client-key-data"])?)?;
        let tls = trusting(&data(&cluster["certificate-authority-data"])?)?
            .with_client_auth_cert(certificate, key)?;
        let url = cluster["server"].as_str().context("it names a server")?;
        Self::at(url, tls, None)
    }

    /// The server at a URL, with an authority's certificate in that file, for whoever has a token.
    ///
    /// # Errors
    /// When the URL, the file or the token cannot be used.
    pub fn by_token(url: &str, trusted: &Path, token: &str) -> Result<Self> {
        let tls = trusting(&fs::read(trusted)?)?.with_no_client_auth();
        let token = HeaderValue::from_str(&format!("Bearer {token}"))?;
        Self::at(url, tls, Some(token))
    }

    /// The server at a URL, with an authority's certificate in that file, for whoever has that certificate and its key.
    ///
    /// # Errors
    /// When the URL or a file cannot be used.
    pub fn by_certificate(
        url: &str,
        trusted: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
        let shown = certificates(&fs::read(certificate)?)?;
        let tls = trusting(&fs::read(trusted)?)?.with_client_auth_cert(shown, key)?;
        Self::at(url, tls, None)
    }

    fn at(url: &str, tls: ClientConfig, token: Option<HeaderValue>) -> Result<Self> {
        let address = url.strip_prefix("https://").context("it speaks TLS")?;
        Ok(Self {
            address: address.parse()?,
            tls: Arc::new(tls),
            token,
        })
    }

    /// A connection by HTTP/1.1; it ends with its handle.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = self.stream(b"http/1.1").await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let endpoint = self.clone();
        Ok(Connection { endpoint, sender })
    }

    /// A connection by HTTP/2; it ends with its handles.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect_many(&self) -> Result<Streams> {
        let stream = self.stream(b"h2").await?;
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = shaken?;
        tokio::spawn(connection);
        let endpoint = self.clone();
        Ok(Streams { endpoint, sender })
    }

    async fn stream(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        Ok(TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?)
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>> {
        let uri = format!("https://{}{}", self.address, call.path);
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(header::HOST, self.address.to_string())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "bench/1");
        if !call.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, call.content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        Ok(request.body(Full::from(call.body))?)
    }
}

impl Connection {
    /// Asks, and reads all of the answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn ask(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        let mut request = self.endpoint.request(call)?;
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.context("it has a path")?.into();
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

impl Streams {
    /// Asks, and reads the head of the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(&self, call: Call) -> Result<Response<Incoming>> {
        let request = self.endpoint.request(call)?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }
}

type Trusting = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(pem: &[u8]) -> Result<Trusting> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(ClientConfig::builder().with_root_certificates(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
}
