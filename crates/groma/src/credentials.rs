//! What a kubeconfig says of a server and of who uses it, as far as it is needed beside a `kube::Client`.

use std::path::Path;

use anyhow::{Context, bail};
use apiserver::tls::{self, Subject};
use k8s_openapi::ByteString;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// The port of an address that names none.
const HTTPS: u16 = 443;

/// A server and who uses it.
#[derive(Clone)]
pub struct Credentials {
    /// The server's address.
    pub url: String,
    /// Its name in there, and its port.
    pub host: String,
    pub port: u16,
    /// The certificate of its authority, in PEM.
    pub authority: String,
    /// The user's certificate and key, where the user has one.
    pub own: Option<tls::Credentials>,
}

impl Credentials {
    /// Reads the current context of a kubeconfig.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot use the credentials in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        Self::parse(&text).with_context(what)
    }

    /// As [`read`](Self::read), of the text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config = api::documents(text)?.pop().context("they are empty")?;
        let context = &named(&config["contexts"], &config["current-context"])["context"];
        let cluster = &named(&config["clusters"], &context["cluster"])["cluster"];
        let user = &named(&config["users"], &context["user"])["user"];
        let url = cluster["server"].as_str().context("they name no server")?;
        let (host, port) = address(url)?;
        let authority = pem(cluster, "certificate-authority")?;
        let certificate = pem(user, "client-certificate")?.zip(pem(user, "client-key")?);
        Ok(Self {
            url: url.to_owned(),
            host,
            port,
            authority: authority.context("they name no authority of the server")?,
            own: certificate.map(|(certificate, key)| tls::Credentials { certificate, key }),
        })
    }

    /// Whom the certificate names, and when it holds.
    pub fn subject(&self) -> Option<Subject> {
        let own = self.own.as_ref()?;
        let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).ok()?;
        Subject::of(&certificate)
    }
}

/// Name and port of a server's address.
pub fn address(url: &str) -> anyhow::Result<(String, u16)> {
    let what = || format!("{url:?} is no address of a server: it is https://NAME:PORT");
    let uri: http::Uri = url.parse().with_context(what)?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        bail!(what());
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok((host, uri.port_u16().unwrap_or(HTTPS)))
}

/// The item of that name in a list.
fn named<'c>(list: &'c Value, name: &Value) -> &'c Value {
    let mut items = list.as_array().into_iter().flatten();
    items
        .find(|item| item["name"] == *name)
        .unwrap_or(&Value::Null)
}

/// What is there in base64, or in a file.
fn pem(of: &Value, field: &str) -> anyhow::Result<Option<String>> {
    let data = &of[format!("{field}-data")];
    if !data.is_null() {
        let ByteString(bytes) = serde_json::from_value(data.clone())?;
        return Ok(Some(String::from_utf8(bytes)?));
    }
    let file = of[field].as_str();
    let read = file.map(|path| std::fs::read_to_string(path).with_context(|| path.to_owned()));
    read.transpose()
}
