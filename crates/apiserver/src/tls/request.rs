//! Requests for certificates (PKCS #10, RFC 2986): made by who has a key, read by who signs.
//!
//! Of what is asked for only the key, one common name and at most one organization count. What else a request names is
//! not put into the certificate.

use std::path::Path;

use api::{Error, ErrorKind, Result};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, KeyPair,
    PublicKey, PublicKeyData as _,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::certificate::named;
use super::client::hash_of;
use super::{failed, unusable};
use crate::private_file::{self, PRIVATE};

/// What somebody asks for who has shown that it holds the key.
pub struct Asked {
    /// The user.
    pub common_name: String,
    /// Its group, if it names one.
    pub organization: Option<String>,
    pub(super) key: PublicKey,
}

impl Asked {
    /// Reads a request in PEM and verifies its signature.
    ///
    /// # Errors
    /// When it is none, its signature is wrong, or it names no user or several groups.
    pub fn parse(pem: &[u8]) -> std::result::Result<Self, String> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem)
            .map_err(|error| format!("it is no PEM of a certificate request: {error}"))?;
        let (_, parsed) = X509CertificationRequest::from_der(&der)
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let verified = CertificateSigningRequestParams::from_der(&der)
            .map_err(|error| format!("it cannot be signed: {error}"))?;
        let subject = named(&parsed.certification_request_info.subject);
        let (common_name, organizations) = subject.ok_or("it names nobody")?;
        let organization = match organizations.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            _ => return Err("it names several organizations".to_owned()),
        };
        Ok(Self {
            common_name,
            organization,
            key: verified.public_key,
        })
    }

    /// The hash of the public key.
    pub(crate) fn key_hash(&self) -> String {
        hash_of(&self.key.subject_public_key_info())
    }
}

/// A new private key in PEM.
///
/// # Errors
/// When the machine has no randomness.
pub fn new_key() -> Result<String> {
    let pair = KeyPair::generate().map_err(|e| failed("cannot make a key", e))?;
    Ok(pair.serialize_pem())
}

/// The private key in that file, which is made if it is not there, for nobody else to read: PEM.
///
/// # Errors
/// When the file cannot be read or made.
pub fn key_in(path: &Path) -> Result<String> {
    if let Some(kept) = private_file::read(path).map_err(|e| unusable(path, e))? {
        return Ok(kept);
    }
    if let Some(folder) = path.parent() {
        private_file::folder(folder).map_err(|e| unusable(path, e))?;
    }
    let key = new_key()?;
    private_file::replace(path, key.as_bytes(), PRIVATE).map_err(|e| unusable(path, e))?;
    Ok(key)
}

/// Asks for a certificate for the holder of that key: a request in PEM.
///
/// # Errors
/// When the text is no key.
pub fn ask(key: &str, common_name: &str, organization: &str) -> Result<String> {
    let what = format!("cannot ask for a certificate for {common_name:?}");
    let unusable = |error: rcgen::Error| Error::caused(ErrorKind::Invalid, what.clone(), error);
    let pair = KeyPair::from_pem(key).map_err(unusable)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    let request = params.serialize_request(&pair).map_err(unusable)?;
    request.pem().map_err(unusable)
}
