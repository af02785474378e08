//! The server's own certificate authority: made at the first start, it signs the server's and the clients' certificates.
//!
//! A key and its certificate are one file, written whole, so that a process killed between any two writes never leaves
//! a key without its certificate. Clients are known by the subject of their certificate ([`Subject`]); what a subject
//! may do, and whether its certificate still counts, is decided elsewhere. What clients need stands in [`client`].

mod certificate;
pub mod client;
mod request;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use self::certificate::{Subject, Validity};
use self::certificate::{UID, names_of, own_key, signer};
pub use self::client::client_config;
pub use self::request::{Asked, ask, key_in, new_key};
use crate::access::Identity;
use crate::private_file::{self, PRIVATE, PUBLIC};

/// How long the authority itself is valid.
const AUTHORITY_LIFE: Duration = days(3650);
/// How long a certificate of the server or of a client is valid.
pub(crate) const LEAF_LIFE: Duration = days(365);
/// A server certificate that ends sooner than this is made again at the next start.
const RENEW_BEFORE: Duration = days(30);
/// Certificates begin this much earlier, for machines whose clock is behind.
pub(crate) const SKEW: Duration = Duration::from_secs(3600);

/// Key and certificate of the authority.
const AUTHORITY_FILE: &str = "ca.pem";
/// The certificate alone, for whoever must trust the server.
const AUTHORITY_PUBLIC_FILE: &str = "ca.crt";
/// Where the certificate begins in a file that has the key before it.
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
/// Key and certificate of the server.
const SERVER_FILE: &str = "server.pem";
/// The names under which the server can always be reached.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Protocols offered to TLS clients, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Signs certificates with the key in a state folder.
pub struct Authority {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its private key; keep it where only its owner can read it.
    pub key: String,
}

impl Authority {
    /// Opens the authority in that folder, or makes one.
    ///
    /// # Errors
    /// When the folder cannot be written, or the files in it are not what was written there.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self> {
        private_file::folder(folder).map_err(|e| unusable(folder, e))?;
        let path = folder.join(AUTHORITY_FILE);
        let pem = match private_file::read(&path).map_err(|e| unusable(&path, e))? {
            Some(pem) => pem,
            None => make_authority(&path, now)?,
        };
        let (certificate, key) = parse(&path, &pem)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| unusable(&path, e))?;
        let certificate_pem = pem[pem.find(CERTIFICATE_BEGIN).unwrap_or_default()..].to_owned();
        let folder = folder.to_owned();
        let authority = Self {
            folder,
            certificate,
            certificate_pem,
            issuer,
        };
        authority.publish()?;
        Ok(authority)
    }

    /// The authority's certificate as PEM, for clients.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate_pem
    }

    /// Signs a certificate for a client. The organization `system:masters` makes it an administrator's, the common name
    /// `system:host:NAME` with the organization `system:hosts` that host's. (The library that writes certificates can name one organization only.)
    ///
    /// # Errors
    /// When a name cannot be written into a certificate.
    pub fn issue_client(
        &self,
        common_name: &str,
        organization: Option<&str>,
        now: Timestamp,
    ) -> Result<Credentials> {
        let mut params = client_params(common_name, organization);
        valid(&mut params, now, LEAF_LIFE);
        self.issue(&params)
            .map_err(|e| failed(format!("cannot issue a certificate for {common_name:?}"), e))
    }

    /// Signs a certificate by which a server asks another one.
    pub(crate) fn issue_server_client(&self, now: Timestamp) -> Result<Credentials> {
        let server = Identity::server();
        let group = server.groups.first().map(String::as_str);
        let mut params = client_params(&server.name, group);
        // A process may run for as long as that, and whoever has the authority may make another.
        valid(&mut params, now, AUTHORITY_LIFE);
        self.issue(&params)
            .map_err(|e| failed("cannot issue a certificate for a server", e))
    }

    /// Signs a certificate for a client who has shown that it holds the key: PEM.
    ///
    /// # Errors
    /// When a name cannot be written into a certificate.
    pub fn sign(&self, asked: Asked, uid: &str, validity: Validity) -> Result<String> {
        let what = format!("cannot sign a certificate for {:?}", asked.common_name);
        let mut params = client_params(&asked.common_name, asked.organization.as_deref());
        if !uid.is_empty() {
            let uid_type = DnType::CustomDnType(UID.to_vec());
            params.distinguished_name.push(uid_type, uid);
        }
        hold(&mut params, validity);
        let signed = params.signed_by(&asked.key, &self.issuer);
        Ok(signed.map_err(|e| failed(what, e))?.pem())
    }

    /// The configuration of a TLS server for loopback and the given names and addresses. Clients may show a
    /// certificate of this authority; one that they show is verified. The server's certificate is kept in the folder
    /// and made again when the names change or its end is near.
    ///
    /// # Errors
    /// When a name cannot be written into a certificate, or the folder cannot be written.
    pub fn server_config(&self, names: &[String], now: Timestamp) -> Result<Arc<ServerConfig>> {
        let (certificate, key) = self.server_credentials(names, now)?;
        let what = "cannot configure TLS";
        let roots = Arc::new(roots(self.certificate.clone())?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| failed(what, e))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(what, e))?
            .with_client_cert_verifier(verifier)
            // Who knows the authority by the hash of its key only finds it here.
            .with_single_cert(vec![certificate, self.certificate.clone()], key)
            .map_err(|e| failed(what, e))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }

    fn server_credentials(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let path = self.folder.join(SERVER_FILE);
        let names: BTreeSet<String> = LOOPBACK
            .map(str::to_owned)
            .into_iter()
            .chain(names.iter().cloned())
            .collect();
        let kept = private_file::read(&path).map_err(|e| unusable(&path, e))?;
        if let Some(credentials) = kept.and_then(|pem| self.still_good(&pem, &names, now)) {
            return Ok(credentials);
        }
        let what = || format!("cannot issue the server's certificate for {names:?}");
        let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())
            .map_err(|e| failed(what(), e))?;
        valid(&mut params, now, LEAF_LIFE);
        params.distinguished_name = named("groma");
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = self.issue(&params).map_err(|e| failed(what(), e))?;
        private_file::replace(&path, made.both().as_bytes(), PRIVATE)
            .map_err(|e| unusable(&path, e))?;
        parse_rustls(&made.both()).map_err(|e| unusable(&path, e))
    }

    /// The kept credentials, if this authority signed them for exactly these names and they do not end soon.
    fn still_good(
        &self,
        pem: &str,
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let (certificate, key) = parse_rustls(pem).ok()?;
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        let (_, authority) = X509Certificate::from_der(&self.certificate).ok()?;
        let left = parsed.validity().not_after.timestamp() - now.as_second();
        let good = left > RENEW_BEFORE.as_secs().cast_signed()
            && names_of(&parsed)? == *names
            && signer(&parsed)? == own_key(&authority)?;
        good.then_some((certificate, key))
    }

    fn issue(&self, params: &CertificateParams) -> Result<Credentials, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Keeps the public copy equal to the certificate in use.
    fn publish(&self) -> Result<()> {
        let path = self.folder.join(AUTHORITY_PUBLIC_FILE);
        let kept = private_file::read(&path).map_err(|e| unusable(&path, e))?;
        if kept.as_deref() == Some(self.certificate()) {
            return Ok(());
        }
        private_file::replace(&path, self.certificate().as_bytes(), PUBLIC)
            .map_err(|e| unusable(&path, e))
    }
}

