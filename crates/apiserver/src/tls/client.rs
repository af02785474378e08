//! TLS as clients need it: by the authority's certificate, or, before a client has that, by the hash of its key.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Credentials, failed, parse_rustls, provider, roots};

/// How long a server may take to show its certificates.
const PATIENCE: Duration = Duration::from_secs(10);
/// Letters in a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;
/// What is refused in a handshake whose authority is another one.
const ANOTHER_KEY: &str = "the authority has another key";

/// The configuration of a TLS client that trusts one authority and shows its own certificate, if it has one.
///
/// # Errors
/// When a text is no PEM of its sort.
pub fn client_config(
    authority: &str,
    credentials: Option<&Credentials>,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>> {
    let what = "cannot configure TLS from the given certificates";
    let authority =
        CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|e| failed(what, e))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(what, e))?
        .with_root_certificates(roots(authority)?);
    let mut config = match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let (certificate, key) =
                parse_rustls(&credentials.both()).map_err(|e| failed(what, e))?;
            builder
                .with_client_auth_cert(vec![certificate], key)
                .map_err(|e| failed(what, e))?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// The hash by which an authority is known before its certificate is there, as in kubeadm: that of its public key
/// (RFC 7469 §2.4), in hexadecimal digits after `sha256:`.
///
/// # Errors
/// When the text is no certificate.
pub fn pin(authority: &str) -> Result<String> {
    let what = "cannot read the certificate of the authority";
    let certificate =
        CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|e| failed(what, e))?;
    pin_of(&certificate).ok_or_else(|| Error::new(ErrorKind::Invalid, what))
}

/// The certificate of the authority of a server, in PEM, if its key has that hash and it has signed for the server.
///
/// # Errors
/// When the server cannot be reached, or its authority is another one.
pub async fn pinned_authority(host: &str, port: u16, pin: &str) -> Result<String> {
    let address = format!("https://{host}:{port}");
    let greeted = timeout(PATIENCE, greet(host, port, pin)).await;
    match greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(authority) => Ok(authority),
        Err(error) if is_another_key(&error) => Err(Error::new(
            ErrorKind::Forbidden,
            format!("the authority of {address} has another key than --ca-cert-hash says"),
        )),
        Err(error) => Err(Error::caused(
            ErrorKind::Unavailable,
            format!("cannot reach {address}"),
            error,
        )),
    }
}

async fn greet(host: &str, port: u16, pin: &str) -> io::Result<String> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(pin.to_owned())))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let authority = with_pin(shown, pin);
    authority
        .map(pem)
        .ok_or_else(|| io::Error::other(ANOTHER_KEY))
}

fn is_another_key(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|it| it.downcast_ref());
    cause == Some(&rustls::Error::General(ANOTHER_KEY.to_owned()))
}

fn pin_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(hash_of(parsed.public_key().raw))
}

/// The hash of a public key (DER of SubjectPublicKeyInfo).
pub(super) fn hash_of(key: &[u8]) -> String {
    let digits = digest(&SHA256, key);
    let digits = digits.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

fn with_pin<'c, 'd>(shown: &'c [CertificateDer<'d>], pin: &str) -> Option<&'c CertificateDer<'d>> {
    let mut shown = shown.iter();
    shown.find(|it| pin_of(it).as_deref() == Some(pin))
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(certificate).as_bytes().chunks(PEM_LINE) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Trusts the authority whose key has that hash, among those that the server shows, and nobody else.
#[derive(Debug)]
struct Pinned(String);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let refused = || rustls::Error::General(ANOTHER_KEY.to_owned());
        let authority = with_pin(intermediates, &self.0).ok_or_else(refused)?;
        let roots = roots(authority.clone().into_owned()).map_err(|_| refused())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
