//! Calling others over HTTPS: whom to trust, and what an address must look like.
//!
//! Who is called, for what and for how long is with those who call ([`crate::webhook`], [`crate::authentication`]).

use std::error::Error;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Calls over HTTPS only.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts these authorities, or whom the machine trusts.
pub(crate) fn client(roots: Option<RootCertStore>) -> Result<Client, String> {
    let config = ClientConfig::builder();
    let config = match roots {
        Some(roots) => config.with_root_certificates(roots),
        None => config
            .with_native_roots()
            .map_err(|error| format!("no trusted certificates on this machine: {error}"))?,
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_only()
        .enable_http1()
        .build();
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}

/// The authorities in a PEM text.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("no PEM: {error}"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("unable to load root certificates: there is none in it".to_owned()),
        false => Ok(roots),
    }
}

/// An address as Kubernetes takes it: https, and nothing besides host and path.
pub(crate) fn uri(url: &str) -> Result<Uri, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("url must be a valid URL: {error}"))?;
    if uri.scheme_str() != Some("https") {
        return Err("'https' is the only allowed URL scheme".to_owned());
    }
    let Some(authority) = uri.authority().filter(|it| !it.host().is_empty()) else {
        return Err("host must be specified".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("user information is not permitted in the URL".to_owned());
    }
    if url.contains('#') {
        return Err("fragments are not permitted in the URL".to_owned());
    }
    if uri.query().is_some() {
        return Err("query parameters are not permitted in the URL".to_owned());
    }
    Ok(uri)
}

/// What was really wrong: clients wrap it several times.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