impl Credentials {
    /// Key and certificate in one PEM text.
    fn both(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// What the certificate of a client says of its holder.
fn client_params(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Makes the authority's file and gives its content, or that of a process which was faster.
fn make_authority(path: &Path, now: Timestamp) -> Result<String> {
    let made = new_authority(now).map_err(|e| failed("cannot make a certificate authority", e))?;
    private_file::create(path, made.both().as_bytes(), PRIVATE).map_err(|e| unusable(path, e))?;
    std::fs::read_to_string(path).map_err(|e| unusable(path, e))
}

fn new_authority(now: Timestamp) -> Result<Credentials, rcgen::Error> {
    let mut params = CertificateParams::default();
    valid(&mut params, now, AUTHORITY_LIFE);
    params.distinguished_name = named("groma authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Credentials {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let (begins, ends) = (now - SKEW, now + life);
    hold(params, Validity { begins, ends });
}

fn hold(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |time: Timestamp| Duration::from_secs(time.as_second().max(0).cast_unsigned());
    params.not_before = epoch + since(validity.begins);
    params.not_after = epoch + since(validity.ends);
}

fn parse(path: &Path, pem: &str) -> Result<(CertificateDer<'static>, KeyPair)> {
    let (certificate, key) = parse_rustls(pem).map_err(|e| unusable(path, e))?;
    let key = KeyPair::try_from(&key).map_err(|e| unusable(path, e))?;
    Ok((certificate, key))
}

fn parse_rustls(
    pem: &str,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rustls::pki_types::pem::Error> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
    Ok((certificate, PrivateKeyDer::from_pem_slice(pem.as_bytes())?))
}

fn roots(authority: CertificateDer<'static>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority)
        .map_err(|e| failed("cannot trust the certificate authority", e))?;
    Ok(roots)
}

/// The algorithms of aws-lc; the hybrid post-quantum key exchange comes first in them.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

fn unusable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    failed(format!("cannot use {}", path.display()), source)
}

fn failed(
    what: impl Into<String>,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::caused(ErrorKind::Internal, what, source)
}
