//! What is read out of certificates: who has one, for which names it is, and which key signed it.
//!
//! Nothing is verified here; TLS has done that, or the certificate is our own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::Oid;
use x509_parser::prelude::{
    ASN1Time, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name,
};

/// The attribute of a subject that tells users of one name apart over time, as Kubernetes reads it
/// (`k8s.io/apiserver/pkg/authentication/request/x509`).
pub(super) const UID: [u64; 8] = [1, 3, 6, 1, 4, 1, 57683, 2];

/// Who a verified certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
    /// What tells users of one name apart; mostly empty.
    pub uid: String,
    /// When it holds.
    pub validity: Validity,
}

/// When a certificate holds, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub begins: Timestamp,
    /// Until when.
    pub ends: Timestamp,
}

/// An interval of ISO 8601.
impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.begins, self.ends)
    }
}

impl FromStr for Validity {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let (begins, ends) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self {
            begins: begins.parse()?,
            ends: ends.parse()?,
        })
    }
}

impl Subject {
    /// The subject of a certificate that TLS has already verified; `None` without a common name.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let (common_name, organizations) = named(parsed.subject())?;
        let uid = Oid::from(&UID).ok()?;
        let mut uids = parsed.subject().iter_by_oid(&uid);
        let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let validity = parsed.validity();
        Some(Self {
            common_name,
            organizations,
            uid: uids
                .next()
                .map_or("", |it| it.as_str().unwrap_or_default())
                .to_owned(),
            validity: Validity {
                begins: time(validity.not_before)?,
                ends: time(validity.not_after)?,
            },
        })
    }
}

/// Common name and organizations.
pub(super) fn named(name: &X509Name<'_>) -> Option<(String, Vec<String>)> {
    let common_name = name.iter_common_name().next()?.as_str().ok()?;
    let organizations = name.iter_organization();
    let organizations = organizations.filter_map(|it| it.as_str().ok());
    Some((
        common_name.to_owned(),
        organizations.map(str::to_owned).collect(),
    ))
}

/// Every name and address for which the certificate is made; `None` for one that has none.
pub(super) fn names_of(certificate: &X509Certificate<'_>) -> Option<BTreeSet<String>> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().map(name_of).collect()
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => Some(address(bytes)?.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The identifier of the key that signed the certificate.
pub(super) fn signer(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                Some(id.key_identifier.as_ref()?.0.to_vec())
            }
            _ => None,
        })
}

/// The identifier of the certificate's own key.
pub(super) fn own_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
}
